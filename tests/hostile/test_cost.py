"""Twice as much takes twice the work, never four times; and no small input takes much memory.

Work is counted in function calls, so that no machine is too slow for these tests.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from keyturn.adapters import archive, schemas
from keyturn.adapters.aggregates import RECORDS_MAX, NotAnAggregate, take_apart
from keyturn.adapters.records import read_records
from keyturn.core.answers import read_steps
from keyturn.core.event import Rejection
from keyturn.core.parse import Unparseable, parse_json
from keyturn.core.positions import position
from keyturn.errors import Unreadable
from tests.adapters.wire import event, record
from tests.hostile.effort import assert_linear, peak_bytes
from tests.hostile.junk import as_json
from tests.hostile.test_records import ROUTES, aggregate, field, inner, sealed
from tests.hostile.test_routes import ROUTES as FILE
from tests.hostile.test_routes import deployed
from tests.shell.world import World

Many = Callable[[int], bytes]

TEXTS: dict[str, Many] = {
    "numbers": lambda n: b"[" + b"1," * n + b"1]",
    "long number": lambda n: b"9" * n,
    "fractions": lambda n: b"0." + b"1" * n,
    "names": lambda n: as_json({f"n{i}": i for i in range(n)}),
    "one name again and again": lambda n: b'{"a":1' + b',"a":1' * n + b"}",
    "NaN": lambda n: b"[" + b"NaN," * n + b"1]",
    "open brackets": lambda n: b"[" * n,
    "open quotes": lambda n: b'["' + b"\\\\" * n,
    "quotes": lambda n: b'"a' * n,
    "half characters": lambda n: b"[" + b'"\\ud800",' * n + b"1]",
    "white space": lambda n: b" " * n + b"x",
    "brackets in texts": lambda n: b"[" + b'"[[[",' * n + b"1]",
    "shallow objects": lambda n: b"[" + b'{"a":{}},' * n + b"1]",
    "byte order marks": lambda n: b"\xef\xbb\xbf" * n,
    "no UTF-8": lambda n: b"a" * n + b"\xff",
}


def parse(raw: bytes) -> Any:
    try:
        return parse_json(raw)
    except Unparseable as error:
        return error


@pytest.mark.parametrize("kind", TEXTS)
def test_parsing_takes_time_in_proportion(kind: str) -> None:
    """Whatever is many in it."""
    assert_linear(lambda n: partial(parse, TEXTS[kind](n)), 500)


@pytest.mark.parametrize("kind", TEXTS)
def test_parsing_takes_memory_in_proportion(kind: str) -> None:
    """200 bytes a byte at most: Python's objects are that large, for what is written with two characters."""
    raw = TEXTS[kind](20_000)
    assert peak_bytes(lambda: parse(raw)) < 200 * len(raw) + 100_000


def read(*records: Any, accepts: bool = True) -> list[Any]:
    return read_records({"Records": list(records)}, ROUTES, epoch=1, accepts_aggregated=accepts)


def lines(n: int) -> bytes:
    data = {"order_id": "1", "sequence": 0, "lines": [{"sku": "a", "quantity": 1}] * n, "total_cents": 1}
    return event(data=data)


READS: dict[str, Callable[[int], list[Any]]] = {
    "records": lambda n: [record(event(id=f"e{i}"), f"k{i}", str(i)) for i in range(n)],
    "records of one key": lambda n: [record(event(id=f"e{i}"), "k", str(i)) for i in range(n)],
    "broken records": lambda n: [record(b"{" * i, "k", str(i)) for i in range(n)],
    "inner records": lambda n: [record(aggregate(*(("k", event(id=str(i))) for i in range(n))))],
    "attributes": lambda n: [record(event(**{f"a{i}": "x" for i in range(n)}))],
    "items of data": lambda n: [record(lines(n))],
    "items of data, all wrong": lambda n: [record(event(data={"lines": [0] * n}))],
}


