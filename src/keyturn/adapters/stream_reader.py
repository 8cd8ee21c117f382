"""Reads the stream again, from a time on: it is the index of events by time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from keyturn.adapters.failures import translated
from keyturn.adapters.process import THIS, Process

_RECORDS_A_CALL: Final = 10_000
"""GetRecords API reference, `Limit`."""
_NO_NEARER_CALLS_MAX: Final = 50
"""Empty answers in a row that come no nearer to the shard's end. AWS comes nearer with each, since a stretch in which
nothing arrived takes many calls (GetRecords API reference); an emulator may never say that it is at its end."""
_REST_S: Final = 0.25
"""Behind an empty answer: a shard takes five calls a second, some of them the dispatcher's (service quotas)."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the stream is read: shards before this one are done, and this one up to a record, or up to a time."""

    shard: str = ""
    sequence_number: str = ""
    """Of the last record; empty where nothing arrived for long since."""
    at_ms: int = 0
    """When that arrived, or up to when the shard is read; 0 where it isn't known."""

    def __str__(self) -> str:
        return f"{self.shard}/{self.sequence_number}@{self.at_ms}"

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """Read what str() wrote; "" is the beginning."""
        shard, _, place = text.partition("/")
        sequence_number, _, at_ms = place.partition("@")
        return cls(shard, sequence_number, int(at_ms or 0))


@dataclass(frozen=True, slots=True)
class _Page:
    """What one call found, and where the next one begins."""

    records: Sequence[Mapping[str, Any]]
    reached: Mark


@dataclass(frozen=True, slots=True)
class StreamReader:
    """Reads one stream, shard after shard; a shard is numbered after its parents, so parents come before children."""

    client_of: Callable[[str], Any]
    """Asked for Kinesis when it is really read: hardly any process does."""
    name: str
    process: Process = THIS

    def keeps_since_ms(self, *, is_first: bool) -> int:
        """Since when the stream has all records, in epoch milliseconds.

        One that isn't the stack's first has none of before it was there. A retention that was raised less than its
        length ago isn't told apart: what had expired by then stays gone.
        """
        with translated("describing the stream"):
            answer = self.client_of("kinesis").describe_stream_summary(StreamName=self.name)
        summary = answer["StreamDescriptionSummary"]
        created: datetime = summary["StreamCreationTimestamp"]
        expired_ms = self.process.clock() - int(summary["RetentionPeriodHours"]) * 3_600_000
        return expired_ms if is_first else max(expired_ms, round(created.timestamp() * 1000))

    def read(self, from_ms: int, until_ms: int, mark: Mark) -> Iterator[tuple[Sequence[Mapping[str, Any]], Mark]]:
        """Yield records that arrived from `from_ms` until `until_ms`, each call's with the mark to go on from behind.

        Records look as a Kinesis event source mapping of Lambda hands them over, with their data as bytes. A call may
        find none; who goes on from behind one may be given a record again.
        """
        for shard in self._shards():
            if shard < mark.shard:
                continue
            for page in self._read_shard(mark if shard == mark.shard else Mark(shard), from_ms):
                arrived = [record for record in page.records if _arrived_ms(record) <= until_ms]
                if len(arrived) < len(page.records):
                    if arrived:
                        yield _as_wires(arrived, shard), _behind(shard, arrived)
                    break
                yield _as_wires(arrived, shard), page.reached
                if page.reached.at_ms > until_ms:
                    break

    def _shards(self) -> list[str]:
        shards: list[str] = []
        call: dict[str, Any] = {"StreamName": self.name}
        while True:
            with translated("listing the stream's shards"):
                answer = self.client_of("kinesis").list_shards(**call)
            shards += [shard["ShardId"] for shard in answer["Shards"]]
            if not answer.get("NextToken"):
                return sorted(shards)
            call = {"NextToken": answer["NextToken"]}

    def _read_shard(self, mark: Mark, from_ms: int) -> Iterator[_Page]:
        """Yield what each call finds in a shard behind a mark, to the shard's end.

        How far an empty answer brings the mark is told from by how much it is nearer to the shard's end than the one
        before: so it needs no clock, and is never too far.
        """
        client = self.client_of("kinesis")
        with translated(f"reading shard {mark.shard}"):
            answer = client.get_shard_iterator(StreamName=self.name, ShardId=mark.shard, **_start(mark, from_ms))
        iterator: str | None = answer["ShardIterator"]
        reached = mark if mark.sequence_number else replace(mark, at_ms=max(from_ms, mark.at_ms))
        behind_ms, no_nearer = -1, 0
        while iterator and no_nearer < _NO_NEARER_CALLS_MAX:
            with translated(f"reading shard {mark.shard}"):
                answer = client.get_records(ShardIterator=iterator, Limit=_RECORDS_A_CALL)
            records, left_ms = answer["Records"], answer.get("MillisBehindLatest", -1)
            nearer_ms = max(0, behind_ms - left_ms) if left_ms >= 0 else 0
            if records:
                reached = _behind(mark.shard, records)
            elif nearer_ms and reached.at_ms:
                reached = Mark(mark.shard, at_ms=reached.at_ms + nearer_ms)
            if records or nearer_ms:
                yield _Page(records, reached)
            if left_ms == 0:
                return
            behind_ms, no_nearer = left_ms, 0 if records or nearer_ms else no_nearer + 1
            if not records:
                self.process.sleep(_REST_S)
            iterator = answer.get("NextShardIterator")


def _start(mark: Mark, from_ms: int) -> Mapping[str, Any]:
    """Say where in its shard a mark is."""
    if mark.sequence_number:
        return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": mark.sequence_number}
    at_ms = max(from_ms, mark.at_ms)
    return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": datetime.fromtimestamp(at_ms / 1000, UTC)}


def _arrived_ms(record: Mapping[str, Any]) -> int:
    arrived: datetime = record["ApproximateArrivalTimestamp"]
    return round(arrived.timestamp() * 1000)


def _behind(shard: str, records: Sequence[Mapping[str, Any]]) -> Mark:
    """Return the mark behind the last of some records."""
    return Mark(shard, records[-1]["SequenceNumber"], _arrived_ms(records[-1]))


def _as_wires(records: Sequence[Mapping[str, Any]], shard: str) -> list[Mapping[str, Any]]:
    return [_as_wire(record, shard) for record in records]


def _as_wire(record: Mapping[str, Any], shard: str) -> Mapping[str, Any]:
    return {
        "eventID": f"{shard}:{record['SequenceNumber']}",
        "kinesis": {
            "partitionKey": record["PartitionKey"],
            "sequenceNumber": record["SequenceNumber"],
            "data": record["Data"],
            "approximateArrivalTimestamp": _arrived_ms(record) / 1000,
        },
    }
