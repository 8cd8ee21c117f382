"""Entry point of the `keyturn` command."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

import typer
from botocore.exceptions import BotoCoreError, ClientError
from keyturn_local.errors import LocalError

from keyturn.errors import KeyturnError
from keyturn_cli.demo import demo
from keyturn_cli.down import down
from keyturn_cli.errors import CliError
from keyturn_cli.push import push
from keyturn_cli.up import up

app = typer.Typer(
    help="Run Step Functions workflows from a Kinesis stream, strictly in order within a key.",
    epilog="Begin with: keyturn demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # errors are one plain line then, and help reads the same in a log
)
for command in (demo, up, push, down):
    app.command()(command)


def main() -> None:
    """Run the command; whatever a user can cause ends in one line on stderr and a non-zero exit code."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        app(prog_name="keyturn")
    except (CliError, LocalError, KeyturnError) as error:
        _fail(str(error))
    except ClientError as error:
        _fail(_refusal(error))
    except BotoCoreError as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    print(f"Error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(1)


def _refusal(error: ClientError) -> str:
    said = error.response.get("Error", {})
    return f"AWS refused {error.operation_name}: {said.get('Code', '')}: {said.get('Message', '')}"


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind every `with` block, which ends what was started. A second signal must not cut that short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
