"""The bench puts what it says, in order, and takes a refused record for an end."""

from __future__ import annotations

from typing import Any

import pytest

from bench.errors import Refused
from bench.on_engine import put_all
from bench.workload import Workload, events

EVENTS = events(Workload("spread", 1_001, 7), run="run", event_type="bench.order")


class Stream:
    """Kinesis as far as a bench needs it."""

    def __init__(self, refused: int = 0) -> None:
        self.refused = refused
        self.calls: list[list[dict[str, Any]]] = []

    def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, int]:  # noqa: N803
        """Take a call's records, or refuse some."""
        assert StreamName == "events"
        self.calls.append(Records)
        return {"FailedRecordCount": self.refused}


def test_all_events_are_put_in_order_as_many_a_call_as_it_takes() -> None:
    stream = Stream()
    put_at_ms = put_all(stream, "events", EVENTS)
    assert [len(call) for call in stream.calls] == [500, 500, 1]
    assert [(one["PartitionKey"], one["Data"]) for call in stream.calls for one in call] == [
        (event.key, event.data) for event in EVENTS
    ]
    assert put_at_ms.keys() == {event.id for event in EVENTS}


def test_a_refused_record_ends_the_bench() -> None:
    """What comes behind it in the call may be of its key, and is in the stream already."""
    with pytest.raises(Refused, match="stream events refused 2 records of 500"):
        put_all(Stream(refused=2), "events", EVENTS)
