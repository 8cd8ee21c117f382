"""Strict JSON: refused is what readers would read in different ways."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.event import Reason
from keyturn.core.parse import DEPTH_MAX, Unparseable, parse_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON, st.booleans())
def test_sound_json_is_read_as_the_standard_library_reads_it(value: Any, is_escaped: bool) -> None:
    """The strictness costs nothing that is sound."""
    assert parse_json(json.dumps(value, ensure_ascii=is_escaped).encode()) == value


@given(st.binary() | st.text().map(str.encode) | st.text('{}[]":,\\utrnNaI0123456789eE.-', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """No other exception, and what was read can be written as UTF-8."""
    with contextlib.suppress(Unparseable):
        json.dumps(parse_json(raw), ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        ("", Reason.EMPTY, "no data"),
        (" \r\n\t", Reason.EMPTY, "no data"),
        ("\ufeff{}", Reason.NOT_JSON, "begins with a byte order mark"),
        ("{", Reason.NOT_JSON, "line 1 column 2"),
        ("{'a': 1}", Reason.NOT_JSON, "line 1 column 2"),
        ('{"a": 1} {}', Reason.NOT_JSON, "Extra data"),
        ('{"a": "\x00"}', Reason.NOT_JSON, "control character"),
        ('{"a": NaN}', Reason.NOT_JSON, "a: NaN is no JSON number"),
        ('{"a": [0, -Infinity]}', Reason.NOT_JSON, "a[1]: -Infinity is no JSON number"),
        ('{"a": {"b": 1e400}}', Reason.NOT_JSON, "a.b: the number is too large"),
        ('{"a": 9223372036854775808}', Reason.NOT_JSON, "a: the whole number needs more than 64 bits"),
        ('{"a": -9223372036854775809}', Reason.NOT_JSON, "a: the whole number needs more than 64 bits"),
        (f'{{"a": {"9" * 5000}}}', Reason.NOT_JSON, "a: the whole number needs more than 64 bits"),
        ('{"b": [{"a": 1, "a": 2}]}', Reason.NOT_JSON, "b[0].a: stands twice in one object"),
        (r'{"a": 1, "\u0061": 2}', Reason.NOT_JSON, "a: stands twice in one object"),
        (r'{"a": "\ud83d"}', Reason.NOT_JSON, "a: holds half of a surrogate pair"),
        (r'{"\udc00": 1}', Reason.NOT_JSON, "the event: holds half of a surrogate pair"),
        ('{"' + "é" * 200 + '": NaN}', Reason.NOT_JSON, "\\u00e9" * 12 + '"]: NaN is no JSON number'),
        ('{"%s":' % ("a" * 60) * 60 + "NaN" + "}" * 60, Reason.NOT_JSON, "a" * 60 + ": NaN is no JSON number"),
        ("NaN", Reason.NOT_JSON, "the event: NaN is no JSON number"),
        ("[" * 100_000, Reason.TOO_DEEP, "deeper than 64"),
        ('{"a":' * 65 + "1" + "}" * 65, Reason.TOO_DEEP, "deeper than 64"),
    ],
)
def test_what_is_refused_is_told_with_its_field(text: str, reason: Reason, detail: str) -> None:
    """The reason sorts it, the detail names the field, and no value is quoted; it is one line, not a long one."""
    with pytest.raises(Unparseable) as caught:
        parse_json(text.encode())
    assert caught.value.reason is reason
    assert detail in caught.value.detail
    assert len(caught.value.detail) <= 300


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-32"])
def test_another_encoding_is_refused(encoding: str) -> None:
    """JSON is UTF-8 (RFC 8259, section 8.1)."""
    with pytest.raises(Unparseable) as caught:
        parse_json('{"a": "é"}'.encode(encoding))
    assert caught.value.reason is Reason.NOT_UTF8


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 9223372036854775807}',
        '{"a": -9223372036854775808}',
        r'{"a": "\ud83d\ude00"}',
        r'{"a": "\\ud83d"}',
        '{"a": "' + "[" * 1000 + '"}',
        "[" * DEPTH_MAX + "]" * DEPTH_MAX,
        "[" + "[]," * 1000 + "[]]",
    ],
)
def test_what_only_looks_odd_is_read(text: str) -> None:
    """Whole numbers of 64 bits, paired surrogates, brackets in text, and nesting up to the bound."""
    assert parse_json(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"' + b'":1,"'.join(b"k%d" % number for number in range(100_000)) + b'":1,"k99999":2}',
        b'"' + b'\\"' * 500_000,
        b"[" * 100 + b'"' + b'\\"' * 500_000,
        b"[" + b",".join([b"9" * 4000] * 250) + b"]",
        b'["' + b"\\ud83d\\ude00" * 80_000 + b'"]',
    ],
    ids=["a name repeated among many", "quotes", "quotes behind brackets", "long numbers", "escapes"],
)
def test_a_megabyte_takes_no_longer_than_its_length_asks(raw: bytes) -> None:
    """No input is a trap: beside a plain text of its length, what takes as long would take hundreds of times that."""
    plain = b"[" + b"1," * (len(raw) // 2) + b"1]"
    assert _processor_seconds(raw) < 20 * _processor_seconds(plain)


def _processor_seconds(raw: bytes) -> float:
    began = time.process_time()
    with contextlib.suppress(Unparseable):
        parse_json(raw)
    return time.process_time() - began
