"""Whatever stands in a record, it becomes an event or goes to quarantine; the stream goes on."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from aws_kinesis_agg.aggregator import RecordAggregator
from hypothesis import example, given
from hypothesis import strategies as st

from keyturn.adapters.aggregates import MAGIC, NotAnAggregate, take_apart
from keyturn.adapters.records import NotAKinesisBatch, read_records
from keyturn.adapters.schemas import load_routes
from keyturn.core.event import Admissible, Rejection
from keyturn.core.parse import Unparseable, parse_json
from keyturn.core.route import parse_routes
from tests.adapters.wire import EVENT, record
from tests.hostile.effort import looking
from tests.hostile.junk import altered, altered_bytes, as_json, junk, texts
from tests.shell.world import ROUTE, World

PLAIN = {"match": {"/kind": "order"}, "source": "/plain", "id": ["/order/id", "/n"], "subject": "/who", "time": "/at"}
MAPPED = {"kind": "order", "order": {"id": "o"}, "n": 1, "who": "x", "at": "2026-01-01T00:00:00Z", "more": [1, {}]}
ROUTES = parse_routes(
    {
        "routes": [
            {**ROUTE, "name": "any", "type": "*", "plain": {**PLAIN, "type": "plain"}},
            *(
                {**ROUTE, "name": kind.rsplit(".", 1)[1], "type": kind, "schema": f"{kind}.json"}
                for kind in ("shop.order.placed", "shop.order.paid")
            ),
        ]
    }
)
FULL = EVENT | {
    "subject": "s",
    "time": "2026-01-01T00:00:00Z",
    "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    "tenant": 1,
}

events = st.one_of(
    altered(FULL).map(as_json),
    altered(MAPPED).map(as_json),
    altered_bytes(as_json(FULL)),
    altered_bytes(as_json(MAPPED)),
    altered_bytes(json.dumps(FULL, ensure_ascii=False, indent=1).encode()),
    junk.map(as_json),
    st.binary(max_size=60),
)


def read(*records: Any, accepts: bool = True) -> list[Admissible | Rejection]:
    return read_records({"Records": list(records)}, ROUTES, epoch=1, accepts_aggregated=accepts)


@looking(400)
@given(events)
@example(('{"' + "é" * 200 + '": NaN}').encode())
def test_any_bytes_become_an_event_or_a_rejection(raw: bytes) -> None:
    """One of the two, with the producer's bytes, and a reason that is one short line."""
    (found,) = read(record(raw))
    if isinstance(found, Admissible):
        content = json.loads(found.raw)
        assert raw in found.raw
        assert found.type == content["type"]
        assert parse_json(found.raw) == content
    else:
        assert found.raw == raw
        assert 0 < len(found.detail) <= 300
        assert found.detail.isprintable() or "\n" not in found.detail


@looking(200)
@given(st.lists(st.tuples(texts, events), max_size=4))
def test_no_record_of_a_batch_is_lost(records: list[tuple[str, bytes]]) -> None:
    """The dispatcher leaves nothing behind: each record is in the log, a duplicate, or in quarantine, byte for byte."""
    world = World(ROUTES)
    batch = [record(raw, key, str(number)) for number, (key, raw) in enumerate(records, start=1)]
    answer = world.dispatch(batch)
    assert answer == {"batchItemFailures": []}
    items = world.items()
    for number, (_, raw) in enumerate(records, start=1):
        ending = f"{number:056d}-000000"
        mine = [item for item in items if item["sk"].endswith(ending)]
        assert len(mine) == 1
        kept = mine[0].get("raw", mine[0].get("event", raw))
        assert raw in kept


@looking(200)
@given(altered(record(as_json(EVENT)), changes_max=3))
def test_a_record_that_no_stream_sends_is_refused_in_words(wire: Any) -> None:
    """The batch comes from elsewhere then, and says so; what is only badly encoded goes to quarantine."""
    try:
        found = read(wire)
    except NotAKinesisBatch:
        return
    assert len(found) == 1


@pytest.mark.parametrize("batch", [[], None, "x", {"Records": None}, {"Records": {}}, {}])
def test_an_invocation_by_hand_is_told_what_the_dispatcher_takes(batch: Any) -> None:
    """Not a traceback."""
    with pytest.raises(NotAKinesisBatch):
        read_records(batch, load_routes(), epoch=1, accepts_aggregated=True)


