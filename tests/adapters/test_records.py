"""Every record becomes an event or a rejection that names the field; none raises, none is lost."""

import base64
import hashlib
import json
import time
from typing import Any

import pytest
from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.deaggregator import deaggregate_records
from hypothesis import given
from hypothesis import strategies as st

from keyturn.adapters.aggregates import MAGIC
from keyturn.adapters.records import NotAKinesisBatch, read_records
from keyturn.adapters.schemas import load_routes
from keyturn.core.event import Admissible, Reason, Rejection
from keyturn.core.positions import position
from keyturn.core.route import Routes, parse_routes
from tests.adapters.wire import EVENT, SEQUENCE, SHARD, event, record

ARRIVED_AT_MS = 1545084650987


def read(*records: dict[str, Any], accepts: bool = False, routes: Routes | None = None) -> list[Admissible | Rejection]:
    return read_records({"Records": list(records)}, routes or load_routes(), epoch=1, accepts_aggregated=accepts)


def rejected(raw: bytes, **options: Any) -> Rejection:
    (found,) = read(record(raw), **options)
    assert isinstance(found, Rejection)
    assert found.raw == raw
    return found


def admitted(raw: bytes, **options: Any) -> Admissible:
    (found,) = read(record(raw), **options)
    assert isinstance(found, Admissible)
    return found


def test_an_event_is_admitted_as_it_is() -> None:
    """The producer's bytes, its place in the stream, and the route that takes it."""
    found = admitted(event())
    assert (found.raw, found.key, found.shard, found.position) == (event(), "order-1", SHARD, position(1, SEQUENCE))
    assert (found.type, found.route, found.arrived_at_ms) == ("shop.order.placed", "order-placed", ARRIVED_AT_MS)


@pytest.mark.parametrize(
    ("raw", "reason", "detail"),
    [
        (b"", Reason.EMPTY, "no data"),
        (b"\xff\xfe", Reason.NOT_UTF8, "byte 0"),
        (b"{", Reason.NOT_JSON, "line 1"),
        (b"[1]", Reason.NOT_AN_OBJECT, "no object"),
        (b"[" * 1000, Reason.TOO_DEEP, "deeper than 64"),
        (b"{}", Reason.ENVELOPE, "specversion: is missing"),
        (event(specversion="0.3"), Reason.ENVELOPE, "specversion: must be 1.0"),
        (event(id=...), Reason.ENVELOPE, "id: is missing"),
        (event(id=None), Reason.ENVELOPE, "id: is missing"),
        (event(id=7), Reason.ENVELOPE, "id: must be string"),
        (event(id=""), Reason.ENVELOPE, "id: is below minLength 1"),
        (event(id="x" * 1025), Reason.ENVELOPE, "id: is above maxLength 1024"),
        (event(id="a\nb"), Reason.ENVELOPE, "id: has a control character"),
        (event(source="a\n"), Reason.ENVELOPE, "source: has a control character"),
        (event(subject=5), Reason.ENVELOPE, "subject: must be string"),
        (event(time="yesterday"), Reason.ENVELOPE, "time: is no date-time"),
        (event(time="2026-02-30T00:00:00Z"), Reason.ENVELOPE, "time: is no date-time"),
        (event(time="2026-02-03T00:00:00"), Reason.ENVELOPE, "time: is no date-time"),
        (event(Tenant="a"), Reason.ENVELOPE, "Tenant: is no attribute name"),
        (event(**{"a b": "x"}), Reason.ENVELOPE, '["a b"]: is no attribute name'),
        (event(tenant={"a": 1}), Reason.ENVELOPE, "tenant: must be string or boolean or integer"),
        (event(tenant=2**31), Reason.ENVELOPE, "tenant: is above maximum 2147483647"),
        (event(data_base64="aGk="), Reason.ENVELOPE, "data_base64 besides data"),
        (event(data=..., data_base64="?"), Reason.ENVELOPE, "data_base64: is not base64"),
        (event(type="shop.order.returned"), Reason.UNKNOWN_TYPE, "type: no route"),
        (event(data=...), Reason.DATA, "data: is missing"),
        (event(data=None), Reason.DATA, "data: must be object"),
        (event(data=..., data_base64="e30="), Reason.DATA, "data_base64: shop.order.placed.json describes JSON"),
        (event(data={}), Reason.DATA, "data.order_id: is missing"),
        (
            event(data=EVENT["data"] | {"lines": [{"sku": "a", "quantity": 1}, {"sku": "b", "quantity": 0}]}),
            Reason.DATA,
            "data.lines[1].quantity: is below minimum 1",
        ),
        (event(data=EVENT["data"] | {"note": "x"}), Reason.DATA, "data.note: is not in the schema"),
        (event(data=EVENT["data"] | {"total_cents": 2**63}), Reason.NOT_JSON, "data.total_cents: the whole number"),
        (MAGIC + bytes(40), Reason.AGGREGATED, "AGGREGATED_RECORDS is reject"),
    ],
)
def test_what_is_no_event_is_rejected_with_the_field_that_is_wrong(raw: bytes, reason: Reason, detail: str) -> None:
    """The raw bytes are kept, and the detail is one line."""
    found = rejected(raw)
    assert found.reason is reason
    assert detail in found.detail
    assert "\n" not in found.detail
    assert (found.key, found.shard, found.arrived_at_ms) == ("order-1", SHARD, ARRIVED_AT_MS)


