"""What can go wrong with a bench. Every message is one line: what, where, what to do."""

from __future__ import annotations


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
