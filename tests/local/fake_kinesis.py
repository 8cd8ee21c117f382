"""A stream in memory that reshards as AWS does: parents stay, closed, and are read to an end.

Neither emulator can stand in here: moto puts a parent's records anew, MiniStack deletes the parent with its records.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any


class NotFound(Exception):  # named as the service's exceptions are looked up
    """No such shard."""


class Expired(Exception):
    """The iterator is too old."""


@dataclass
class FakeShard:
    """A shard: the keys it takes, its records, its parents."""

    keys: frozenset[str]
    parents: tuple[str, ...] = ()
    closed: bool = False
    records: list[dict[str, Any]] = field(default_factory=list)


class FakeKinesis:
    """As much of the Kinesis API as the event source uses."""

    exceptions = SimpleNamespace(ResourceNotFoundException=NotFound, ExpiredIteratorException=Expired)

    def __init__(self, *keys: str) -> None:
        self._sequence = itertools.count(49 * 10**54)
        self._lock = threading.Lock()
        self.shards = {"shardId-000000000000": FakeShard(frozenset(keys))}
        self.open_reads: dict[str, int] = {}

    def put(self, key: str) -> str:
        """Put a record into the open shard of its key; its sequence number."""
        with self._lock:
            number = str(next(self._sequence))
            (shard,) = (found for found in self.shards.values() if not found.closed and key in found.keys)
            arrived = datetime.now(UTC)
            shard.records.append(
                {"SequenceNumber": number, "PartitionKey": key, "Data": b"x", "ApproximateArrivalTimestamp": arrived}
            )
            return number

    def split(self, parent: str, *parts: str) -> None:
        """Close a shard; its keys go to one new shard for each string of one-letter keys."""
        with self._lock:
            self._split(parent, *parts)

    def supersede(self, parent: str, *parts: str) -> None:
        """Split as MiniStack does, which deletes the parent in the same moment: nobody sees it closed."""
        with self._lock:
            self._split(parent, *parts)
            del self.shards[parent]

    def merge(self, *parents: str) -> None:
        """Close shards; their keys go to one new shard."""
        with self._lock:
            for parent in parents:
                self.shards[parent].closed = True
            self._add(FakeShard(frozenset().union(*(self.shards[parent].keys for parent in parents)), parents))

    def _split(self, parent: str, *parts: str) -> None:
        self.shards[parent].closed = True
        for part in parts:
            self._add(FakeShard(frozenset(part), (parent,)))

    def _add(self, shard: FakeShard) -> None:
        self.shards[f"shardId-{len(self.shards):012d}"] = shard

    def describe_stream_summary(self, **_: object) -> dict[str, Any]:
        """Its age."""
        return {"StreamDescriptionSummary": {"StreamCreationTimestamp": datetime.now(UTC)}}

    def list_shards(self, **_: object) -> dict[str, Any]:
        """All shards, with their parents."""
        with self._lock:
            return {"Shards": [_listed(name, shard) for name, shard in self.shards.items()]}

    def get_shard_iterator(self, **request: Any) -> dict[str, str]:
        """An iterator is the shard and the lowest sequence number it may return."""
        with self._lock:
            self._shard(request["ShardId"])
        after = {"TRIM_HORIZON": 0, "AT_SEQUENCE_NUMBER": 0, "AFTER_SEQUENCE_NUMBER": 1}[request["ShardIteratorType"]]
        lowest = int(request.get("StartingSequenceNumber", 0)) + after
        return {"ShardIterator": f"{request['ShardId']}/{lowest}"}

    def get_records(self, **request: Any) -> dict[str, Any]:
        """A closed shard that was read to its end has no next iterator."""
        shard_id, lowest = request["ShardIterator"].split("/")
        with self._lock:
            shard = self._shard(shard_id)
            left = [found for found in shard.records if int(found["SequenceNumber"]) >= int(lowest)]
            records = left[: request["Limit"]]
            following = int(records[-1]["SequenceNumber"]) + 1 if records else int(lowest)
            answer: dict[str, Any] = {"Records": records, "MillisBehindLatest": 1 if len(left) > len(records) else 0}
            if not shard.closed or len(left) > len(records):
                answer["NextShardIterator"] = f"{shard_id}/{following}"
            return answer

    def _shard(self, shard_id: str) -> FakeShard:
        if shard_id not in self.shards:
            raise NotFound(shard_id)
        return self.shards[shard_id]


def _listed(name: str, shard: FakeShard) -> dict[str, Any]:
    numbers = {"StartingSequenceNumber": "0"} | ({"EndingSequenceNumber": "1"} if shard.closed else {})
    parents = dict(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False))
    return {"ShardId": name, "SequenceNumberRange": numbers} | parents
