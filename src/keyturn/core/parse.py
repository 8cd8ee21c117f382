"""Reads bytes as strict JSON: what Step Functions, DynamoDB and every worker will read the same way."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from keyturn.core.event import Reason
from keyturn.core.field import name_of, walk

DEPTH_MAX: Final = 64
"""Nesting of objects and arrays. Far above what events hold, far below what makes a parser recurse too deep."""

_BRACKET_OR_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""The closing quote is optional, so that text without one is read once and not once from each quote in it."""
_DEPTH_CHANGES: Final = {"[": 1, "{": 1, "]": -1, "}": -1}

_INTEGER_MIN: Final = -(2**63)
_INTEGER_MAX: Final = 2**63 - 1
"""Step Functions keeps whole numbers of 64 bits exact and rounds larger ones to a double, without an error."""
_INTEGER_CHARACTERS_MAX: Final = 20

_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Unparseable(ValueError):
    """Bytes are no JSON that everybody reads the same way."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Say why, and where."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def parse_json(raw: bytes) -> Any:
    """Parse bytes; raises Unparseable for what isn't UTF-8, isn't JSON, or is JSON that readers would disagree on.

    Refused besides bad syntax: a byte order mark, NaN and Infinity, numbers beyond a double, whole numbers beyond 64
    bits, an object that names a member twice, lone surrogates (no UTF-8 can carry them), nesting deeper than 64. Takes
    time in proportion to the bytes, whatever they are.
    """
    text = _decode(raw)
    _check_depth(text)
    reader = _Reader()
    try:
        value = reader.read(text)
    except ValueError as error:
        raise Unparseable(Reason.NOT_JSON, str(error)) from error
    if reader.illegal or (_SURROGATE_ESCAPE.search(text) and not _is_encodable(value)):
        raise Unparseable(Reason.NOT_JSON, _first_illegal(value))
    return value


def _decode(raw: bytes) -> str:
    if not raw.strip():
        raise Unparseable(Reason.EMPTY, "the record has no data")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unparseable(Reason.NOT_UTF8, f"byte {error.start} is no UTF-8") from error
    if text.startswith("\ufeff"):
        raise Unparseable(Reason.NOT_JSON, "begins with a byte order mark, which JSON must not (RFC 8259, section 8.1)")
    return text


def _check_depth(text: str) -> None:
    """Bound the nesting before the parser recurses; brackets inside strings don't count."""
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return
    depth = 0
    for token in _BRACKET_OR_STRING.finditer(text):
        depth += _DEPTH_CHANGES.get(token[0], 0)
        if depth > DEPTH_MAX:
            raise Unparseable(Reason.TOO_DEEP, f"nested deeper than {DEPTH_MAX} levels")


@dataclass(frozen=True, slots=True)
class _Illegal:
    """Stands in a parsed document where the text had something that readers would disagree on."""

    problem: str
    name: tuple[str, ...] = ()
    """The member, if it isn't the whole value that is wrong."""


@dataclass(slots=True)
class _Reader:
    """Parses, and leaves a stand-in for what is illegal: only the finished document tells where it lies."""

    illegal: list[_Illegal] = field(default_factory=list)

    def read(self, text: str) -> Any:
        return json.loads(
            text,
            parse_constant=lambda name: self._illegal(f"{name} is no JSON number"),
            parse_float=self._finite,
            parse_int=self._bounded,
            object_pairs_hook=self._without_repeats,
        )

    def _illegal(self, problem: str, *name: str) -> _Illegal:
        self.illegal.append(_Illegal(problem, name))
        return self.illegal[-1]

    def _finite(self, text: str) -> float | _Illegal:
        number = float(text)
        return number if math.isfinite(number) else self._illegal("the number is too large for a double")

    def _bounded(self, text: str) -> int | _Illegal:
        # The length comes first: a long text takes quadratic time to convert.
        if len(text) <= _INTEGER_CHARACTERS_MAX:
            number = int(text)
            if _INTEGER_MIN <= number <= _INTEGER_MAX:
                return number
        return self._illegal("the whole number needs more than 64 bits: send it as text")

    def _without_repeats(self, pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Illegal:
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        return self._illegal("stands twice in one object", _first_repeated(name for name, _ in pairs))


def _first_repeated(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("called only when a name is repeated")


def _is_encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _first_illegal(value: Any) -> str:
    path, illegal = next((path, illegal) for path, found in walk(value) if (illegal := _as_illegal(found)))
    return f"{name_of((*path, *illegal.name))}: {illegal.problem}"


def _as_illegal(value: Any) -> _Illegal | None:
    if isinstance(value, str) and _SURROGATE.search(value):
        return _Illegal("holds half of a surrogate pair, which no UTF-8 can carry")
    return value if isinstance(value, _Illegal) else None