@pytest.mark.parametrize("kind", READS)
def test_reading_a_batch_takes_time_in_proportion(kind: str) -> None:
    """Whatever is many in it."""
    assert_linear(lambda n: partial(read, *READS[kind](n)), 25)


@pytest.mark.parametrize("kind", ["records", "records of one key", "broken records"])
def test_a_batch_is_taken_in_in_time_in_proportion(kind: str) -> None:
    """Through the whole dispatcher, first time and again."""

    def work_on(n: int) -> Callable[[], Any]:
        batch = READS[kind](n)

        def work() -> None:
            world = World(ROUTES)
            for _ in range(2):
                assert world.dispatch(batch) == {"batchItemFailures": []}

        return work

    assert_linear(work_on, 20)


def test_a_fan_out_is_read_in_time_in_proportion() -> None:
    """Answers side by side, and one deep inside."""
    answer = {"step": "s", "execution_id": "x", "outcome": "done"}
    assert_linear(lambda n: partial(read_steps, [answer] * n), 100)
    assert_linear(lambda n: partial(read_steps, deep(answer, n)), 100)


def deep(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


def test_unique_items_are_found_in_time_in_proportion() -> None:
    """A record may have a hundred thousand of them, and a team's schema may ask for it."""
    schema = {"properties": {"lines": {"uniqueItems": True}}}
    with deployed(as_json(FILE), as_json(schema)):
        check = schemas.validator("schemas/own.json")

        def work_on(n: int) -> Callable[[], Any]:
            data = {"lines": [{"a": i} for i in range(n)] + [{"a": 0}]}
            return lambda: schemas.first_problem(check, data, "data")

        assert_linear(work_on, 50)


# Small things that unpack into large ones


def test_an_aggregate_of_nothings_is_refused_before_it_is_unpacked() -> None:
    """A record of 1 MB may name 170,000 empty records: the container is kept whole instead."""
    container = sealed(field(1, b"k" * 200) + inner(0, b"") * 150_000)
    assert len(container) <= 1_048_576 + 250
    with pytest.raises(NotAnAggregate, match="of 150000 records"):
        take_apart(container)
    assert peak_bytes(lambda: read(record(container))) < 8 * len(container)


def test_the_most_that_an_aggregate_may_hold_takes_little_more_than_its_records() -> None:
    """10,000 records that share one key of many characters: the key is held once."""
    container = sealed(field(1, b"k" * 200_000) + inner(0, b"") * RECORDS_MAX)
    found = read(record(container))
    assert len(found) == RECORDS_MAX
    assert all(isinstance(one, Rejection) and len(one.key) == 256 for one in found)
    assert peak_bytes(lambda: read(record(container))) < 100 * len(container)


def archived(events: int, size: int = 100) -> bytes:
    line = {
        "key": "k", "position": position(1, "1"), "arrived_at_ms": 1, "type": "t", "flow_id": "f", "event": " " * size,
    }  # fmt: skip
    return gzip.compress((json.dumps(line) + "\n").encode() * events, mtime=0)


def test_an_archive_object_is_unpacked_line_by_line() -> None:
    """40 kB that unpack to 20 MB take no more than the compressed bytes and a few lines."""
    body = archived(20_000, 1_000)
    assert len(body) < 200_000
    assert peak_bytes(lambda: sum(1 for _ in archive._unpack("x", body))) < 2_000_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no gzip",
        archived(3)[:-9],
        archived(3)[:40] + b"\x00\xff" * 20,
        gzip.compress(b"{}\n"),
        gzip.compress(b"[]\n"),
        gzip.compress(b"nonsense\n"),
        gzip.compress(b'{"key": 5}\n'),
    ],
    ids=lambda body: f"{len(body)} bytes",
)
def test_a_damaged_archive_object_is_said(body: bytes) -> None:
    """With its name, and as our own error: the replay waits until somebody has looked."""
    if body:
        with pytest.raises(Unreadable, match="2026-01-01/00/x"):
            list(archive._unpack("2026-01-01/00/x", body))
    else:
        assert list(archive._unpack("2026-01-01/00/x", body)) == []
