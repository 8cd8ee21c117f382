"""Kinesis and its event source mapping: shards that split and merge, batches, redelivery, records set aside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final
from zlib import crc32

from keyturn.core.positions import position
from tests.adapters.wire import record as on_wire
from tests.simulator.hub import Hub
from tests.simulator.lambdas import Answer, Lambdas

_RETRY_MS: Final = 400
_HASHES: Final = 1 << 32


@dataclass(slots=True)
class Record:
    """A record of the stream."""

    number: int
    key: str
    data: bytes
    at_ms: int

    @property
    def place(self) -> tuple[str, str]:
        """Key and position."""
        return self.key, position(1, str(self.number))

    def on_wire(self) -> dict[str, Any]:
        """Write it as Lambda gets it."""
        wire = on_wire(self.data, self.key, str(self.number))
        wire["kinesis"]["approximateArrivalTimestamp"] = self.at_ms / 1_000
        return wire


@dataclass(slots=True, eq=False)
class Lane:
    """What one poller reads: a part of a shard, in order."""

    low: int
    high: int
    """The hashes of its keys: from `low` to before `high`."""
    before: list[Lane] = field(default_factory=list)
    """Its parents: it is read once they are through."""
    records: list[Record] = field(default_factory=list)
    """Those that are yet to be taken."""
    kept: list[Record] = field(default_factory=list)
    """All of them."""
    is_closed: bool = False
    is_polling: bool = False
    has_failed: bool = False
    """Whether the batch at its head was left undone before."""

    @property
    def is_through(self) -> bool:
        """Whether it is closed, and everything of it was taken."""
        return self.is_closed and not self.records and not self.is_polling


@dataclass
class Stream:
    """One stream with its mapping. Methods in lower case take and return what boto3's do."""

    hub: Hub
    lambdas: Lambdas
    batch: int
    lanes_a_shard: int
    on_acknowledged: Callable[[Record], None]
    tell: Callable[[str], None]
    lanes: list[Lane] = field(default_factory=list)
    kept: list[Record] = field(default_factory=list)
    """All records: the stream keeps them for whoever reads it again."""
    aside: int = 0
    """Records that were set aside and not redriven yet."""
    twice: int = 0
    """Batches that will be delivered again though they were taken."""
    overlapping: int = 0
    """Batches whose delivery will be repeated while it is at work."""
    is_redriving: bool = False
    """Whether a record that was set aside is being taken in: nothing else is meanwhile."""
    to_set_aside: int = 0
    deliveries: int = 0
    """Batches that dispatchers are at work on."""
    has_set_aside: bool = False

    def open(self, shards: int) -> None:
        """Have so many shards."""
        self.lanes = [lane for low, high in _parts(0, _HASHES, shards) for lane in self._lanes(low, high, [])]

    def put(self, key: str, data: bytes) -> Record:
        """Take a record in."""
        record = Record(len(self.kept) + 1, key, data, self.hub.now_ms)
        self.kept.append(record)
        lane = next(one for one in self.lanes if not one.is_closed and one.low <= crc32(key.encode()) < one.high)
        lane.records.append(record)
        lane.kept.append(record)
        self.hub.after(self.hub.chance.randrange(5, 300), lambda: self._poll(lane))
        return record

    def reshard(self) -> None:
        """Split or merge: the shards are closed, and their children are read once they are through."""
        old = [lane for lane in self.lanes if not lane.is_closed]
        for lane in old:
            lane.is_closed = True
        shards = self.hub.chance.choice((1, 2, 3))
        self.lanes += [
            child
            for low, high in _parts(0, _HASHES, shards)
            for child in self._lanes(low, high, [lane for lane in old if lane.low < high and low < lane.high])
        ]
        for lane in self.lanes:
            self.hub.after(100, lambda lane=lane: self._poll(lane))  # type: ignore[misc]

    def read_from_the_start(self) -> None:
        """Read everything again, as a mapping does that is made anew."""
        for lane in self.lanes:
            lane.records = list(lane.kept)
            self.hub.after(self.hub.chance.randrange(5, 300), lambda lane=lane: self._poll(lane))  # type: ignore[misc]

    @property
    def is_drained(self) -> bool:
        """Whether everything was taken."""
        return not self.aside and all(not lane.records and not lane.is_polling for lane in self.lanes)

    def _lanes(self, low: int, high: int, before: list[Lane]) -> list[Lane]:
        return [Lane(part, end, before) for part, end in _parts(low, high, self.lanes_a_shard)]

    # The mapping

    def _poll(self, lane: Lane) -> None:
        if lane.is_polling or not lane.records or not all(parent.is_through for parent in lane.before):
            return
        if self.is_redriving:
            self.hub.after(_RETRY_MS, lambda: self._poll(lane))
            return
        lane.is_polling = True
        batch = lane.records[: self.batch]
        is_alone = self.deliveries == 0  # the mapping gives a record up when no dispatcher can be writing it any more
        if self.to_set_aside and is_alone and (lane.has_failed or self.hub.chance.random() < 0.3):
            self._set_aside(lane, batch)
            if not batch:
                self._go_on(lane, undone=False)
                return
        if self.overlapping:
            self.overlapping -= 1
            self.tell(f"records {_numbers(batch)} are delivered again while they are worked on")
            self.hub.after(20, lambda: self._deliver(batch, lambda _undone: None))
        self._deliver(batch, lambda undone: self._taken(lane, batch, undone))

    def _deliver(self, batch: list[Record], then: Callable[[int], object]) -> None:
        """Invoke the dispatcher; tell which of the records it left undone first (its number; 0 when none)."""
        event = {"Records": [record.on_wire() for record in batch]}

        def hear(answer: Answer) -> None:
            self.deliveries -= 1
            if answer.error:
                then(batch[0].number)
                return
            failures = answer.value["batchItemFailures"]
            then(int(failures[0]["itemIdentifier"]) if failures else 0)

        self.deliveries += 1
        self.lambdas.invoke("dispatcher", event, hear)

    def _taken(self, lane: Lane, batch: list[Record], undone: int) -> None:
        if self.twice:
            self.twice -= 1
            self.tell(f"records {_numbers(batch)} are delivered once more")
            undone = batch[0].number
        for record in batch:
            if undone and record.number >= undone:
                break
            lane.records.remove(record)
            self.on_acknowledged(record)
        self._go_on(lane, undone=bool(undone))

    def _go_on(self, lane: Lane, *, undone: bool) -> None:
        """Poll what may be read now: the lane itself, or its children once it is through."""
        lane.is_polling, lane.has_failed = False, undone
        delay_ms = self.hub.chance.randrange(_RETRY_MS) if undone else 0
        for other in self.lanes:
            if other is lane or (lane.is_through and lane in other.before):
                self.hub.after(delay_ms, lambda other=other: self._poll(other))  # type: ignore[misc]

    def _set_aside(self, lane: Lane, batch: list[Record]) -> None:
        """Have a record not delivered with its batch, as when the mapping gives it up; it is redriven later."""
        self.to_set_aside -= 1
        self.has_set_aside = True
        record = batch.pop(self.hub.chance.randrange(len(batch)))
        lane.records.remove(record)
        self.aside += 1
        self.tell(f"record {record.number} is set aside")
        self.hub.after(self.hub.chance.randrange(1_000, 30_000), lambda: self._redrive(record))

    def _redrive(self, record: Record) -> None:
        """Deliver a record at its old place, by itself: two dispatchers never take in different records of a key."""
        if self.deliveries:
            self.hub.after(_RETRY_MS, lambda: self._redrive(record))
            return

        def hear(undone: int) -> None:
            self.is_redriving = False
            if undone:
                self.hub.after(_RETRY_MS, lambda: self._redrive(record))
                return
            self.aside -= 1
            self.on_acknowledged(record)

        self.is_redriving = True
        self._deliver([record], hear)

    # Reading the stream again

    def put_record(self, **call: Any) -> Any:
        """Take a record, behind all others."""
        record = self.put(call["PartitionKey"], call["Data"])
        return {"SequenceNumber": str(record.number), "ShardId": "shardId-000000000000"}

    def describe_stream_summary(self, **_call: Any) -> Any:
        """Tell how long records are kept, of a stream that was always there."""
        created = datetime.fromtimestamp(0, UTC)
        return {"StreamDescriptionSummary": {"RetentionPeriodHours": 24, "StreamCreationTimestamp": created}}

    def list_shards(self, **_call: Any) -> Any:
        """Show one shard: for whoever reads again, where the records lay makes no difference here."""
        return {"Shards": [{"ShardId": "shardId-000000000000"}]}

    def get_shard_iterator(self, **call: Any) -> Any:
        """Begin at a time, or behind a record."""
        if call["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER":
            return {"ShardIterator": call["StartingSequenceNumber"]}
        from_ms = call["Timestamp"].timestamp() * 1_000
        return {"ShardIterator": str(sum(record.at_ms < from_ms for record in self.kept))}

    def get_records(self, **call: Any) -> Any:
        """Give two records at a time."""
        start = int(call["ShardIterator"])
        found = self.kept[start : start + 2]
        records = [
            {
                "SequenceNumber": str(one.number),
                "PartitionKey": one.key,
                "Data": one.data,
                "ApproximateArrivalTimestamp": datetime.fromtimestamp(one.at_ms / 1_000, UTC),
            }
            for one in found
        ]
        behind = len(self.kept) - start - len(found)
        return {"Records": records, "NextShardIterator": str(start + len(found)), "MillisBehindLatest": behind}


def _parts(low: int, high: int, count: int) -> list[tuple[int, int]]:
    cuts = [low + (high - low) * number // count for number in range(count + 1)]
    return list(pairwise(cuts))


def _numbers(batch: list[Record]) -> str:
    return ", ".join(str(record.number) for record in batch)
