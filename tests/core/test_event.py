"""Identity and flow id of events, and how a worker sees one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.event import Event, flow_id_of, identity_hash

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PLAIN: dict[str, Any] = {"specversion": "1.0", "source": "/shop", "id": "7", "type": "shop.order.placed"}


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_two_events_share_an_identity_only_if_source_and_id_are_the_same(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    """Moving a character from the source to the id makes another event."""
    assert (identity_hash(*one) == identity_hash(*other)) == (one == other)


def test_the_joint_of_source_and_id_is_unambiguous() -> None:
    """The classic traps of joining two texts."""
    pairs = [("a", "bc"), ("ab", "c"), ("", "abc"), ("abc", ""), ("1:a", "bc"), ("1", ":abc")]
    assert len({identity_hash(*pair) for pair in pairs}) == len(pairs)


@pytest.mark.parametrize("traceparent", [f"00-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-will-be"])
def test_a_valid_traceparent_gives_the_flow_id(traceparent: str) -> None:
    """A later version of the header may hold more."""
    assert flow_id_of(PLAIN | {"traceparent": traceparent}) == TRACE


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        7,
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_without_a_valid_traceparent_the_flow_id_comes_from_the_identity(traceparent: object) -> None:
    """So a resend has the same, and what a producer made up never ends in a log field."""
    assert flow_id_of(PLAIN | {"traceparent": traceparent}) == flow_id_of(PLAIN) != TRACE
    assert len(flow_id_of(PLAIN)) == 32


def test_a_worker_sees_what_the_event_lacks_as_none() -> None:
    """Optional attributes, and data."""
    event = Event.from_attributes(PLAIN)
    assert (event.subject, event.time, event.data) == (None, None, None)
    assert event.attributes == PLAIN


def test_a_worker_sees_binary_data_as_bytes() -> None:
    """However it travelled."""
    assert Event.from_attributes(PLAIN | {"data_base64": "aGk="}).data == b"hi"
