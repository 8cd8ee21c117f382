"""What a drill is, and what becomes of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from keyturn_cli.drills.ground import Ground, all_through
from keyturn_cli.errors import CliError
from keyturn_cli.facts import Facts
from keyturn_cli.report import Check

Findings = Callable[[Ground, Facts], Sequence[Check]]
"""Checks of a drill's own, besides those of every drill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """A fault to put in, a condition to wait for, and what must hold then."""

    name: str
    does: str
    """In a sentence: what it puts in."""
    promises: str
    """In a sentence: what must hold."""
    inject: Callable[[Ground], None]
    """Puts events and faults in; what it enters into `ground.keeping` lasts until the drill has ended."""
    wait: Callable[[Ground], str] = all_through
    """Tells what is still missing; empty once the drill is over."""
    limit_s: float = 90
    """How long that may take on two cores; a limit only, since the drill ends as soon as the condition holds."""
    checks: Findings = lambda _ground, _facts: ()
    local_only: str = ""
    """Why it doesn't run against AWS; empty if it does."""


class NotHere(CliError):
    """A drill can't run at this stack; says why. Nothing was injected."""


class Ended(StrEnum):
    """How a drill ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a drill, with the evidence."""

    drill: Drill
    ended: Ended
    took_s: float = 0.0
    checks: tuple[Check, ...] = ()
    seen: tuple[str, ...] = ()
    """What was seen on the way."""
    reason: str = ""
    """Why it was skipped, or what kept it from its end."""
