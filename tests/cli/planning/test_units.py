"""The table of units says what the protocol writes and reads, and a batch never costs more an event."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyturn_cli.planning.units import (
    EVENT_ITEM_BYTES,
    IDENTITY_ITEM_BYTES,
    IDLE_STATE_BYTES,
    KEY_STATE_BYTES,
    RESULT_ITEM_BYTES,
    RESULT_ROW_BYTES,
    SLOT_QUANTUM_RUNS,
    Shape,
    Units,
    event_item_bytes,
    kept_bytes,
    transitions_of,
    units_of,
)
from keyturn_cli.planning.workload import Kind

from keyturn.adapters.duplicates import DuplicateIndex, Identified
from keyturn.adapters.keys import encode_state
from keyturn.adapters.log import EventLog
from keyturn.core.log_entry import LogEntry
from keyturn.core.positions import position
from keyturn.core.route import Kind as RouteKind
from keyturn.core.state import KeyState, Phase, Run, Slice

ENDLESS = 1e9
NOW_MS = 1_764_036_000_000
PLACE = position(1, "4" * 56)

shapes = st.builds(
    Shape,
    kind=st.sampled_from(Kind),
    steps=st.integers(1, 20),
    payload_bytes=st.integers(1, 1_000_000),
    batch=st.floats(1, 90),
    busy=st.floats(0, 1),
    admitted_together=st.floats(1, 100),
    records=st.floats(1, 500),
)


def test_a_strict_cold_event_of_three_steps_takes_ten_write_units_and_six_read_units() -> None:
    """Besides a dispatcher's batch and lost races to bind; docs/design.md says what each is for."""
    units = units_of(Shape(Kind.EXPRESS, steps=3, payload_bytes=400, records=ENDLESS, binds_lost=0))
    assert units.write_units == pytest.approx(10)
    assert units.index_write_units == pytest.approx(2)
    assert units.read_units == pytest.approx(6)
    assert units.invocations == pytest.approx(4)
    assert units.log_bytes <= 1_300
    assert (units.express_starts, units.standard_starts, units.transitions) == (1, 0, 0)


def test_a_busy_keys_event_writes_no_index_and_no_claim() -> None:
    """Event, identity, a share of an admission, three steps, and a finish that claims the next run.

    Besides a bind; on Express only with a start, once in a slot's quantum.
    """
    for kind, binds in ((Kind.STANDARD, 1), (Kind.NESTED, 1), (Kind.EXPRESS, 1 / SLOT_QUANTUM_RUNS)):
        shape = Shape(kind, 3, 400, busy=1, admitted_together=10, records=ENDLESS, binds_lost=0)
        assert units_of(shape).index_write_units == 0
        assert units_of(shape).write_units == pytest.approx(2 + 0.1 + binds + 3 + 1)


def test_workers_that_lose_the_race_to_bind_a_run_cost_a_write_each() -> None:
    """All but one of them at most: a refused write is billed."""
    shape = Shape(Kind.EXPRESS, 3, 400, records=ENDLESS)
    assert [units_of(with_(shape, binds_lost=share)).write_units for share in (0, 0.5, 1)] == pytest.approx(
        [10, 11, 12]
    )


def test_a_full_batch_shares_its_run() -> None:
    """Ten events: each its own event and identity, and a tenth of all else."""
    units = units_of(Shape(Kind.EXPRESS, 3, 400, batch=10, busy=1, admitted_together=10, records=ENDLESS))
    assert units.invocations == pytest.approx(0.4)
    assert 2.5 < units.write_units < 3.1


@pytest.mark.parametrize(("kind", "transitions"), [(Kind.STANDARD, 5), (Kind.NESTED, 1), (Kind.EXPRESS, 0)])
def test_transitions_are_five_flat_and_one_with_a_nested_child(kind: Kind, transitions: int) -> None:
    assert transitions_of(kind, 3) == transitions
    starts = units_of(Shape(kind, 3, 400))
    assert (starts.standard_starts > 0) == (kind is not Kind.EXPRESS)
    assert (starts.express_starts > 0) == (kind is not Kind.STANDARD)


