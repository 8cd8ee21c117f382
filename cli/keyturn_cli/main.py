"""Entry point of the `keyturn` command: signals first, since everything else takes a moment to import."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    from keyturn_cli.app import run  # noqa: PLC0415  a Ctrl-C while this is imported must find its handler

    run()


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind every `with` block, which ends what was started. A second signal must not cut that short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.write(sys.stderr.fileno(), b"\nStopping ...\n")  # print() isn't to be used in a signal handler
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
