"""Positions: where an event stands in its key's log."""

from typing import Final, NewType

from keyturn.limits import SUBSEQUENCE_MAX

Position = NewType("Position", str)
"""`EPOCH-SEQUENCE-SUBSEQUENCE`, each zero-padded, so that positions sort as text."""

_EPOCH_MAX: Final = 9_999
_SEQUENCE_DIGITS: Final = 56
"""Kinesis hands out decimal sequence numbers of 56 digits (Lambda Developer Guide, sample events)."""


def position(epoch: int, sequence_number: str, sub_sequence: int = 0) -> Position:
    """Make a position; raises ValueError when a part is out of range or not a number."""
    if not 0 <= epoch <= _EPOCH_MAX:
        raise ValueError(f"stream epoch {epoch} must be 0 to {_EPOCH_MAX}")
    if not (sequence_number.isascii() and sequence_number.isdigit() and len(sequence_number) <= _SEQUENCE_DIGITS):
        raise ValueError(f"sequence number {sequence_number!r} must have 1 to {_SEQUENCE_DIGITS} decimal digits")
    if not 0 <= sub_sequence <= SUBSEQUENCE_MAX:
        raise ValueError(f"sub-sequence {sub_sequence} must be 0 to {SUBSEQUENCE_MAX}")
    return Position(f"{epoch:04d}-{sequence_number:0>{_SEQUENCE_DIGITS}}-{sub_sequence:06d}")


def sequence_number_of(place: Position) -> str:
    """Return the Kinesis sequence number of a position, without the padding."""
    return place.split("-")[1].lstrip("0") or "0"


def predecessor(place: Position) -> Position:
    """Return the largest position before `place`, whether an event stands there or not; "" before the first."""
    epoch, sequence, sub_sequence = (int(part) for part in place.split("-"))
    if sub_sequence:
        return position(epoch, str(sequence), sub_sequence - 1)
    if sequence:
        return position(epoch, str(sequence - 1), SUBSEQUENCE_MAX)
    return position(epoch - 1, "9" * _SEQUENCE_DIGITS, SUBSEQUENCE_MAX) if epoch else Position("")
