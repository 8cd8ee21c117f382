"""Reads bytes as strict JSON: what Step Functions, DynamoDB and every worker will read the same way."""

import json
import math
import re
from typing import Any, Final

from keyturn.core.event import Reason

DEPTH_MAX: Final = 64
"""Nesting of objects and arrays. Far above what events hold, far below what makes a parser recurse too deep."""

_BRACKET_OR_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_DEPTH_CHANGES: Final = {"[": 1, "{": 1, "]": -1, "}": -1}

_INTEGER_DIGITS_MAX: Final = 300
"""Longer integers take quadratic time to convert; no double could hold them either."""


class Unparseable(ValueError):
    """Bytes are no JSON that everybody reads the same way."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Say why, and where."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def parse_json(raw: bytes) -> Any:
    """Parse bytes; raises Unparseable for what isn't UTF-8, isn't JSON, or is JSON that readers would disagree on.

    Refused besides bad syntax: a byte order mark, NaN and Infinity, numbers beyond a double, an object that names a
    member twice, lone surrogates (no UTF-8 can carry them), nesting deeper than 64.
    """
    if not raw.strip():
        raise Unparseable(Reason.EMPTY, "the record has no data")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unparseable(Reason.NOT_UTF8, f"byte {error.start} is no UTF-8") from error
    _check_depth(text)
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
            object_pairs_hook=_without_repeats,
        )
    except Unparseable:
        raise
    except ValueError as error:
        raise Unparseable(Reason.NOT_JSON, str(error)) from error
    _check_encodable(value)
    return value


def _check_depth(text: str) -> None:
    """Bound the nesting before the parser recurses; brackets inside strings don't count."""
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return
    depth = 0
    for token in _BRACKET_OR_STRING.finditer(text):
        depth += _DEPTH_CHANGES.get(token[0], 0)
        if depth > DEPTH_MAX:
            raise Unparseable(Reason.TOO_DEEP, f"nested deeper than {DEPTH_MAX} levels")


def _check_encodable(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise Unparseable(Reason.NOT_JSON, "a text holds half of a surrogate pair, which UTF-8 can't carry") from error


def _refuse_constant(name: str) -> Any:
    raise Unparseable(Reason.NOT_JSON, f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Unparseable(Reason.NOT_JSON, f"number {text[:20]} is too large")
    return number


def _bounded(text: str) -> int:
    if len(text) > _INTEGER_DIGITS_MAX:
        raise Unparseable(Reason.NOT_JSON, f"a number has {len(text)} digits")
    return int(text)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Unparseable(Reason.NOT_JSON, f"member {twice[:40]!r} stands twice in one object")
    return members
