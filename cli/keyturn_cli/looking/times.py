"""Times as people read them ("3 min ago") and as programs do (epoch milliseconds and ISO 8601, UTC)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))
_DAY_MS: Final = 86_400_000


def lasting(duration_ms: int) -> str:
    """A duration in its two largest units: "85 ms", "3.6 s", "42 s", "3 min 5 s", "2 h 10 min", "4 d 3 h"."""
    if duration_ms < 1_000:
        return f"{max(0, duration_ms)} ms"
    if duration_ms < 10_000:
        return f"{duration_ms // 100 / 10:g} s"
    for place, (name, unit_ms) in enumerate(_UNITS):
        if duration_ms >= unit_ms:
            whole, rest = divmod(duration_ms, unit_ms)
            smaller = [(rest // below_ms, below) for below, below_ms in _UNITS[place + 1 : place + 2]]
            return " ".join([f"{whole} {name}", *(f"{count} {below}" for count, below in smaller if count)])
    raise AssertionError("a second is the smallest unit")


def since(at_ms: int, now_ms: int) -> str:
    """How long ago a time was: "3 min 5 s ago"; "in 3 s" when it is to come."""
    if at_ms > now_ms:
        return f"in {lasting(at_ms - now_ms)}"
    return f"{lasting(now_ms - at_ms)} ago" if now_ms - at_ms >= 1_000 else "just now"


def moment(at_ms: int, now_ms: int) -> str:
    """A time with its distance: "02:51:33 UTC (3 min ago)", with its date when that is far."""
    form = "%H:%M:%S" if abs(now_ms - at_ms) < _DAY_MS else "%Y-%m-%d %H:%M:%S"
    return f"{_utc(at_ms):{form}} UTC ({since(at_ms, now_ms)})"


def clock(at_ms: int) -> str:
    """A time of a log line: "2026-01-05 02:51:33.120"."""
    return f"{_utc(at_ms):%Y-%m-%d %H:%M:%S}.{at_ms % 1_000:03d}"


def iso(at_ms: int) -> str:
    """A time in ISO 8601, UTC, to the millisecond."""
    return f"{_utc(at_ms):%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03d}Z"


def as_json(name: str, at_ms: int | None) -> dict[str, Any]:
    """A time for programs: `name` in ISO 8601 and `name_ms` in epoch milliseconds; null for none (0 or None)."""
    return {name: iso(at_ms) if at_ms else None, f"{name}_ms": at_ms or None}


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1_000, UTC)
