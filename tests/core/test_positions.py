"""Positions sort as text as the events of a key stand in the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.positions import Position, position, predecessor, sequence_number_of

SEQUENCE = "49590338271490256608559692538361571095921575989136588898"
PLACES = st.tuples(st.integers(0, 9999), st.integers(0, 10**56 - 1), st.integers(0, 999_999))


@given(PLACES, PLACES)
def test_positions_sort_as_text_by_epoch_then_sequence_number_then_sub_sequence(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    """A longer sequence number is a larger one, however the digits compare."""
    left, right = (position(epoch, str(number), sub) for epoch, number, sub in (one, other))
    assert (left < right) == (one < other)


@given(PLACES)
def test_a_position_gives_its_sequence_number_back(place: tuple[int, int, int]) -> None:
    """As Kinesis wrote it, for a partial failure's answer."""
    epoch, number, sub = place
    assert sequence_number_of(position(epoch, str(number), sub)) == str(number)


@given(PLACES, PLACES)
def test_nothing_stands_between_a_position_and_its_predecessor(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    """So that a cursor there has exactly the event at the position before it."""
    place, another = (position(epoch, str(number), sub) for epoch, number, sub in (one, other))
    before = predecessor(place)
    assert before < place
    assert another >= place or another <= before


@pytest.mark.parametrize(
    ("place", "before"),
    [
        (position(1, "7", 3), position(1, "7", 2)),
        (position(1, "7"), position(1, "6", 999_999)),
        (position(1, "0"), position(0, "9" * 56, 999_999)),
        (position(0, "0"), ""),
    ],
    ids=["within a record", "the record before", "the stream before", "the very first"],
)
def test_a_predecessor_borrows_from_what_stands_before_it(place: str, before: str) -> None:
    """As digits do."""
    assert predecessor(Position(place)) == before


def test_a_position_is_made_of_fixed_widths() -> None:
    """So that it can be read, and cut, by eye."""
    assert position(1, SEQUENCE, 2) == f"0001-{SEQUENCE}-000002"


@pytest.mark.parametrize("number", ["", "1" * 57, "-1", "1.0", " 1", "١", "0x1"])  # noqa: RUF001  an Arabic digit
def test_what_is_no_sequence_number_is_refused(number: str) -> None:
    """Digits 0 to 9 only, 56 at most: anything else would sort wrongly."""
    with pytest.raises(ValueError, match="must have 1 to 56 decimal digits"):
        position(1, number)


@pytest.mark.parametrize(("epoch", "sub"), [(-1, 0), (10_000, 0), (1, -1), (1, 1_000_000)])
def test_what_would_not_fit_its_width_is_refused(epoch: int, sub: int) -> None:
    """A wider part would sort wrongly."""
    with pytest.raises(ValueError, match="must be 0 to"):
        position(epoch, "1", sub)
