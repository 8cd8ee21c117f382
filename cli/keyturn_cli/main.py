"""Entry point of the `keyturn` command: signals first, since everything else takes a moment to import."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn


def main() -> None:
    """Run the command line."""
    _on_signals(_end_at_once)
    from keyturn_cli.app import run  # noqa: PLC0415  a Ctrl-C while this is imported must find its handler

    _on_signals(_end)
    run()


def _on_signals(handler: Callable[[int, FrameType | None], NoReturn] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _end_at_once(number: int, _frame: FrameType | None) -> NoReturn:
    """Nothing is started yet, and the import system may swallow an exception that comes from nowhere."""
    _say_so()
    os._exit(128 + number)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind every `with` block, which ends what was started. A second signal must not cut that short."""
    _on_signals(signal.SIG_IGN)
    _say_so()
    sys.exit(128 + number)


def _say_so() -> None:
    os.write(sys.stderr.fileno(), b"\nStopping ...\n")  # print() isn't to be used in a signal handler


if __name__ == "__main__":
    main()
