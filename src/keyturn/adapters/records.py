"""Reads the records of a Kinesis batch: each becomes an event that may be admitted, or a rejection with its reason."""

import base64
import binascii
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from keyturn.adapters.aggregates import MAGIC, NotAnAggregate, take_apart
from keyturn.adapters.schemas import ENVELOPE, first_problem, schema_name, validator
from keyturn.adapters.usage import usage
from keyturn.core.event import Admissible, Reason, Rejection, flow_id_of, identity_hash
from keyturn.core.naming import KEY_CHARACTERS_MAX, as_unicode, key_problem
from keyturn.core.parse import Unparseable, parse_json
from keyturn.core.plain import CannotMap, envelope
from keyturn.core.positions import Position, position
from keyturn.core.route import Route, Routes
from keyturn.errors import KeyturnError

_YEAR_10000_S: Final = 253_402_300_800


class NotAKinesisBatch(KeyturnError):
    """What a function was invoked with is no batch of a Kinesis event source mapping."""


class _Unfit(Exception):
    """A record is JSON, but no event; caught below."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class _Record:
    """One record, or one inner record of an aggregate."""

    shard: str
    key: str
    position: Position
    arrived_at_ms: int
    raw: bytes

    def reject(self, reason: Reason, detail: str) -> Rejection:
        return Rejection(self.shard, self.position, _writable(self.key), reason, detail, self.raw, self.arrived_at_ms)


def read_records(
    batch: Mapping[str, Any], routes: Routes, *, epoch: int, accepts_aggregated: bool
) -> list[Admissible | Rejection]:
    """Read a Kinesis event of Lambda, in stream order.

    Nothing that a producer can put into a record raises. Raises NotAKinesisBatch when it wasn't Kinesis that called.
    """
    records = batch.get("Records") if isinstance(batch, Mapping) else None
    if not isinstance(records, list):
        raise NotAKinesisBatch("the dispatcher's input has no Records: invoke it with a batch, as in events/dispatcher")
    return [
        found if isinstance(found, Rejection) else _read(found, routes)
        for place, wire in enumerate(records)
        for found in _unpack(wire, place, epoch, accepts_aggregated=accepts_aggregated)
    ]


def count_records(batch: Mapping[str, Any]) -> None:
    """Count what the stream billed for a batch that `read_records` could read.

    Source: Kinesis Data Streams pricing: an on-demand stream bills a record's kilobytes, each begun one whole, when it
    comes in, and its bytes when it is read; a provisioned one PUT payload units of 25 KB.
    """
    if not usage().is_on:
        return
    sizes = [_bytes_in(record["kinesis"]["data"]) for record in batch["Records"]]
    usage().add("counted Records", len(sizes))
    usage().add("counted RecordBytes", sum(sizes))
    usage().add("counted RecordKilobytes", sum(math.ceil(size / 1_024) for size in sizes))
    usage().add("counted PutUnits", sum(math.ceil(size / 25_600) for size in sizes))


def _bytes_in(data: str) -> int:
    """How many bytes base64 stands for: a record of just 1,024 would else be billed as two kilobytes."""
    return 3 * len(data) // 4 - data[-2:].count("=")


def rejection_of(key: str, raw: bytes, routes: Routes, *, accepts_aggregated: bool) -> Rejection | None:
    """Tell what would be wrong with a record if it were put into the stream now; None when it would be an event."""
    record = {"partitionKey": key, "sequenceNumber": "0", "data": base64.b64encode(raw).decode()}
    batch = {"Records": [{"kinesis": record}]}
    found = read_records(batch, routes, epoch=0, accepts_aggregated=accepts_aggregated)
    return next((one for one in found if isinstance(one, Rejection)), None)


def places_in(records: Iterable[Mapping[str, Any]], *, epoch: int) -> Iterator[tuple[str, Position]]:
    """Yield (key, position) of records that are read again, looking into aggregates; they need not be events.

    Their data are bytes. An aggregate that can't be taken apart has no events.
    """
    for wire in records:
        kinesis = wire["kinesis"]
        number, raw = kinesis["sequenceNumber"], kinesis["data"]
        if not raw.startswith(MAGIC):
            yield kinesis["partitionKey"], position(epoch, number)
            continue
        try:
            inner = take_apart(raw)
        except NotAnAggregate:
            continue
        for sub_sequence, (key, _) in enumerate(inner):
            yield key, position(epoch, number, sub_sequence)


def _unpack(
    wire: Mapping[str, Any], place: int, epoch: int, *, accepts_aggregated: bool
) -> Iterator[_Record | Rejection]:
    record = _open(wire, place, epoch)
    if isinstance(record, Rejection) or not record.raw.startswith(MAGIC):
        yield record
    elif accepts_aggregated:
        yield from _disaggregate(record, epoch, wire["kinesis"]["sequenceNumber"])
    else:
        yield record.reject(
            Reason.AGGREGATED,
            "a KPL aggregate, whose key is not its records' keys: the stack's setting AGGREGATED_RECORDS is reject",
        )


def _open(wire: Mapping[str, Any], place: int, epoch: int) -> _Record | Rejection:
    """Read what Kinesis and Lambda say of a record, and decode its data."""
    try:
        kinesis = wire["kinesis"]
        record = _Record(
            shard=_writable(str(wire.get("eventID", "")).partition(":")[0]) or "unknown",
            key=_text(kinesis["partitionKey"]),
            position=position(epoch, kinesis["sequenceNumber"]),
            arrived_at_ms=_milliseconds(kinesis.get("approximateArrivalTimestamp")),
            raw=b"",
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotAKinesisBatch(
            f"Records[{place}] is no Kinesis record ({type(error).__name__}: {error}): the dispatcher takes what a "
            "Kinesis event source mapping sends"
        ) from error
    data = kinesis.get("data")
    try:
        return replace(record, raw=base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError, TypeError):
        as_it_came = replace(record, raw=str(data).encode("utf-8", "backslashreplace"))
        return as_it_came.reject(Reason.NOT_BASE64, "kinesis.data: is not base64")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("partitionKey is no text")
    return value


def _writable(text: str) -> str:
    """Cut a text to a key's length, and write out what no UTF-8 can carry: an item must hold it."""
    return as_unicode(text[:KEY_CHARACTERS_MAX])


