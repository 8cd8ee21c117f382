"""The stack that a command talks to: the running local engine's unless AWS is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
)
from keyturn_local.clients import client_options, local_session
from keyturn_local.engine import find_running
from keyturn_local.settings import LocalSettings
from keyturn_local.stack import StackOutputs, stack_outputs

from keyturn_cli.errors import NoTarget

_AWS_VARIABLES = ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL")


@dataclass(frozen=True, kw_only=True)
class AwsOptions:
    """How to reach a stack, as the AWS CLI names it."""

    stack_name: str | None = None
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None

    def means_aws(self, environment: Mapping[str, str]) -> bool:
        """Whether something other than this project's local engine was asked for."""
        asked = self.region or self.profile or self.endpoint_url
        return bool(asked) or any(environment.get(name) for name in _AWS_VARIABLES)


@dataclass(frozen=True)
class Target:
    """A deployed stack: its clients and the names of its resources."""

    session: boto3.Session
    options: Mapping[str, Any]
    outputs: StackOutputs
    stack_name: str
    where: str
    """For people: an endpoint or a region."""
    is_local: bool

    def client(self, service: str) -> Any:
        """A client of an AWS service ("kinesis", "dynamodb", "lambda", "logs", "s3")."""
        return self.session.client(service, **self.options)  # type: ignore[call-overload]  # the name is a variable

    def patient_client(self, service: str, read_timeout_s: int) -> Any:
        """A client that waits so long for an answer and asks once only: for calls that mustn't be doubled."""
        once = Config(read_timeout=read_timeout_s, retries={"total_max_attempts": 1})
        options = {**self.options, "config": self.options["config"].merge(once)}
        return self.session.client(service, **options)  # type: ignore[call-overload]  # the name is a variable

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """The settings that the stack was deployed with: the dispatcher's environment variables."""
        found = self.client("lambda").get_function_configuration(FunctionName=self.outputs.dispatcher_function_name)
        variables: Mapping[str, str] = found["Environment"]["Variables"]
        return variables


def local_target(settings: LocalSettings) -> Target:
    """The stack on a running local engine. Raises StackMissing."""
    return Target(
        session=local_session(settings.region),
        options=client_options(settings),
        outputs=stack_outputs(settings),
        stack_name=settings.stack_name,
        where=settings.endpoint_url,
        is_local=True,
    )


def find_target(options: AwsOptions, settings: LocalSettings) -> Target:
    """The stack that the options name, else the running local engine's. Raises NoTarget, HalfUp or StackMissing.

    An endpoint, region or profile, as an option or in the environment, means AWS, but a running local engine goes
    before what the environment says: a stray AWS_REGION must not send sample events to an account.
    """
    running = None if options.means_aws({}) else find_running(settings)
    if running is not None:
        return local_target(replace(settings, port=running.port, stack_name=options.stack_name or settings.stack_name))
    if not options.means_aws(os.environ):
        raise NoTarget(
            "no local engine is up. Start it: make up. Or name a stack on AWS: --region (and --stack-name, --profile)"
        )
    return _aws_target(options, settings.stack_name)


def _aws_target(options: AwsOptions, default_name: str) -> Target:
    name = options.stack_name or default_name
    session = boto3.Session(profile_name=options.profile, region_name=options.region)
    config = Config(retries={"mode": "standard", "total_max_attempts": 6})
    client: dict[str, Any] = {"endpoint_url": options.endpoint_url, "config": config}
    where = options.endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or f"AWS {session.region_name}"
    return Target(session, client, _outputs(session, client, name, where), name, where, is_local=False)


def _outputs(session: boto3.Session, options: Mapping[str, Any], name: str, where: str) -> StackOutputs:
    try:
        stack = session.client("cloudformation", **options).describe_stacks(StackName=name)["Stacks"][0]
    except (ClientError, BotoCoreError, IndexError, ValueError) as error:  # ValueError: an endpoint that is no address
        said = str(error).rstrip(".")
        raise NoTarget(f"stack {name!r} can't be read at {where}: {said}. {_what_to_do(error)}") from error
    found = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    camel = {field.name: "".join(part.capitalize() for part in field.name.split("_")) for field in fields(StackOutputs)}
    missing = [output for output in camel.values() if output not in found]
    if missing:
        raise NoTarget(f"stack {name!r} at {where} has no output {', '.join(missing)}: it isn't this project's.")
    return StackOutputs(**{field: found[output] for field, output in camel.items()})


def _what_to_do(error: Exception) -> str:
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return "Sign in (aws sso login, aws configure), or name a --profile"
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    if code in {"ExpiredToken", "ExpiredTokenException"}:
        return "Sign in again"
    if "AccessDenied" in code or code in {"UnrecognizedClientException", "InvalidClientTokenId"}:
        return "Use credentials that may: docs/operations.md says which permissions it takes"
    return "Is --stack-name or --region wrong?"
