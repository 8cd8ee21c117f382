"""Resharding: no record of a key overtakes an earlier one, whatever shards it went through."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, cast

import pytest
from keyturn_local.poller import shard as shard_module
from keyturn_local.poller.aws import Clients
from keyturn_local.poller.source import EventSource

from tests.local.fake_function import FakeFunction
from tests.local.fake_kinesis import FakeKinesis
from tests.local.kit import LIMIT_S, mapping, until, until_settled

KEYS = "abcdef"


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> FakeKinesis:
    """A stream of one shard, polled in quick succession."""
    monkeypatch.setattr(shard_module, "POLL_FIRST_S", 0.005)
    monkeypatch.setattr(shard_module, "POLL_MAX_S", 0.01)
    monkeypatch.setattr(shard_module, "ERROR_PAUSE_S", 0.01)
    monkeypatch.setattr("keyturn_local.poller.source.LIST_EVERY_S", 0.02)
    return FakeKinesis(*KEYS)


@pytest.fixture
def function() -> FakeFunction:
    """A function that takes everything."""
    return FakeFunction()


@pytest.fixture
def source(stream: FakeKinesis, function: FakeFunction) -> Iterator[EventSource]:
    """An event source of two lanes a shard, not started yet."""
    nothing = cast("Any", None)
    clients = Clients(kinesis=cast("Any", stream), invoker=cast("Any", function), s3=nothing, sqs=nothing, sns=nothing)
    found = EventSource(mapping=mapping(batch_size=3, parallelization_factor=2), clients=clients)
    yield found
    found.stop()


def put_all(stream: FakeKinesis, put: dict[str, list[str]], times: int) -> None:
    """Some records of every key."""
    for _ in range(times):
        for key in KEYS:
            put[key].append(stream.put(key))


def test_order_holds_over_splits_and_merges(stream: FakeKinesis, function: FakeFunction, source: EventSource) -> None:
    """Records are put before, between and after the reshards, while the event source reads and batches fail in part."""
    seen: set[str] = set()

    def fail_the_last_once(records: list[dict[str, Any]]) -> object:
        number = records[-1]["sequenceNumber"]
        with function.lock:
            again = number in seen
            seen.add(number)
        return None if again else {"batchItemFailures": [{"itemIdentifier": number}]}

    function.answer = fail_the_last_once
    put: dict[str, list[str]] = defaultdict(list)
    put_all(stream, put, 5)
    stream.split("shardId-000000000000", "ab", "cdef")
    put_all(stream, put, 5)
    source.start()
    stream.split("shardId-000000000002", "cd", "ef")
    put_all(stream, put, 5)
    stream.merge("shardId-000000000001", "shardId-000000000003")
    put_all(stream, put, 5)
    until_settled(put, [source])
    assert function.taken == put
    assert source.begun == set(stream.shards)


def test_children_wait_for_a_batch_of_their_parent(
    stream: FakeKinesis, function: FakeFunction, source: EventSource
) -> None:
    """Drained isn't finished: as long as one of the parent's batches is at the function, no child begins."""
    release = threading.Event()

    def hold(_records: list[dict[str, Any]]) -> object:
        release.wait(LIMIT_S)
        return None

    function.answer = hold
    put: dict[str, list[str]] = defaultdict(list)
    put_all(stream, put, 1)
    stream.split("shardId-000000000000", "abc", "def")
    put_all(stream, put, 1)
    source.start()
    until(lambda: source.status().fetched == len(KEYS))
    assert source.begun == {"shardId-000000000000"}
    release.set()
    until_settled(put, [source])
    assert function.taken == put


def test_a_shard_that_vanishes_is_finished_with_what_was_read(
    stream: FakeKinesis, function: FakeFunction, source: EventSource
) -> None:
    """So does an emulator at a reshard. Its children begin once the records in hand are taken, and not before."""
    release = threading.Event()

    def hold(_records: list[dict[str, Any]]) -> object:
        release.wait(LIMIT_S)
        return None

    function.answer = hold
    put: dict[str, list[str]] = defaultdict(list)
    put_all(stream, put, 1)
    source.start()
    until(lambda: source.status().fetched == len(KEYS))
    stream.supersede("shardId-000000000000", "abc", "def")
    put_all(stream, put, 1)
    until(lambda: "left the stream" in source.status().last_problem)
    assert source.begun == {"shardId-000000000000"}
    release.set()
    until_settled(put, [source])
    assert function.taken == put
