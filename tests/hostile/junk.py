"""Junk, and valid documents with something wrong in them: the latter find more."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from keyturn.core.positions import position

Place = tuple[str | int, ...]

ODD_TEXT = (
    "", " ", "\x00", "\n", "\ud800", "\ufeff", "\U0010ffff", "key#x", "../x", "-1", "1e400", "NaN", "null", "{}", "[]",
    "x" * 5_000, "9" * 5_000, "é" * 300, "$.x", "#", "*", "~", position(1, "1"), "hold#everything",
)  # fmt: skip

texts = st.one_of(st.sampled_from(ODD_TEXT), st.text(st.characters(codec=None), max_size=8))
numbers = st.one_of(
    st.sampled_from((0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**40, 1.5, -0.0, 1e308, 1e-320)),
    st.sampled_from((float("nan"), float("inf"), float("-inf"))),
    st.integers(),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
"""What json.loads may return, and text with half characters."""


def nested(depth: int) -> Any:
    """A list in a list in a list ..."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


junk = st.one_of(values, st.sampled_from((80, 400)).map(nested))


def places(document: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the way to each value in a document."""
    yield place
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, value in inner:
        yield from places(value, (*place, name))


@st.composite
def altered(draw: st.DrawFn, document: Any, with_what: st.SearchStrategy[Any] = junk, changes_max: int = 3) -> Any:
    """Draw a document with a few of its values taken away, put elsewhere, replaced, or some added."""
    made = copy.deepcopy(document)
    for _ in range(draw(st.integers(0, changes_max))):
        made = draw(st.sampled_from(_CHANGES))(draw, made, with_what)
    return made


def _replaced(draw: st.DrawFn, document: Any, with_what: st.SearchStrategy[Any]) -> Any:
    return _put(document, draw(_place_in(document)), lambda _: draw(with_what))


def _wrapped(draw: st.DrawFn, document: Any, _: st.SearchStrategy[Any]) -> Any:
    wrap: Callable[[Any], Any] = draw(st.sampled_from((lambda value: [value], lambda value: {"x": value}, str, repr)))
    return _put(document, draw(_place_in(document)), wrap)


def _removed(draw: st.DrawFn, document: Any, _: st.SearchStrategy[Any]) -> Any:
    place = draw(_place_in(document))
    if place:
        del _at(document, place[:-1])[place[-1]]
    return document


def _added(draw: st.DrawFn, document: Any, with_what: st.SearchStrategy[Any]) -> Any:
    inside = _at(document, draw(_place_in(document)))
    if isinstance(inside, dict):
        inside[draw(texts)] = draw(with_what)
    elif isinstance(inside, list):
        inside.append(draw(with_what))
    return document


def _swapped(draw: st.DrawFn, document: Any, _: st.SearchStrategy[Any]) -> Any:
    other = copy.deepcopy(_at(document, draw(_place_in(document))))
    return _put(document, draw(_place_in(document)), lambda _value: other)


_CHANGES = (_replaced, _replaced, _removed, _removed, _added, _wrapped, _swapped)


def _place_in(document: Any) -> st.SearchStrategy[Place]:
    return st.sampled_from(list(places(document)))


def _at(document: Any, place: Place) -> Any:
    for name in place:
        document = document[name]
    return document


def _put(document: Any, place: Place, change: Callable[[Any], Any]) -> Any:
    if not place:
        return change(document)
    _at(document, place[:-1])[place[-1]] = change(_at(document, place))
    return document


def without(item: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an item without one attribute."""
    return {other: value for other, value in item.items() if other != name}


TOKENS = (
    b"NaN", b"Infinity", b"-", b"1e400", b"9" * 400, b"9" * 25, b'"\\ud800"', b'"\\ud83d\\ude00"', b"[", b"]", b"{",
    b"}", b"[" * 70, b'{"a":' * 70, b",", b":", b'"', b"\\", b"\x00", b"\xff", b"\xef\xbb\xbf", b'"id":"x",', b"null",
)  # fmt: skip
"""What breaks JSON, or makes readers disagree on it."""


@st.composite
def altered_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw bytes with pieces taken away, doubled, replaced or put in between."""
    made = content
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(made)))
        end = draw(st.integers(start, min(len(made), start + 24)))
        piece = draw(
            st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6), st.just(made[start:end] * 2), st.just(b""))
        )
        made = made[:start] + piece + made[end:]
    return made


def as_json(value: Any) -> bytes:
    """Write JSON as a careless producer does: NaN and half characters as escapes go in."""
    return json.dumps(value).encode()
