"""Times and texts as people read and write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from keyturn_cli.errors import CliError

_UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LENGTHS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def utc(at_ms: int) -> str:
    """A time, to the millisecond: 2026-01-05 08:00:00.123."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")


def length(length_ms: int) -> str:
    """A length with its unit, to three digits or so: 340 ms, 2.49 s, 16 min, 3.2 d."""
    for unit_ms, unit in _LENGTHS:
        if length_ms >= unit_ms:
            number = length_ms / unit_ms
            return f"{number:.3g} {unit}" if number < 999 else f"{number:,.0f} {unit}"
    return f"{length_ms} ms"


def printable(text: str) -> str:
    """A text of unknown origin, safe to show: control characters, which a terminal would obey, are spelled out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def from_rfc3339(text: str) -> int | None:
    """The time that a CloudEvent's `time` names; None if it is none that a calendar has."""
    try:
        moment = datetime.fromisoformat(text.upper())
        return round(moment.timestamp() * 1000) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def span_ms(text: str) -> int:
    """A span as an option names it: 30m, 24h, 7d. Raises CliError."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if found is None:
        raise CliError(f"{text!r} is no span of time: give minutes, hours or days, such as 30m, 24h or 7d")
    return int(found[1]) * _UNITS_MS[found[2]]
