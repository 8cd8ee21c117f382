"""Reads the records of a Kinesis batch: each becomes an event that may be admitted, or a rejection with its reason."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from keyturn.adapters.schemas import first_problem, validator
from keyturn.core.event import Admissible, Reason, Rejection, flow_id_of, identity_hash
from keyturn.core.parse import Unparseable, parse_json
from keyturn.core.positions import Position, position
from keyturn.core.route import Routes

_AGGREGATE_MAGIC: Final = b"\xf3\x89\x9a\xc2"
"""How a record packed by the Kinesis Producer Library begins (aggregation-format.md of amazon-kinesis-producer)."""


@dataclass(frozen=True, slots=True)
class _Record:
    """One record, or one inner record of an aggregate."""

    shard: str
    key: str
    position: Position
    arrived_at_ms: int
    raw: bytes

    def reject(self, reason: Reason, detail: str) -> Rejection:
        return Rejection(self.shard, self.position, self.key, reason, detail, self.raw, self.arrived_at_ms)


def read_records(
    batch: Mapping[str, Any], routes: Routes, *, epoch: int, accepts_aggregated: bool
) -> list[Admissible | Rejection]:
    """Read a Kinesis event of Lambda, in stream order. Never raises for what a producer can put into a record."""
    return [
        _read(record, routes) if not isinstance(record, Rejection) else record
        for wire in batch["Records"]
        for record in _unpack(wire, epoch, accepts_aggregated=accepts_aggregated)
    ]


def _unpack(wire: Mapping[str, Any], epoch: int, *, accepts_aggregated: bool) -> Iterator[_Record | Rejection]:
    kinesis = wire["kinesis"]
    shard = str(wire["eventID"]).partition(":")[0]
    place = position(epoch, kinesis["sequenceNumber"])
    arrived_at_ms = int(float(kinesis["approximateArrivalTimestamp"]) * 1000)
    try:
        raw = base64.b64decode(kinesis["data"], validate=True)
    except (binascii.Error, ValueError):
        raw = str(kinesis["data"]).encode("utf-8", "backslashreplace")
    record = _Record(shard, kinesis["partitionKey"], place, arrived_at_ms, raw)
    if not raw.startswith(_AGGREGATE_MAGIC):
        yield record
    elif accepts_aggregated:
        yield from _disaggregate(wire, record, epoch)
    else:
        yield record.reject(Reason.AGGREGATED, "a KPL aggregate: its key is not its records'; see AggregatedRecords")


def _disaggregate(wire: Mapping[str, Any], container: _Record, epoch: int) -> Iterator[_Record | Rejection]:
    from aws_kinesis_agg.deaggregator import deaggregate_records  # noqa: PLC0415 - protobuf is slow to load, and rare

    try:
        inner = deaggregate_records([dict(wire)])
    except Exception as error:  # noqa: BLE001 - the library raises whatever its parser meets
        yield container.reject(Reason.AGGREGATED, f"an aggregate that can't be taken apart ({type(error).__name__})")
        return
    for sub_sequence, record in enumerate(inner):
        kinesis = record["kinesis"]
        if not kinesis.get("aggregated"):
            yield container.reject(Reason.AGGREGATED, "an aggregate whose checksum is wrong")
            return
        yield _Record(
            container.shard,
            kinesis["partitionKey"],
            position(epoch, kinesis["sequenceNumber"], sub_sequence),
            container.arrived_at_ms,
            base64.b64decode(kinesis["data"]),
        )


def _read(record: _Record, routes: Routes) -> Admissible | Rejection:
    try:
        event = parse_json(record.raw)
    except Unparseable as error:
        return record.reject(error.reason, error.detail)
    problem = first_problem(validator("cloudevent.schema.json"), event)
    if problem:
        return record.reject(Reason.ENVELOPE, problem)
    route = routes.for_type(event["type"])
    if route is None:
        return record.reject(Reason.UNKNOWN_TYPE, "$.type: no route takes this type")
    if route.schema is not None:
        problem = first_problem(validator(f"schemas/{route.schema}"), event.get("data"), "$.data")
        if problem:
            return record.reject(Reason.DATA, problem)
    return Admissible(
        shard=record.shard,
        key=record.key,
        position=record.position,
        arrived_at_ms=record.arrived_at_ms,
        raw=record.raw,
        type=event["type"],
        route=route.name,
        identity=identity_hash(event["source"], event["id"]),
        flow_id=flow_id_of(event),
    )