@pytest.mark.parametrize(
    "raw",
    [
        event(time="9999-12-31T23:59:59Z"),
        event(time="2016-12-31T23:59:60Z"),
        event(time="2026-01-02t03:04:05.123456789+05:30"),
        event(subject=None, traceparent=None),
        event(tenant="ä", flag=True, count=-1, dataschema="/s", datacontenttype="application/json"),
        b" \r\n" + event() + b"\n",
    ],
)
def test_what_only_looks_odd_is_admitted(raw: bytes) -> None:
    """A clock far in the future: `time` is the producer's, and orders nothing. Null is unset. Extensions are kept."""
    assert admitted(raw).raw == raw


@pytest.mark.parametrize("key", ["\x00", "a\nb\x7f", "🎉" * 256, "x" * 256, " ", "key#state", "#", "é", "e\u0301"])
def test_any_key_that_kinesis_takes_is_processed(key: str) -> None:
    """Control characters, emoji and our own separators are characters like others."""
    (found,) = read(record(event(), key))
    assert isinstance(found, Admissible)
    assert found.key == key


@pytest.mark.parametrize("key", ["", "x" * 257, "\ud800"])
def test_a_key_that_kinesis_never_takes_is_rejected(key: str) -> None:
    """It can come from inside an aggregate only. The key that is kept can be stored."""
    (found,) = read(record(event(), key))
    assert isinstance(found, Rejection)
    assert found.reason is Reason.KEY
    assert len(found.key.encode()) <= 256 * 4


def test_no_rejection_quotes_what_a_producer_wrote() -> None:
    """Details reach logs and screens; data may not."""
    secret = "4111111111111111"
    wrong = [
        event(id=[secret]),
        event(data=EVENT["data"] | {"total_cents": secret}),
        event(data={"order_id": secret * 9}),
        event(type=secret),
        event(time=secret),
    ]
    assert not [raw for raw in wrong if secret in rejected(raw).detail]


SLOTS: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
)