def test_a_large_event_goes_through_the_bucket() -> None:
    """Its item keeps a reference, and each step fetches it."""
    units = units_of(Shape(Kind.EXPRESS, 3, 200_000, records=ENDLESS, binds_lost=0))
    assert (units.s3_puts, units.s3_gets) == (1, 3)
    assert units.write_units == pytest.approx(10)
    assert kept_bytes(200_000, 3) < kept_bytes(100_000, 3)


@given(shapes, st.floats(1, 90))
def test_a_larger_batch_never_costs_more_an_event(shape: Shape, other: float) -> None:
    """Of anything."""
    small, large = sorted((shape.batch, other))
    for field in fields(Units):
        before, after = (getattr(units_of(with_(shape, batch=batch)), field.name) for batch in (small, large))
        assert after <= before * (1 + 1e-9), field.name


@given(shapes, st.integers(1, 20), st.integers(1, 100_000))
def test_more_steps_or_bytes_never_take_less(shape: Shape, steps: int, payload: int) -> None:
    wider = with_(shape, steps=shape.steps + steps)
    assert units_of(wider).write_units >= units_of(shape).write_units
    assert units_of(wider).invocations >= units_of(shape).invocations
    small, large = (units_of(with_(shape, payload_bytes=size)) for size in sorted((1, payload)))
    assert large.write_units >= small.write_units


@given(shapes)
def test_units_add_up(shape: Shape) -> None:
    once = units_of(shape)
    assert once.plus(once) == once.times(2)


def test_each_item_that_is_kept_is_billed_for_a_hundred_bytes_more() -> None:
    """An event's, and three results'."""
    assert kept_bytes(400, 3) == event_item_bytes(400) + 3 * (RESULT_ITEM_BYTES + RESULT_ROW_BYTES) + 400


def test_items_are_as_large_as_the_table_takes_them_to_be() -> None:
    """Measured on what the adapters write, for a key of ten characters."""
    caught: list[dict[str, Any]] = []

    class Caught:
        def put_many(self, items: list[dict[str, Any]]) -> None:
            caught.extend(items)

    table: Any = Caught()
    entry = LogEntry(PLACE, "shop.order.placed", "f" * 32, NOW_MS, b"x" * 400)
    EventLog(table, 7_776_000).write([("order-1001", entry)], NOW_MS)
    assert item_bytes(caught[0]) == pytest.approx(event_item_bytes(400), rel=0.1)
    (identity,) = DuplicateIndex(table, 604_800).items([Identified("order-1001", "h" * 64, PLACE)], NOW_MS)
    assert item_bytes(dict(identity)) == pytest.approx(IDENTITY_ITEM_BYTES, rel=0.1)
    cut = Slice(PLACE, PLACE, 1, "order-placed", NOW_MS, "f" * 32)
    run = Run(cut, 1, "order", RouteKind.EXPRESS, NOW_MS, NOW_MS, "n" * 48, "e" * 36, worker_timeout_s=3)
    state = KeyState("order-1001", 123, Phase.RUNNING, PLACE, PLACE, 10, 9, 10, run=run, pending_since_ms=NOW_MS)
    assert item_bytes(encode_state(state)) == pytest.approx(KEY_STATE_BYTES, rel=0.15)
    idle = KeyState("order-1001", 123, Phase.IDLE, PLACE, PLACE, 10, 10, 10)
    assert item_bytes(encode_state(idle)) == pytest.approx(IDLE_STATE_BYTES, rel=0.1)
    assert EVENT_ITEM_BYTES + 800 <= 1_024


def with_(shape: Shape, **changes: Any) -> Shape:
    """A shape with changes."""
    values = {field.name: getattr(shape, field.name) for field in fields(Shape)}
    return Shape(**values | changes)


def item_bytes(item: dict[str, Any]) -> int:
    """Size of an item as DynamoDB counts it; attributes without a value aren't written."""
    return sum(len(name) + _bytes(value) for name, value in item.items() if value is not None)


def _bytes(value: Any) -> int:
    match value:
        case dict():
            return 3 + sum(len(name) + 1 + _bytes(member) for name, member in value.items() if member is not None)
        case bytes():
            return len(value)
        case int():
            return (len(str(value)) + 1) // 2 + 1
        case _:
            return len(str(value))
