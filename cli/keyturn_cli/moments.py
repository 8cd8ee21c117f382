"""Times as people write them: RFC 3339, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import typer

_AGO: Final = re.compile(r"(\d{1,9})\s*([smhd])")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def moment_ms(text: str, now_ms: int) -> int:
    """Epoch milliseconds of "2026-11-25T02:00:00Z", or of "2h": that long ago, 1 at least. Raises BadParameter."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return max(1, now_ms - int(ago[1]) * _UNIT_S[ago[2]] * 1_000)
    try:
        told = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time: write 2026-11-25T02:00:00Z, or 2h for two hours ago") from error
    if told.tzinfo is None:
        raise typer.BadParameter(f"{text!r} names no time zone: end it with Z for UTC")
    return max(1, round(told.timestamp() * 1_000))


def clock_text(at_ms: int) -> str:
    """A time for people, in UTC."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
