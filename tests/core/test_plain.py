"""Plain records become events by their route's mapping."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.plain import CannotMap, Plain, envelope

MAPPING = Plain.parse(
    {"match": {"/kind": "order"}, "source": "/legacy", "id": "/order/id", "subject": "/order/id", "time": "/at"},
    "legacy.order",
)
RECORD: dict[str, Any] = {"kind": "order", "order": {"id": 17}, "at": "2026-01-02T03:04:05Z"}


def test_fields_become_attributes() -> None:
    """A whole number counts as its text; the type is the route's own."""
    assert MAPPING.attributes_of(RECORD) == {
        "specversion": "1.0",
        "id": "17",
        "source": "/legacy",
        "type": "legacy.order",
        "datacontenttype": "application/json",
        "subject": "17",
        "time": "2026-01-02T03:04:05Z",
    }


@pytest.mark.parametrize("left_out", [{}, {"at": None}])
def test_what_is_optional_may_be_missing(left_out: dict[str, Any]) -> None:
    """Missing, or null."""
    attributes = MAPPING.attributes_of({"order": {"id": "a"}} | left_out)
    assert "time" not in attributes


@pytest.mark.parametrize("order", [None, {}, {"id": None}, {"id": ""}, {"id": True}, {"id": 1.5}, {"id": [1]}, 5])
def test_without_an_id_a_record_is_no_event(order: object) -> None:
    """The message names the attribute and where it was looked for."""
    with pytest.raises(CannotMap, match="id: the plain record has neither text nor a whole number at /order/id"):
        MAPPING.attributes_of({"order": order})


@pytest.mark.parametrize(
    ("match", "record", "is_taken"),
    [
        ({}, {}, True),
        ({"/kind": "order"}, RECORD, True),
        ({"/kind": "parcel"}, RECORD, False),
        ({"/kind": "order", "/order/id": 17}, RECORD, True),
        ({"/kind": "order", "/order/id": 18}, RECORD, False),
        ({"/a~1b/~0": None}, {"a/b": {"~": None}}, True),
        ({"/a": None}, {}, False),
        ({"/a": 1}, {"a": True}, False),
        ({"/a": 0}, {"a": False}, False),
        ({"/a": 1}, {"a": 1.0}, True),
    ],
)
def test_a_record_is_taken_if_every_field_matches(
    match: dict[str, Any], record: dict[str, Any], is_taken: bool
) -> None:
    """Compared as JSON compares: true is not 1, null is not missing."""
    assert Plain.parse({"match": match, "source": "/s", "id": "/id"}, "t").takes(record) is is_taken


@given(st.tuples(st.text(min_size=1), st.text(min_size=1)), st.tuples(st.text(min_size=1), st.text(min_size=1)))
def test_an_id_of_several_fields_is_unambiguous(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Whatever the fields hold."""
    mapping = Plain.parse({"source": "/s", "id": ["/a", "/b"]}, "t")
    ids = [mapping.attributes_of({"a": a, "b": b})["id"] for a, b in (one, other)]
    assert (ids[0] == ids[1]) == (one == other)


def test_the_record_stands_in_its_envelope_byte_for_byte() -> None:
    """Numbers and spacing are the producer's."""
    raw = b' {"kind": "order" , "n":1.10}'
    wrapped = envelope({"id": "é"}, raw)
    assert raw in wrapped
    assert json.loads(wrapped) == {"id": "é", "data": {"kind": "order", "n": 1.1}}
