"""A line becomes a record, or the message says what is wrong with it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from keyturn_cli.errors import BadInput, BadLine
from keyturn_cli.records import RECORD_BYTES_MAX, Reader, Wrapping

EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "shop.order.paid", "subject": "order-7"}
PERMITS = Wrapping(type="permit.activity", source="/permits", id_fields=("case", "n"), time_field="time")
PERMIT = {"case": "case-891", "n": 0, "activity": "Confirmation", "time": "2010-10-02T09:20:39.266+02:00"}


def _line(content: object) -> bytes:
    return json.dumps(content).encode()


def test_a_cloudevent_goes_as_it_is() -> None:
    """Byte for byte, with its subject as the ordering key."""
    line = b'{"subject" : "order-7", "specversion":"1.0","id":"1","source":"/shop","type":"t"}'
    made = Reader().record(line)
    assert (made.key, made.data) == ("order-7", line)


@pytest.mark.parametrize(("field", "key"), [("data.order.id", "o1"), ("data.customer", "42"), ("type", "t")])
def test_the_key_may_be_any_field(field: str, key: str) -> None:
    """Dotted into the event; a whole number counts as its text."""
    line = _line(EVENT | {"type": "t", "data": {"order": {"id": "o1"}, "customer": 42}})
    assert Reader(key_field=field).record(line).key == key


def test_an_object_is_wrapped_into_an_event() -> None:
    """The object is the event's data; id, subject and time come from its fields."""
    made = Reader(key_field="case", wrapping=PERMITS).record(_line(PERMIT))
    assert made.key == "case-891"
    assert json.loads(made.data) == {
        "specversion": "1.0",
        "id": "case-891:0",
        "source": "/permits",
        "type": "permit.activity",
        "subject": "case-891",
        "datacontenttype": "application/json",
        "time": PERMIT["time"],
        "data": PERMIT,
    }


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"{", "not JSON"),
        (b'{"a":"\xff"}', "not UTF-8 at byte 7"),
        (b"[1]", "not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (_line(EVENT | {"subject": None}), "'subject' (--key) is missing"),
        (_line(EVENT | {"subject": ""}), "'subject' (--key) is missing, empty"),
        (_line(EVENT | {"subject": True}), "'subject' (--key)"),
        (_line(EVENT | {"subject": "k" * 257}), "257 characters, more than 256"),
        (_line({"subject": "k"}), "no CloudEvent, specversion, id, source, type missing"),
        (_line(EVENT | {"id": 3}), "no CloudEvent, id missing or no text"),
        (_line(EVENT | {"data": "x" * RECORD_BYTES_MAX}), "more than a stream takes"),
    ],
)
def test_a_bad_line_is_named(line: bytes, what: str) -> None:
    """By what is wrong, and never with a traceback."""
    with pytest.raises(BadLine) as caught:
        Reader().record(line)
    assert what in str(caught.value)


def test_a_missing_id_field_is_named() -> None:
    """The option's name is in the message, since that is what one would change."""
    with pytest.raises(BadLine, match=r"field 'n' \(--id\)"):
        Reader(key_field="case", wrapping=PERMITS).record(_line({"case": "c"}))


def test_a_file_is_read_in_order_with_its_line_numbers(tmp_path: Path) -> None:
    """Compressed or not; empty lines are passed over."""
    content = b"\n".join([_line(EVENT), b"", b"  ", _line(EVENT | {"subject": "other"})])
    (tmp_path / "plain.jsonl").write_bytes(content)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(content))
    for name in ("plain.jsonl", "packed.jsonl.gz"):
        found = [(record.key, record.line) for record in Reader().read(str(tmp_path / name))]
        assert found == [("order-7", 1), ("other", 4)]


def test_a_bad_line_says_where_it_is(tmp_path: Path) -> None:
    """File and line number come first."""
    path = tmp_path / "orders.jsonl"
    path.write_bytes(_line(EVENT) + b"\nnonsense\n")
    with pytest.raises(BadLine, match=r"orders\.jsonl, line 2: not JSON"):
        list(Reader().read(str(path)))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, or a broken archive."""
    torn = tmp_path / "torn.gz"
    torn.write_bytes(gzip.compress(b"{}" * 1000)[:20])
    fake = tmp_path / "fake.gz"
    fake.write_bytes(b"{}\n")
    for path in (tmp_path / "none.jsonl", tmp_path, torn, fake):
        with pytest.raises(BadInput, match=path.name):
            list(Reader().read(str(path)))
