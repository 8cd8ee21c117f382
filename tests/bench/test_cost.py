"""The table of what a million events cost tells an event's own units apart from what all keys share."""

from __future__ import annotations

from keyturn_cli.cost.bill import Bill, Line

from bench.cost import ROWS, cells


def _bill(*lines: tuple[str, float, float]) -> Bill:
    made = tuple(Line(item, "unit", amount, usd) for item, amount, usd in lines)
    return Bill(made, effects=(), standing_usd_month=0.0, events=40)


def test_shared_units_are_in_the_dollars_and_not_among_an_events_own() -> None:
    """They come by the second: the more events, the less of them each has."""
    row = ROWS[0]
    made = _bill(
        ("DynamoDB writes", 10.0, 6.25),
        ("DynamoDB writes, slots and controls", 2.0, 1.25),
        ("DynamoDB reads", 6.0, 0.75),
        ("DynamoDB reads, slots and controls", 4.0, 0.5),
        ("Lambda requests", 4.0, 0.8),
    )
    assert cells(row, made) == [row.title, "10.00", "6.00", "4.00", "0.0", "0", "9.55", "1.75"]


def test_every_row_puts_as_many_events_as_its_title_says() -> None:
    """A row's title is what a reader goes by."""
    assert [str(row.events) in row.title for row in ROWS] == [True] * len(ROWS)
