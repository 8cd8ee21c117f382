"""Runs one command as a member of its own process group, and ends the whole group with it.

Started as a script by engine.py, in a session of its own; it needs the standard library only. The guard ends the group

- when its standard input reaches its end: the parent holds the other end of that pipe, and the kernel
  closes it however the parent dies, SIGKILL included (until it wrote STAY: `keyturn up` does when all is up);
- when it gets SIGTERM or SIGINT;
- when the command ends by itself.

The engine's Lambda processes are its children and stay in the group, a handler that hangs too: SIGKILL for the group
is what reaches them all. (PR_SET_PDEATHSIG would end the engine only, and exists on Linux only.)
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
from types import FrameType

GRACE_S = 1.0
"""Between SIGTERM and SIGKILL: the engine keeps nothing that would need a longer goodbye."""
_CHECK_S = 0.25

STAY = b"+"
"""Written by the parent: the group is to outlive it."""

SCRATCH = "KEYTURN_SCRATCH"
"""Names the folder that goes away with the group."""


def main(arguments: list[str]) -> None:
    """`guard.py COMMAND...`"""
    asked_to_stop: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked_to_stop.append(number)

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    command = subprocess.Popen(arguments, stdin=subprocess.DEVNULL)  # noqa: S603
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        while command.poll() is None and not asked_to_stop:
            if selector.select(_CHECK_S):
                if os.read(sys.stdin.fileno(), len(STAY)) != STAY:
                    break
                selector.unregister(sys.stdin)
    _end(command)


def _end(command: subprocess.Popen[bytes]) -> None:
    command.terminate()
    try:
        command.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if scratch := os.environ.get(SCRATCH):
            shutil.rmtree(scratch, ignore_errors=True)  # may lie in memory, and nobody else is left to remove it
        os.killpg(os.getpgrp(), signal.SIGKILL)  # the guard itself is the last member


if __name__ == "__main__":
    main(sys.argv[1:])
