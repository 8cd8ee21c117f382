"""Times as producers and operators write them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from keyturn_cli.errors import CliError

_UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


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