# Aggregates


def aggregate(*records: tuple[str, bytes]) -> bytes:
    """What the Kinesis Producer Library makes of records."""
    aggregator = RecordAggregator()
    for key, data in records:
        aggregator.add_user_record(key, data)
    content: bytes = aggregator.clear_and_get().get_contents()[2]
    return content


def sealed(body: bytes) -> bytes:
    """A container whose digest is right, whatever is in it."""
    return MAGIC + body + hashlib.md5(body, usedforsecurity=False).digest()


VALID = aggregate(("a", as_json(EVENT)), ("b", b"{}"), ("a", b""))
BODY = VALID[len(MAGIC) : -16]


def number(value: int) -> bytes:
    """A protobuf varint."""
    rest, last = value >> 7, value & 0x7F
    return bytes([last | 0x80]) + number(rest) if rest else bytes([last])


def field(which: int, content: bytes) -> bytes:
    """A protobuf field with a length, which may be a lie."""
    return number(which << 3 | 2) + number(len(content)) + content


def inner(index: int, data: bytes) -> bytes:
    """One record of an aggregate."""
    return field(3, b"\x08" + number(index) + field(3, data))


bodies = st.one_of(
    altered_bytes(BODY),
    st.binary(max_size=80),
    st.builds(
        lambda keys, records: b"".join(field(1, key) for key in keys) + b"".join(inner(*one) for one in records),
        st.lists(st.binary(max_size=8), max_size=3),
        st.lists(st.tuples(st.sampled_from((0, 1, 2, 2**31, 2**63, 2**64 - 1)), st.binary(max_size=20)), max_size=4),
    ),
    st.tuples(st.sampled_from((b"\x0a", b"\x1a", b"\x0b")), st.sampled_from((2**20, 2**31, 2**63, 2**70))).map(
        lambda lie: BODY + lie[0] + number(lie[1])
    ),
)


@looking(400)
@given(bodies)
def test_an_aggregate_is_taken_apart_or_kept_whole(body: bytes) -> None:
    """Lying lengths, indexes that lead nowhere, keys that are no text: the whole container goes to quarantine."""
    container = sealed(body)
    found = read(record(container))
    assert found
    try:
        expected = take_apart(container)
    except NotAnAggregate:
        (only,) = found
        assert isinstance(only, Rejection)
        assert only.raw == container
    else:
        assert len(found) == len(expected)
        assert len({one.position for one in found}) == len(found)


@looking(100)
@given(altered_bytes(VALID))
def test_a_damaged_aggregate_is_kept_whole(container: bytes) -> None:
    """Its digest says so."""
    found = read(record(container))
    if container.startswith(MAGIC) and container != VALID:
        assert [one.raw for one in found] == [container]


@looking(60)
@given(bodies)
def test_no_inner_record_is_lost(body: bytes) -> None:
    """Through the whole dispatcher: what isn't an event is in quarantine."""
    world = World(ROUTES, accepts_aggregated_records=True)
    assert world.dispatch([record(sealed(body), "outer", "1")]) == {"batchItemFailures": []}
    kept = [one for one in world.items() if one["sk"].partition("#")[2].startswith(f"0001-{1:056d}")]
    assert len([one for one in kept if not one["sk"].startswith("id#")]) == len(
        read(record(sealed(body), "outer", "1"))
    )


@looking(300)
@given(st.one_of(events, st.binary()))
def test_json_is_read_or_refused_with_a_reason(raw: bytes) -> None:
    """What is read is what every strict reader reads, and can be written again."""
    try:
        value = parse_json(raw)
    except Unparseable:
        return
    assert parse_json(json.dumps(value, ensure_ascii=False, allow_nan=False).encode()) == value


def test_data_that_is_not_base64_keeps_an_odd_key() -> None:
    """A key with half a character can't be written as it came."""
    world = World(ROUTES)
    wire = record(b"", "\ud800" * 300, "1")
    wire["kinesis"]["data"] = "?"
    assert world.dispatch([wire]) == {"batchItemFailures": []}
    assert [item["reason"] for item in world.items("quarantine#")] == ["not_base64"]


def test_base64_is_what_lambda_sends() -> None:
    """The strategies above make what a real batch holds."""
    assert base64.b64decode(record(b"x")["kinesis"]["data"]) == b"x"
