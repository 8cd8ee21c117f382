"""Records of a key stay in order, whatever the stream refuses."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyturn_cli.errors import PutFailed
from keyturn_cli.putter import CALL_BYTES_MAX, CALL_RECORDS_MAX, FRUITLESS_CALLS_MAX, Put, Putter
from keyturn_cli.records import Record

from tests.cli.fakes import Stream


def _put(stream: Stream, records: list[Record]) -> list[Put]:
    putter = Putter(stream, "s", sleep=lambda _s: None)
    return [put for call in putter.put(records) for put in call]


def _records(keys: list[str]) -> list[Record]:
    return [Record(key, str(number).encode(), number) for number, key in enumerate(keys)]


@given(st.lists(st.sampled_from("abcde"), max_size=60), st.floats(0, 0.3), st.integers())
def test_each_key_keeps_its_order_whatever_is_refused(keys: list[str], refuses: float, seed: int) -> None:
    """Everything is put once, and each key's records in their order."""
    stream = Stream(refuses, random.Random(seed))  # noqa: S311  replayed, no secret
    records = _records(keys)
    puts = _put(stream, records)
    arrived: dict[str, list[int]] = defaultdict(list)
    for key, data in stream.taken:
        arrived[key].append(int(data))
    assert sorted(number for numbers in arrived.values() for number in numbers) == list(range(len(keys)))
    assert all(numbers == sorted(numbers) for numbers in arrived.values())
    assert [put.record.line for put in puts] == [int(data) for _, data in stream.taken]


def test_no_call_carries_a_key_twice_or_too_many_records() -> None:
    """500 records of as many keys go together; the rest with the next call."""
    stream = Stream()
    _put(stream, _records([f"k{number}" for number in range(CALL_RECORDS_MAX + 1)] * 2))
    assert stream.calls == [500, 500, 2]


def test_no_call_is_too_large() -> None:
    """Five megabytes a call, partition keys included."""
    stream = Stream()
    _put(stream, [Record(f"k{number}", bytes(CALL_BYTES_MAX // 4)) for number in range(8)])
    assert stream.calls == [3, 3, 2]


def test_a_stream_that_takes_nothing_ends_in_one_line() -> None:
    """After a number of calls, with the stream's own words."""
    stream = Stream(refuses=1.0)
    with pytest.raises(PutFailed, match="took nothing for 12 calls in a row: ProvisionedThroughputExceeded"):
        _put(stream, _records(["a"]))
    assert len(stream.calls) == FRUITLESS_CALLS_MAX


def test_waits_grow_and_stay_bounded() -> None:
    """A stream that refuses is asked less and less often."""
    waits: list[float] = []
    putter = Putter(Stream(refuses=1.0), "s", sleep=waits.append)
    with pytest.raises(PutFailed):
        list(putter.put(_records(["a"])))
    assert waits[0] < 0.5
    assert max(waits) <= 5.0
    assert sum(waits) > 10


def test_order_lost_by_the_stream_is_noticed() -> None:
    """Sequence numbers are what the order is made of: one that falls within a key ends the put."""

    class Falling(Stream):
        def _take(self, record: object) -> dict[str, str]:
            taken = super()._take(record)  # type: ignore[arg-type]  # passed on
            return taken | {"SequenceNumber": str(100 - int(taken["SequenceNumber"]))}

    with pytest.raises(PutFailed, match="lower sequence number"):
        _put(Falling(), _records(["a", "a"]))
