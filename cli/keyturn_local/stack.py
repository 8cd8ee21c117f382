"""Builds and deploys the stack with the real `sam`, and reads what it is called.

build(settings)                             # sam build, log in .keyturn/build.log
deploy(settings)                            # sam deploy, log in .keyturn/deploy.log
outputs = stack_outputs(settings)           # names of the deployed resources
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError, EndpointConnectionError

from keyturn_local.clients import client_options, local_session
from keyturn_local.engine import last_lines
from keyturn_local.errors import OutputMissing, StackMissing, ToolFailed
from keyturn_local.preflight import tool
from keyturn_local.settings import LocalSettings, engine_environment

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

_TELLS_NOTHING: Final = re.compile(r"\[\*\]|.*SAM CLI update available|make(\[\d+\])?: \*\*\*")
_USABLE = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "IMPORT_COMPLETE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOutputs:
    """The template's outputs; each field is an output of the same name in CamelCase."""

    stream_name: str
    state_table_name: str
    ledger_table_name: str
    payload_bucket_name: str
    failure_bucket_name: str
    wake_queue_url: str
    dispatcher_function_name: str
    sequencer_function_name: str
    watchdog_function_name: str
    operator_function_name: str


def build(settings: LocalSettings, arguments: Sequence[str] = ()) -> None:
    """Run `sam build`. Raises ToolFailed or ToolMissing."""
    _run_sam(settings, "build", arguments)


def deploy(settings: LocalSettings, arguments: Sequence[str] = ()) -> None:
    """Run `sam deploy` against the running engine. Raises ToolFailed or ToolMissing."""
    _run_sam(settings, "deploy", ["--stack-name", settings.stack_name, *arguments])


def stack_outputs(settings: LocalSettings, client: CloudFormationClient | None = None) -> StackOutputs:
    """What the deployed stack's resources are called. Raises StackMissing or OutputMissing."""
    found = _describe(
        settings, client or local_session(settings.region).client("cloudformation", **client_options(settings))
    )
    names = {field.name: _camel(field.name) for field in fields(StackOutputs)}
    missing = [name for name in names.values() if name not in found]
    if missing:
        raise OutputMissing(
            f"stack {settings.stack_name!r} has no output {', '.join(missing)}: it was deployed from another template."
            " Deploy this one: make up"
        )
    return StackOutputs(**{field: found[name] for field, name in names.items()})


def _describe(settings: LocalSettings, client: CloudFormationClient) -> Mapping[str, str]:
    name = settings.stack_name
    try:
        stack = client.describe_stacks(StackName=name)["Stacks"][0]
    except EndpointConnectionError as error:
        raise StackMissing(f"no engine answers at {settings.endpoint_url}. Start it with: make up") from error
    except (ClientError, IndexError) as error:
        raise StackMissing(
            f"stack {name!r} is not deployed at {settings.endpoint_url}. Deploy it (make up), or name another one"
        ) from error
    if stack["StackStatus"] not in _USABLE:
        raise StackMissing(f"stack {name!r} is in state {stack['StackStatus']}. Start over: make down && make up")
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _run_sam(settings: LocalSettings, verb: str, arguments: Iterable[str]) -> None:
    """Run one sam command in the project, its output in a log; the log's end goes into the error."""
    sam = tool("sam")
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    log = settings.state_dir / f"{verb}.log"
    # its own folder for temporary files: sam leaves some behind at each run
    with log.open("wb") as sink, TemporaryDirectory(prefix="keyturn-sam-", ignore_cleanup_errors=True) as temporary:
        run = subprocess.Popen(  # noqa: S603  sam of our own environment
            [str(sam), verb, "--config-env", settings.config_env, *arguments],
            cwd=settings.root,
            env=engine_environment(os.environ, settings) | {"TMPDIR": temporary},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = run.wait()
        except BaseException:  # Ctrl-C: pip, make and whatever else it started must not run on
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            raise
    if code:
        lines = _telling(last_lines(log, 60))
        raise ToolFailed(
            f"sam {verb} failed (exit code {code}): {lines[-1] if lines else 'no output'}. Log: {log}", lines
        )


def _telling(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The lines that say what went wrong: from the first error on, at most twelve.

    Without sam's own advertising, and without what make says last of all: only that something failed.
    """
    said = [line for line in lines if not _TELLS_NOTHING.match(line)]
    first = next((at for at, line in enumerate(said) if "error" in line.lower() or "fail" in line.lower()), 0)
    return tuple(said[first:][-12:])