def _milliseconds(arrived_at_s: object) -> int:
    """Read Kinesis' arrival time. It orders nothing, so what is no time becomes 1970 and holds nobody up."""
    if not isinstance(arrived_at_s, int | float) or not math.isfinite(arrived_at_s):
        return 0
    return round(arrived_at_s * 1000) if 0 <= arrived_at_s < _YEAR_10000_S else 0


def _disaggregate(container: _Record, epoch: int, sequence_number: str) -> Iterator[_Record | Rejection]:
    try:
        inner = take_apart(container.raw)
    except NotAnAggregate as error:
        yield container.reject(Reason.AGGREGATED, str(error))
        return
    for sub_sequence, (key, raw) in enumerate(inner):
        yield replace(container, key=key, position=position(epoch, sequence_number, sub_sequence), raw=raw)


def _read(record: _Record, routes: Routes) -> Admissible | Rejection:
    problem = key_problem(record.key)
    if problem:
        return record.reject(Reason.KEY, problem)
    try:
        return _as_event(record, routes)
    except (Unparseable, _Unfit) as error:
        return record.reject(error.reason, error.detail)


def _as_event(record: _Record, routes: Routes) -> Admissible:
    content = parse_json(record.raw)
    if not isinstance(content, dict):
        raise _Unfit(Reason.NOT_AN_OBJECT, "JSON, but no object: an event is a CloudEvents 1.0 object")
    raw, event = _enveloped(record.raw, content, routes)
    _check_envelope(event)
    route = routes.for_type(event["type"])
    if route is None:
        raise _Unfit(Reason.UNKNOWN_TYPE, "type: no route takes it; routes.json names those that are taken")
    _check_data(event, route)
    return Admissible(
        shard=record.shard,
        key=record.key,
        position=record.position,
        arrived_at_ms=record.arrived_at_ms,
        raw=raw,
        type=event["type"],
        route=route.name,
        identity=identity_hash(event["source"], event["id"]),
        flow_id=flow_id_of(event),
    )


def _enveloped(raw: bytes, content: dict[str, Any], routes: Routes) -> tuple[bytes, dict[str, Any]]:
    """Return a CloudEvent as it is, and a plain record that a route maps in an envelope."""
    mapping = None if "specversion" in content else routes.for_plain(content)
    if mapping is None:
        return raw, content
    try:
        attributes = mapping.attributes_of(content)
    except CannotMap as error:
        raise _Unfit(Reason.ENVELOPE, str(error)) from error
    return envelope(attributes, raw), attributes | {"data": content}


def _check_envelope(event: Mapping[str, Any]) -> None:
    # CloudEvents JSON format, section 2.2: an attribute that is null counts as unset. `data` may be null.
    attributes = {name: value for name, value in event.items() if value is not None or name == "data"}
    problem = first_problem(validator(ENVELOPE), attributes)
    if problem is None and not _is_base64(attributes.get("data_base64", "")):
        problem = "data_base64: is not base64"
    if problem:
        raise _Unfit(Reason.ENVELOPE, problem)


def _check_data(event: Mapping[str, Any], route: Route) -> None:
    if route.schema is None:
        return
    if event.get("data_base64") is not None:
        raise _Unfit(Reason.DATA, f"data_base64: {route.schema} describes JSON, which goes into data")
    if "data" not in event:
        raise _Unfit(Reason.DATA, f"data: is missing, and {route.schema} describes it")
    try:
        problem = first_problem(validator(schema_name(route.schema)), event["data"], "data")
    except Exception as error:  # a team's schema may do what no check foresees: the record is kept, the stream goes on
        raise _Unfit(Reason.DATA, f"data: {route.schema} can't be applied ({type(error).__name__})") from error
    if problem:
        raise _Unfit(Reason.DATA, problem)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
