"""The workload that every contender gets."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.workload import BESIDE, CURVE_KEYS, EVENT_BYTES, WORKLOADS, Workload, curve, events


@given(count=st.integers(1, 300), keys=st.integers(1, 40))
def test_a_workload_deals_its_events_out_evenly_in_each_keys_order(count: int, keys: int) -> None:
    """Every key gets as many events as any other, one at most more, numbered from 0 in the order they are put."""
    made = events(Workload("any", count, keys), run="r", event_type="bench.strict")
    counts = Counter(event.key for event in made)
    assert sum(counts.values()) == count
    assert max(counts.values()) - min(counts.values()) <= (1 if len(counts) == keys else 0) or count < keys
    for key, number in counts.items():
        assert [event.number for event in made if event.key == key] == list(range(number))


def test_the_same_seed_makes_the_same_bytes() -> None:
    """Two contenders get the same order of keys; another run has other keys, another seed another order."""
    workload = Workload("any", 60, 7)
    first = events(workload, run="r1", event_type="bench.strict")
    assert first == events(workload, run="r1", event_type="bench.strict")
    other_run = events(workload, run="r2", event_type="bench.strict")
    assert [one.key[2:] for one in first] == [one.key[2:] for one in other_run]
    assert not {one.key for one in first} & {one.key for one in other_run}
    assert first != events(workload, run="r1", event_type="bench.strict", seed=2)


@pytest.mark.parametrize("workload", [*WORKLOADS, BESIDE])
def test_an_event_is_a_cloud_event_of_the_stated_size(workload: Workload) -> None:
    """Its identity is unique, and its subject the key."""
    made = events(workload.scaled(0.01), run="run12", event_type="bench.batched")
    assert {len(event.data) for event in made} == {EVENT_BYTES}
    assert len({event.id for event in made}) == len(made)
    read = json.loads(made[-1].data)
    assert (read["specversion"], read["type"], read["subject"]) == ("1.0", "bench.batched", made[-1].key)
    assert read["data"]["sequence"] == made[-1].number


def test_a_scaled_workload_keeps_its_shape() -> None:
    """Fewer events on as many keys, but where there are few events to a key: then fewer keys."""
    assert [(one.scaled(0.1).events, one.scaled(0.1).keys) for one in WORKLOADS] == [(200, 50), (30, 1), (1_000, 100)]
    assert Workload("any", 10, 1).scaled(0.001).events == 1


def test_the_curve_has_a_point_for_each_number_of_keys() -> None:
    """With an event for each key at least, and no more than it may have."""
    points = curve(1_000)
    assert [point.keys for point in points] == list(CURVE_KEYS)
    assert all(point.keys <= point.events <= 1_000 for point in points)


def test_a_busy_keys_backlog_comes_before_the_others_events() -> None:
    """Those are the same as without it, in the same order, so that their waits may be compared."""
    made = events(BESIDE, run="r", event_type="bench.strict")
    busy, quiet = made[: BESIDE.busy_events], made[BESIDE.busy_events :]
    assert all(event.is_busy for event in busy)
    assert [event.number for event in busy] == list(range(BESIDE.busy_events))
    assert len({event.key for event in busy}) == 1
    alone = BESIDE.without_busy_key()
    assert quiet == events(alone, run="r", event_type="bench.strict")
    assert (BESIDE.all_events, alone.all_events) == (400, 200)


def test_a_scaled_busy_key_stays_busy() -> None:
    """With its share of the events, one at least."""
    assert [BESIDE.scaled(scale).busy_events for scale in (0.001, 0.05, 1.0)] == [1, 10, 200]
