"""What a check says: one line each, and what to do unless all is well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    """It works, and may not for long, or somebody should know."""
    FAILED = "failed"
    """Something that Keyturn's promises rest on isn't as it must be."""
    NOT_CHECKED = "not checked"
    """Nothing is known: the endpoint doesn't answer this, or the caller may not ask."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    name: str
    verdict: Verdict
    told: str
    todo: str = ""

    def as_json(self) -> dict[str, str]:
        """For programs."""
        return {"name": self.name, "verdict": self.verdict.value, "told": self.told, "todo": self.todo}


def ok(name: str, told: str) -> Finding:
    """All is well."""
    return Finding(name, Verdict.OK, told)


def warning(name: str, told: str, todo: str) -> Finding:
    """Somebody should look, soon."""
    return Finding(name, Verdict.WARNING, told, todo)


def failed(name: str, told: str, todo: str) -> Finding:
    """Somebody has to do something."""
    return Finding(name, Verdict.FAILED, told, todo)


def not_checked(name: str, told: str, todo: str = "") -> Finding:
    """Nothing is known."""
    return Finding(name, Verdict.NOT_CHECKED, told, todo)


_NAMED_MAX: Final = 5


def listed(names: Iterable[str]) -> str:
    """Name some things in a line: the first few, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - _NAMED_MAX
    return ", ".join(ordered[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def seconds(duration_ms: float) -> str:
    """Write a duration for people: 0.4 s, 12 s, 7 min, 3 h, 2 days."""
    for size_ms, unit in ((86_400_000, "days"), (3_600_000, "h"), (60_000, "min")):
        if duration_ms >= 2 * size_ms:
            return f"{duration_ms / size_ms:.0f} {unit}"
    return f"{duration_ms / 1000:.1f} s" if duration_ms < 10_000 else f"{duration_ms / 1000:.0f} s"
