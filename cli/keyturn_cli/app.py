"""The commands, and the one place that turns errors into `Error: ...`."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

import typer
from botocore.exceptions import BotoCoreError, ClientError
from keyturn_local.errors import LocalError

from keyturn.core.naming import is_unicode
from keyturn.errors import KeyturnError
from keyturn_cli.cost.command import cost
from keyturn_cli.demo import demo
from keyturn_cli.doctor.command import doctor
from keyturn_cli.down import down
from keyturn_cli.drills.command import drill
from keyturn_cli.errors import CliError
from keyturn_cli.holds import hold
from keyturn_cli.invoke import invoke
from keyturn_cli.items import deadletter, quarantine
from keyturn_cli.key import key
from keyturn_cli.key import run as run_of_key
from keyturn_cli.keys import keys
from keyturn_cli.looking.wording import one_line
from keyturn_cli.parked import resume, skip
from keyturn_cli.planning.command import plan
from keyturn_cli.push import push
from keyturn_cli.release import app as release
from keyturn_cli.replay import app as replay
from keyturn_cli.status import status
from keyturn_cli.tracing.command import trace
from keyturn_cli.up import up

app = typer.Typer(
    help="Run Step Functions workflows from a Kinesis stream, strictly in order within a key.",
    epilog="Begin with: keyturn demo",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # errors are one plain line then, and help reads the same in a log
)
for command in (demo, up, push, invoke, down, status, keys, key, trace, hold, resume, skip, doctor, drill, plan, cost):
    app.command()(command)
app.command("run")(run_of_key)
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(deadletter.app, name="deadletter")
app.add_typer(replay, name="replay")
app.add_typer(release, name="release")


def run() -> NoReturn:
    """Run the command; whatever a user can cause ends in one line on stderr and a non-zero exit code."""
    if not all(map(is_unicode, sys.argv)):
        _fail("an argument is no UTF-8: Python couldn't read some of its bytes")
    try:
        _run_to_its_end()
    except (CliError, LocalError) as error:
        _fail(str(error))
    except KeyturnError as error:
        _fail(f"{error}{_hint(error.__cause__)}")
    except ClientError as error:
        _fail(f"{_refusal(error)}{_hint(error)}")
    except BotoCoreError as error:
        _fail(str(error))
    except BrokenPipeError:
        _write_or_drop_output()  # whoever read it has seen enough
        sys.exit(1)
    except OSError as error:
        _write_or_drop_output()
        _fail(str(error))
    sys.exit(0)


def _run_to_its_end() -> None:
    """Run the command, and write what is left of its output while an error of that can still be told."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - None where it was closed; to the end
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: what a terminal's encoding lacks ends nothing
    try:
        app(prog_name="keyturn")
    except SystemExit:
        sys.stdout.flush()
        raise


def _write_or_drop_output() -> None:
    """Write what is left of the output, or drop it: else the interpreter fails again at its end, in its own words."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> NoReturn:
    print(f"Error: {one_line(message)}", file=sys.stderr)
    sys.exit(1)


def _refusal(error: ClientError) -> str:
    said = error.response.get("Error", {})
    return f"AWS refused {error.operation_name}: {said.get('Code', '')}: {said.get('Message', '')}"


def _hint(cause: BaseException | None) -> str:
    """What to do about a refusal that the caller's credentials are the reason of."""
    if not isinstance(cause, ClientError):
        return ""
    code = cause.response.get("Error", {}).get("Code", "")
    return ". Use credentials that may, see docs/operations.md" if "AccessDenied" in code else ""
