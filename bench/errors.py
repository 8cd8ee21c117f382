"""What can go wrong with a bench. Every message is one line: what, where, what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

_OTHERS: Final = frozenset({"keyturn_cli", "keyturn_local"})
"""Packages whose errors are meant for users too."""


class BenchError(Exception):
    """Base class: its text is meant for the user."""


class NotInstalled(BenchError):
    """A contender needs something that isn't here; the others can run without it."""


class NotWhole(BenchError):
    """The logs don't tell of all that was done."""


class Refused(BenchError):
    """The stream refused a record, so the order within its key is lost."""


class TooSlow(BenchError):
    """A contender didn't finish a run within the limit."""


def told_in_a_line(command: Callable[[], None]) -> None:
    """Run a command; an error that a user can cause is one line, and exit status 1."""
    try:
        command()
    except Exception as error:
        if not isinstance(error, BenchError) and type(error).__module__.split(".")[0] not in _OTHERS:
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
