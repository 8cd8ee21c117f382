"""Reads the stream again, from a time on: it is the index of events by time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from keyturn.adapters.failures import translated

_RECORDS_A_CALL: Final = 10_000
"""GetRecords API reference, `Limit`."""
_FRUITLESS_CALLS_MAX: Final = 50
"""Empty answers in a row from one shard: gaps may give some, an emulator that never says that it is at its end more."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the stream is read: shards before this one are done, and this one up to a sequence number."""

    shard: str = ""
    sequence_number: str = ""

    def __str__(self) -> str:
        return f"{self.shard}/{self.sequence_number}"

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """Read what str() wrote; "" is the beginning."""
        shard, _, sequence_number = text.partition("/")
        return cls(shard, sequence_number)


@dataclass(frozen=True, slots=True)
class StreamReader:
    """Reads one stream, shard after shard; a shard is numbered after its parents, so parents come before children."""

    client_of: Callable[[str], Any]
    """Asked for Kinesis when it is really read: hardly any process does."""
    name: str

    def retention_ms(self) -> int:
        """How long the stream keeps records."""
        with translated("describing the stream"):
            summary = self.client_of("kinesis").describe_stream_summary(StreamName=self.name)
        return int(summary["StreamDescriptionSummary"]["RetentionPeriodHours"]) * 3_600_000

    def read(self, from_ms: int, until_ms: int, mark: Mark) -> Iterator[tuple[Sequence[Mapping[str, Any]], Mark]]:
        """Yield records that arrived from `from_ms` until `until_ms`, each call's with the mark to go on from behind.

        Records look as a Kinesis event source mapping of Lambda hands them over, with their data as bytes.
        """
        for shard in self._shards():
            if shard < mark.shard:
                continue
            behind = mark.sequence_number if shard == mark.shard else ""
            for records in self._read_shard(shard, from_ms, behind):
                arrived = [record for record in records if _arrived_ms(record) <= until_ms]
                if arrived:
                    yield [_as_wire(record, shard) for record in arrived], Mark(shard, arrived[-1]["SequenceNumber"])
                if len(arrived) < len(records):
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

    def _read_shard(self, shard: str, from_ms: int, behind: str) -> Iterator[Sequence[Mapping[str, Any]]]:
        client = self.client_of("kinesis")
        start: dict[str, Any] = {
            "ShardIteratorType": "AT_TIMESTAMP",
            "Timestamp": datetime.fromtimestamp(from_ms / 1000, UTC),
        }
        if behind:
            start = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": behind}
        with translated(f"reading shard {shard}"):
            iterator = client.get_shard_iterator(StreamName=self.name, ShardId=shard, **start)["ShardIterator"]
        fruitless = 0
        while iterator and fruitless < _FRUITLESS_CALLS_MAX:
            with translated(f"reading shard {shard}"):
                answer = client.get_records(ShardIterator=iterator, Limit=_RECORDS_A_CALL)
            if answer["Records"]:
                yield answer["Records"]
            if answer.get("MillisBehindLatest") == 0:
                return
            iterator = answer.get("NextShardIterator")
            fruitless = 0 if answer["Records"] else fruitless + 1


def _arrived_ms(record: Mapping[str, Any]) -> int:
    arrived: datetime = record["ApproximateArrivalTimestamp"]
    return round(arrived.timestamp() * 1000)


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
