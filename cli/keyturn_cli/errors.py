"""What can go wrong at the command line. Every message is one line: what, where, what to do.

CliError
├── NoTarget        there is no stack to talk to
├── BadLine         a line of the input can't become a record
├── BadInput        the input as a whole can't be read
├── PutFailed       the stream didn't take the rest
├── NotDone         the stack didn't finish in time
├── NotFound        there is no such key, event, record or plan
└── Refused         what was asked doesn't fit the state that things are in; nothing was changed
"""

from __future__ import annotations


class CliError(Exception):
    """Base class: its text is meant for the user."""


class NoTarget(CliError):
    """Neither a local engine nor a stack on AWS was named or found."""


class BadInput(CliError):
    """The input can't be read."""


class BadLine(BadInput):
    """A line of the input can't become a record."""

    def __init__(self, what: str, *, source: str = "", line: int = 0) -> None:
        super().__init__(f"{source}, line {line}: {what}" if line else what)


class PutFailed(CliError):
    """The stream refused records for too long, or gave them out of order."""


class NotDone(CliError):
    """The stack didn't finish what was put within the limit."""


class NotFound(CliError):
    """There is no such key, event, record or plan."""


class Refused(CliError):
    """The stack refuses what was asked, in its own words."""
