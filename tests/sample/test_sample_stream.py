"""The sample stream is realistic, awkward on purpose, and says exactly what must come of it."""

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keyturn_cli.sample import EVENTS, KEYS, KEYS_MIN, Expected, Sample, SampleRecord, Trouble, sample_stream

from keyturn.adapters.records import read_records
from keyturn.adapters.schemas import load_routes
from keyturn.core.event import Admissible, Rejection
from keyturn.core.naming import KEY_CHARACTERS_MAX
from tests.adapters.wire import SEQUENCE, record

SAMPLE = sample_stream()


def read(sample: Sample) -> list[Admissible | Rejection]:
    wire = [record(sent.data, sent.key, str(int(SEQUENCE) + place)) for place, sent in enumerate(sample.records)]
    return read_records({"Records": wire}, load_routes(), epoch=1, accepts_aggregated=False)


def events_of(sample: Sample, key: str) -> list[dict[str, Any]]:
    """What the sample sends of a key, without what is sent again and what is no event."""
    skipped = {Expected.QUARANTINED, Expected.DUPLICATE}
    return [json.loads(each.data) for each in sample.records if each.key == key and each.expected not in skipped]


def order_keys(sample: Sample) -> set[str]:
    return {sent.key for sent in sample.records if sent.expected is not Expected.QUARANTINED}


def test_it_is_large_enough_to_show_something() -> None:
    """1,000 records over more than 100 keys of very unequal length, two thirds of them carrier scans."""
    assert len(SAMPLE.records) == EVENTS == SAMPLE.expectations.records >= 1_000
    assert SAMPLE.expectations.keys == KEYS >= 100
    lengths = sorted(Counter(sent.key for sent in SAMPLE.records).values())
    assert lengths[0] <= 3
    assert lengths[-1] >= 25
    scans = sum(b"shop.order.tracked" in sent.data for sent in SAMPLE.records)
    assert 0.5 * EVENTS < scans < 0.75 * EVENTS


def test_it_is_the_same_each_time() -> None:
    """The same seed gives the same bytes; another one other orders, which may go into the same stack."""
    assert sample_stream() == SAMPLE
    assert not order_keys(sample_stream(seed=2)) & order_keys(SAMPLE)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), keys=st.integers(KEYS_MIN, 200))
def test_each_record_is_what_it_is_said_to_be(seed: int, keys: int) -> None:
    """Good records are admitted by the deployment's own routes and schemas, bad ones rejected for the reason given."""
    sample = sample_stream(seed=seed, events=1_000, keys=keys)
    assert len(sample.records) == 1_000
    for sent, found in zip(sample.records, read(sample), strict=True):
        assert (found.reason if isinstance(found, Rejection) else None) == sent.reason
        assert len(sent.key) <= KEY_CHARACTERS_MAX


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_each_order_tells_its_life_in_order(seed: int) -> None:
    """`data.sequence` counts each order's events from 0, and their times rise with it."""
    sample = sample_stream(seed=seed)
    for key in order_keys(sample):
        events = events_of(sample, key)
        assert [event["data"]["sequence"] for event in events] == list(range(len(events)))
        assert all(earlier["time"] < later["time"] for earlier, later in pairwise(events))
        assert events[0]["type"] == "shop.order.placed"


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_what_is_sent_again_was_sent_before(seed: int) -> None:
    """A duplicate is the same bytes under the same key, behind the event that runs."""
    seen: set[tuple[str, bytes]] = set()
    for sent in sample_stream(seed=seed).records:
        if sent.expected is Expected.DUPLICATE:
            assert (sent.key, sent.data) in seen
        elif sent.expected is not Expected.QUARANTINED:
            assert (sent.key, sent.data) not in seen
            seen.add((sent.key, sent.data))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_only_what_stands_behind_a_failure_waits(seed: int) -> None:
    """Each key that ends parked has one event that fails for good; whatever comes later of that key waits."""
    sample = sample_stream(seed=seed)
    failing = {sent.key: place for place, sent in enumerate(sample.records) if sent.expected is Expected.PARKED}
    assert len(failing) == 2
    for place, sent in enumerate(sample.records):
        if sent.expected is Expected.WAITS_BEHIND:
            assert place > failing[sent.key]
        if sent.expected is Expected.RUN and sent.key in failing:
            assert place < failing[sent.key]


def test_the_expectations_sum_the_records_up() -> None:
    """Every record is in exactly one of the expectations' numbers."""
    expected = SAMPLE.expectations
    parked = len(expected.parked) + sum(expected.parked.values())
    assert expected.run + expected.duplicates + sum(expected.quarantined.values()) + parked == expected.records
    assert all(behind >= 1 for behind in expected.parked.values())


def test_every_trouble_is_there() -> None:
    """Each kind of misbehaviour that the sample workers know is asked for, by a worker of the event's workflow."""
    assert set(SAMPLE.expectations.troubles) == set(Trouble) - {Trouble.NONE}
    demos = [demo for sent in SAMPLE.records for demo in _demos(sent)]
    assert {wanted for _, wanted in demos} == {"fail_twice", "hang", "fail_for_good", "permanent"}
    assert {worker for worker, _ in demos} == {"inventory", "payment", "notification", "picking"}


def test_orders_without_room_are_refused() -> None:
    """The message says how many events it takes."""
    with pytest.raises(ValueError, match=f"{KEYS} orders need"):
        sample_stream(events=100)
    with pytest.raises(ValueError, match="at least"):
        sample_stream(keys=1)


def _demos(sent: SampleRecord) -> list[tuple[str, str]]:
    if sent.expected is Expected.QUARANTINED or sent.trouble is Trouble.SENT_AGAIN:
        return []
    return list(json.loads(sent.data)["data"].get("demo", {}).items())