@given(
    st.binary(max_size=200)
    | st.dictionaries(st.sampled_from([*EVENT, "time", "subject", "data_base64", "traceparent", "X"]), SLOTS).map(
        lambda changes: event(**changes)
    )
    | st.binary(max_size=60).map(lambda tail: MAGIC + tail),
    st.text(max_size=300),
    st.booleans(),
)
def test_any_bytes_under_any_key_become_one_event_or_one_rejection(raw: bytes, key: str, accepts: bool) -> None:
    """Always the same one, and what is admitted is an event that can be handed on as JSON."""
    first, again = (read(record(raw, key), accepts=accepts) for _ in range(2))
    assert first == again
    (found,) = first
    assert found.raw == raw
    if isinstance(found, Admissible):
        json.dumps(json.loads(found.raw), ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize("data", ["!", "é", None, 5, "YWJj\nYWJj"])
def test_data_that_is_not_base64_is_rejected_as_it_came(data: object) -> None:
    """Kinesis doesn't send this; whoever invokes the function by hand might."""
    wire = record(b"")
    wire["kinesis"]["data"] = data
    (found,) = read(wire)
    assert isinstance(found, Rejection)
    assert (found.reason, found.raw) == (Reason.NOT_BASE64, str(data).encode())


@pytest.mark.parametrize("arrived", [None, "soon", float("nan"), float("inf"), -1, 1e300])
def test_an_arrival_time_that_is_none_holds_nobody_up(arrived: object) -> None:
    """It orders nothing."""
    wire = record(event())
    wire["kinesis"]["approximateArrivalTimestamp"] = arrived
    (found,) = read(wire)
    assert found.arrived_at_ms == 0


@pytest.mark.parametrize(
    "batch",
    [{}, {"Records": None}, {"Records": [{}]}, {"Records": [None]}, {"Records": [record(b"", sequence_number="x")]}],
)
def test_what_is_no_batch_is_told_in_one_line(batch: dict[str, Any]) -> None:
    """Somebody invoked the dispatcher by hand."""
    with pytest.raises(NotAKinesisBatch) as caught:
        read_records(batch, load_routes(), epoch=1, accepts_aggregated=False)
    assert "\n" not in str(caught.value)


def aggregate(*inner: tuple[str, bytes]) -> bytes:
    aggregator = RecordAggregator()
    for key, data in inner:
        aggregator.add_user_record(key, data)
    return bytes(aggregator.clear_and_get().get_contents()[2])


def test_an_aggregate_is_taken_apart_where_the_stack_accepts_it() -> None:
    """Keys, data and order are the inner records'; the container's place is theirs, with a sub-sequence."""
    packed = aggregate(("a", event(id="1")), ("b", event(id="2")), ("a", b"no event"))
    found = read(record(packed, "container"), accepts=True)
    assert [(one.key, one.position) for one in found] == [
        (key, position(1, SEQUENCE, sub)) for sub, key in enumerate(("a", "b", "a"))
    ]
    assert [type(one) for one in found] == [Admissible, Admissible, Rejection]
    assert [one.raw for one in found] == [
        base64.b64decode(inner["kinesis"]["data"]) for inner in deaggregate_records([record(packed)])
    ]


def test_an_aggregate_is_one_rejection_where_the_stack_rejects_it() -> None:
    """Whole, so that nothing is lost."""
    assert rejected(aggregate(("a", event()), ("b", event()))).reason is Reason.AGGREGATED


@pytest.mark.parametrize("cut", [4, 10, 19, 21, -1])
def test_an_aggregate_with_a_wrong_digest_is_one_rejection(cut: int) -> None:
    """It may be cut short anywhere."""
    assert rejected(aggregate(("a", event()))[:cut], accepts=True).reason is Reason.AGGREGATED


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_an_aggregate_that_lies_is_taken_apart_whole_or_not_at_all(place: int, change: int) -> None:
    """A right digest over a wrong message, such as a key index that leads nowhere."""
    body = bytearray(aggregate(("a", event()), ("b", event()))[4:-16])
    body[place % len(body)] ^= change
    packed = MAGIC + bytes(body) + hashlib.md5(body).digest()  # noqa: S324
    found = read(record(packed), accepts=True)
    assert found
    if any(isinstance(one, Rejection) and one.reason is Reason.AGGREGATED for one in found):
        assert [one.raw for one in found] == [packed]


def test_a_record_of_several_megabytes_is_an_event_like_others() -> None:
    """It goes to the payload bucket later on."""
    raw = event(type="shop.order.cancelled", data={"order_id": "1", "sequence": 0, "reason": "x"}) + b" " * 4_000_000
    assert admitted(raw).raw == raw


def test_a_batch_full_of_the_largest_traps_takes_seconds() -> None:
    """The dispatcher has a minute."""
    traps = [
        b'{"' + b'":1,"'.join(b"k%d" % number for number in range(100_000)) + b'":1,"k99999":2}',
        event(**{f"E{number}": "x" for number in range(50_000)}),
        event(data=EVENT["data"] | {"lines": [5] * 300_000}),
        event(**{f"e{number}": {} for number in range(50_000)}),
    ]
    began = time.perf_counter()
    assert all(isinstance(found, Rejection) for found in read(*map(record, traps)))
    assert time.perf_counter() - began < 10


PLAIN_ROUTES = parse_routes(
    {
        "routes": [
            {
                "name": "legacy",
                "type": "legacy.*",
                "workflow": "order",
                "kind": "standard",
                "schema": None,
                "run_timeout_s": 60,
                "worker_timeout_s": 3,
                "max_attempts": 3,
                "backoff": {"first_s": 1, "rate": 2.0, "max_s": 60},
                "on_exhaustion": "park",
                "batch": {"events": 1, "bytes": 1000},
                "plain": {
                    "match": {"/kind": "order"},
                    "source": "/legacy",
                    "type": "legacy.order",
                    "id": "/id",
                    "time": "/at",
                },
            }
        ]
    }
)


def test_a_plain_record_that_a_route_maps_is_an_event() -> None:
    """Its bytes are the event's data."""
    raw = b'{"kind":"order","id":7,"amount":1.10}'
    found = admitted(raw, routes=PLAIN_ROUTES)
    assert (found.type, found.route) == ("legacy.order", "legacy")
    assert raw in found.raw
    assert json.loads(found.raw)["data"] == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b'{"kind":"parcel","id":7}', "specversion: is missing"),
        (b'{"kind":"order"}', "id: the plain record has neither text nor a whole number at /id"),
        (b'{"kind":"order","id":"7","at":"noon"}', "time: is no date-time"),
        (b'{"kind":"order","id":"7","specversion":"1.0"}', "source: is missing"),
    ],
)
def test_a_plain_record_that_does_not_fit_its_mapping_is_rejected(raw: bytes, detail: str) -> None:
    """What says that it is a CloudEvent is never mapped."""
    found = rejected(raw, routes=PLAIN_ROUTES)
    assert found.reason is Reason.ENVELOPE
    assert detail in found.detail
