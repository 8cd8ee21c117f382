"""`keyturn invoke`: one function in a container by `sam local invoke`, against the running local engine."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer
from botocore.exceptions import ClientError
from keyturn_local.bridge import reachable_from_containers
from keyturn_local.preflight import tool
from keyturn_local.settings import LocalSettings, engine_environment

from keyturn_cli.errors import CliError
from keyturn_cli.project import local_settings
from keyturn_cli.screen import Screen
from keyturn_cli.staged import is_task, running
from keyturn_cli.target import AwsOptions, Target, find_target

_OWN: Final = ("POWERTOOLS_SERVICE_NAME",)
"""What each function has of its own, and the template says as it is."""


def invoke(
    function: Annotated[str, typer.Argument(help="dispatcher, sequencer, watchdog, inventory ...")],
    event: Annotated[Path | None, typer.Option("--event", "-e", help="Default: the first in events/FUNCTION.")] = None,
    sam: Annotated[list[str] | None, typer.Argument(help="More for sam, after --, as in: -- --debug-port 5678")] = None,
) -> None:
    """Run one function in a container by `sam local invoke`, against the running local engine.

    Examples:

      keyturn invoke dispatcher -e events/dispatcher/batch.json

      keyturn invoke inventory -- --skip-pull-image

    It takes a Docker engine, and `keyturn up` before. What the function does to tables and streams stays there.
    """
    settings, screen = local_settings(), Screen()
    target = find_target(AwsOptions(), settings)
    if not target.is_local:
        raise CliError("invoke works with the local engine only. Start it: make up")
    variables = _variables(target, function)
    with (
        reachable_from_containers(urlsplit(target.where).port or settings.port) as endpoint_url,
        _ready(settings, target, variables, event or _first_event(settings, function), screen) as event_file,
    ):
        file = _write(settings, "invoke.json", {"Parameters": with_endpoint(variables, endpoint_url)})
        command = sam_command(settings, function, event_file, file, sam or ())
        screen.line("$ " + shlex.join(command))
        code = _run(settings, command)
    if code:
        raise CliError(f"sam local invoke failed (exit code {code}), see above")


def sam_command(
    settings: LocalSettings, function: str, event: Path, variables: Path, more: Sequence[str]
) -> tuple[str, ...]:
    """What is run: the template as it was built for the local stack, the event, the deployed function's variables."""
    template = settings.state_dir / "build" / "template.yaml"
    return (
        *("sam", "local", "invoke", f"{function.capitalize()}Function"),
        *("--template", _short(template), "--event", _short(event), "--env-vars", _short(variables)),
        *more,
    )


def with_endpoint(variables: Mapping[str, str], endpoint_url: str) -> dict[str, str]:
    """Point a function's variables at the engine as containers see it; URLs of queues hold its address too."""
    host = urlsplit(endpoint_url).netloc
    moved = {
        name: urlsplit(value)._replace(netloc=host).geturl() if value.startswith("http://") else value
        for name, value in variables.items()
        if name not in _OWN
    }
    return moved | {"AWS_ENDPOINT_URL": endpoint_url}


@contextmanager
def _ready(
    settings: LocalSettings, target: Target, variables: Mapping[str, str], event: Path, screen: Screen
) -> Iterator[Path]:
    """Yield the event to invoke with: a worker's task as the current attempt of a key, anything else as it is."""
    content = _read(event)
    if not is_task(content):
        yield event
        return
    with running(target.client("dynamodb"), variables, content) as task:
        screen.line(
            f"A worker runs for its key's current attempt only: key {task['run']['key']} runs during this call."
        )
        yield _write(settings, "invoke-task.json", task)


def _read(event: Path) -> Any:
    try:
        return json.loads(event.read_bytes())
    except OSError as error:
        raise CliError(f"{event} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise CliError(f"{event} is not JSON: {error}") from error


def _first_event(settings: LocalSettings, function: str) -> Path:
    folder = settings.root / "events" / function
    found = sorted(folder.glob("*.json"))
    if not found:
        known = ", ".join(sorted(path.name for path in (settings.root / "events").iterdir() if path.is_dir()))
        raise CliError(f"no sample event for {function!r} in events/. Name one of {known}, or an event with -e")
    return found[0]


def _variables(target: Target, function: str) -> Mapping[str, str]:
    name = f"{target.stack_name}-{function}"
    try:
        found = target.client("lambda").get_function_configuration(FunctionName=name)
    except ClientError as error:
        raise CliError(f"the local stack has no function {name}. Misspelt, or deploy anew: make up") from error
    variables: Mapping[str, str] = found["Environment"]["Variables"]
    return variables


def _write(settings: LocalSettings, name: str, content: Mapping[str, Any]) -> Path:
    file = settings.state_dir / name
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


def _run(settings: LocalSettings, command: Sequence[str]) -> int:
    environment = engine_environment(os.environ, settings)
    del environment["AWS_ENDPOINT_URL"]  # sam itself has nothing to ask the engine
    return subprocess.run(  # noqa: S603  sam of our own environment
        [str(tool("sam")), *command[1:]], env=environment, check=False
    ).returncode


def _short(path: Path) -> str:
    """Relative to the working directory if that is shorter to read."""
    return os.path.relpath(path) if path.is_absolute() else str(path)
