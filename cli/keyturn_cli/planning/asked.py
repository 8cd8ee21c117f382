"""Numbers as people write them at the command line: 50k, 1e6, 1.5k."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from keyturn_cli.errors import BadInput
from keyturn_cli.planning.workload import Workload

_NUMBER: Final = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d{1,2})?)([kKmM]?)", re.ASCII)
_RECORD_BYTES_MAX: Final = 1_048_576
"""Of Kinesis, unless the stream's MaxRecordSize is raised."""


def number(option: str, text: str, low: float, high: float, thousand: int = 1_000) -> float:
    """Read a number with an optional k or m. Raises BadInput."""
    match = _NUMBER.fullmatch(text.strip())
    scale = {"": 1, "k": thousand, "m": thousand**2}
    # Not as a float: 1.005k is 1,005 keys, and 1.005 * 1000 isn't.
    value = float(Decimal(match[1]) * scale[match[2].lower()]) if match else -1.0
    if match is None or not low <= value <= high:
        raise BadInput(
            f"{option} is {text!r}: it must be a number from {low:,.10g} to {high:,.10g}, as 500, 50k or 1e6"
        )
    return value


def whole(option: str, text: str, low: int, high: int, thousand: int = 1_000) -> int:
    """Read a whole number with an optional k or m. Raises BadInput."""
    value = number(option, text, low, high, thousand)
    if value != int(value):
        raise BadInput(f"{option} is {text!r}: it must be a whole number")
    return int(value)


def asked_workload(
    *, rate: str, keys: str, payload: str, steps: str, step_ms: str, hot_share: str, retention_days: str
) -> Workload:
    """Read a load from the command's options. Raises BadInput naming the option."""
    return Workload(
        rate=number("--rate", rate, 0.00001, 10_000_000),
        keys=whole("--keys", keys, 1, 10_000_000_000),
        payload_bytes=whole("--payload", payload, 1, _RECORD_BYTES_MAX, 1_024),
        steps=whole("--steps", steps, 1, 40),
        step_ms=number("--step-ms", step_ms, 1, 900_000),
        hot_share=number("--hot-share", hot_share, 0, 1),
        retention_days=whole("--retention-days", retention_days, 30, 3_650),
    )
