"""Publishes what is deployed: a version of each workflow and each worker, with the caller's own rights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from keyturn.adapters.failures import code_of
from keyturn.core.rollout import alias_of
from keyturn_cli.errors import Refused
from keyturn_cli.target import Target

_REPLAY: Final = "replay-standard"
"""Drives replays; no key's run takes it."""

_BY_RELEASE: Final = re.compile(r"States\.Format\('([^'{}]+)\{\}', \$\.run\.qualifier\)")
"""How a definition calls a worker, in the version that the run's release has: `make lint` wants just this."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a stack's runs are made of."""

    machines: dict[str, str]
    """State machine (`WORKFLOW-KIND`) -> ARN."""
    workers: dict[str, str]
    """Worker function, without the stack's name -> ARN."""


@dataclass(frozen=True, slots=True)
class Published:
    """The versions of a release: ARNs by the same names."""

    machines: dict[str, str]
    workers: dict[str, str]


def deployed(target: Target) -> Deployed:
    """What is deployed now. Raises Refused while a deploy is under way, or when its workflows know no releases."""
    cloudformation, name = target.client("cloudformation"), target.stack_name
    status = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
    if status.endswith("_IN_PROGRESS"):
        raise Refused(f"stack {name!r} is being changed ({status}): publish when its deploy is over")
    machines = {
        _short(name, arn): arn
        for kind, arn in _resources(cloudformation, name)
        if kind == "AWS::StepFunctions::StateMachine" and _short(name, arn) != _REPLAY
    }
    states = target.client("stepfunctions")
    workers = sorted({worker for machine in machines.values() for worker in _workers_of(states, machine)})
    if not workers:
        raise Refused(
            f"no workflow of stack {name!r} calls a worker by its run's release: deploy this version of Keyturn first"
        )
    return Deployed(machines, {_short(name, arn): arn for arn in workers})


def _workers_of(states: Any, machine: str) -> list[str]:
    return _BY_RELEASE.findall(states.describe_state_machine(stateMachineArn=machine)["definition"])


def publish_versions(target: Target, found: Deployed, number: int) -> Published:
    """Publish a version of everything, and give the workers' the release's alias.

    What hasn't changed since its last version keeps that one (PublishVersion API reference).
    """
    lambda_, states = target.client("lambda"), target.client("stepfunctions")
    workers = {name: _publish_worker(lambda_, arn, number) for name, arn in found.workers.items()}
    machines = {
        name: str(
            states.publish_state_machine_version(stateMachineArn=arn, description=f"release {number}")[
                "stateMachineVersionArn"
            ]
        )
        for name, arn in found.machines.items()
    }
    return Published(machines, workers)


def _publish_worker(lambda_: Any, arn: str, number: int) -> str:
    version = lambda_.publish_version(FunctionName=arn)["Version"]
    try:
        lambda_.create_alias(FunctionName=arn, Name=alias_of(number), FunctionVersion=version)
    except ClientError as error:
        if code_of(error) != "ResourceConflictException":
            raise
        raise Refused(
            f"{arn} has an alias {alias_of(number)} already, of a state table before this one: publish again, the next"
            " number may be free"
        ) from error
    return f"{arn}:{version}"


def _resources(cloudformation: Any, stack_name: str) -> Iterator[tuple[str, str]]:
    """Type and physical id of a stack's resources; those that were taken out of it may still be listed."""
    for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack_name):
        for found in page["StackResourceSummaries"]:
            if not found["ResourceStatus"].startswith("DELETE_"):
                yield found["ResourceType"], found.get("PhysicalResourceId", "")


def _short(stack_name: str, arn: str) -> str:
    return arn.rpartition(":")[2].removeprefix(f"{stack_name}-")
