"""Positions as people name them: whole, or by the Kinesis sequence number alone."""

from __future__ import annotations

import re
from typing import Final

from keyturn.core.positions import Position, position
from keyturn_cli.errors import BadInput
from keyturn_cli.looking.wording import quoted

_WHOLE: Final = re.compile(r"\d{4}-\d{56}-\d{6}", re.ASCII)


def is_position(text: str) -> bool:
    """Whether a text looks like a position or a sequence number."""
    return bool(_WHOLE.fullmatch(text)) or (text.isascii() and text.isdigit())


def read_position(text: str, epoch: int) -> Position:
    """Read a position, or a sequence number of the stream's epoch. Raises BadInput."""
    if _WHOLE.fullmatch(text):
        return Position(text)
    try:
        return position(epoch, text)
    except ValueError as error:
        raise BadInput(
            f"{quoted(text)} is no position: take one from `keyturn key KEY` (0001-49...-000000), or a Kinesis sequence"
            " number"
        ) from error
