"""DynamoDB's expressions, as far as Keyturn writes them, turned into functions over items in DynamoDB's own JSON.

Grammar: DynamoDB Developer Guide, "Condition and filter expressions", "Update expressions" and
"Key condition expressions".
What isn't understood raises ValueError, as DynamoDB raises ValidationException.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

Value = Mapping[str, Any]
"""An attribute value, such as {"S": "text"}."""
Item = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression's `#names` and `:values` stand for."""

    names: Mapping[str, str]
    values: Mapping[str, Value]


Test = Callable[[Item, Scope], bool]
Operand = Callable[[Item, Scope], "Value | None"]

_TOKEN: Final = re.compile(r"\s*(?:(<>|<=|>=|[=<>(),+-])|([:#]?[A-Za-z_][\w.]*))")
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def comparable(value: Value) -> Any:
    """Return what two attribute values of one type are compared by."""
    ((kind, content),) = value.items()
    return int(content) if kind == "N" else content


@cache
def condition(text: str) -> Test:
    """Compile a condition or filter."""
    reader = _Reader(text)
    test = _either(reader)
    reader.end()
    return test


class _Reader:
    """The tokens of an expression, one after the other."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                raise ValueError(f"can't read the expression {text!r} at {text[at:]!r}")
            self.tokens.append(match[1] or match[2])
            at = match.end()

    def next(self) -> str:
        if not self.tokens:
            raise ValueError(f"the expression {self.text!r} ends too early")
        return self.tokens.pop(0)

    def takes(self, *wanted: str) -> bool:
        """Take the next token if it is the one that is wanted."""
        if self.tokens and self.tokens[0].upper() in wanted:
            self.tokens.pop(0)
            return True
        return False

    def needs(self, wanted: str) -> None:
        if not self.takes(wanted):
            raise ValueError(f"the expression {self.text!r} lacks {wanted!r} before {self.tokens[:1]}")

    def end(self) -> None:
        if self.tokens:
            raise ValueError(f"the expression {self.text!r} goes on behind its end: {self.tokens}")


def _either(reader: _Reader) -> Test:
    left = _both(reader)
    while reader.takes("OR"):
        left = _or(left, _both(reader))
    return left


def _both(reader: _Reader) -> Test:
    left = _not(reader)
    while reader.takes("AND"):
        left = _and(left, _not(reader))
    return left


def _or(left: Test, right: Test) -> Test:
    return lambda item, scope: left(item, scope) or right(item, scope)


def _and(left: Test, right: Test) -> Test:
    return lambda item, scope: left(item, scope) and right(item, scope)


def _not(reader: _Reader) -> Test:
    if reader.takes("NOT"):
        inner = _not(reader)
        return lambda item, scope: not inner(item, scope)
    if reader.takes("("):
        test = _either(reader)
        reader.needs(")")
        return test
    return _simple(reader)


def _simple(reader: _Reader) -> Test:
    name = reader.next()
    if name in _FUNCTIONS:
        reader.needs("(")
        arguments = [_operand(reader.next())]
        while reader.takes(","):
            arguments.append(_operand(reader.next()))
        reader.needs(")")
        return _FUNCTIONS[name](*arguments)
    left = _operand(name)
    if reader.takes("BETWEEN"):
        low = _operand(reader.next())
        reader.needs("AND")
        return _and(_compared(left, ">=", low), _compared(left, "<=", _operand(reader.next())))
    sign = reader.next()
    if sign not in _COMPARE:
        raise ValueError(f"the expression {reader.text!r} has {sign!r} where a comparison belongs")
    return _compared(left, sign, _operand(reader.next()))


def _operand(token: str) -> Operand:
    if token.startswith(":"):
        return lambda _item, scope: scope.values[token]
    first, *rest = token.split(".")

    def follow(item: Item, scope: Scope) -> Value | None:
        value = item.get(scope.names.get(first, first))
        for name in rest:
            value = value.get("M", {}).get(scope.names.get(name, name)) if value else None
        return value

    return follow


def _compared(left: Operand, sign: str, right: Operand) -> Test:
    compare = _COMPARE[sign]

    def test(item: Item, scope: Scope) -> bool:
        one, other = left(item, scope), right(item, scope)
        if one is None or other is None or one.keys() != other.keys():
            return sign == "<>"
        return compare(comparable(one), comparable(other))

    return test


def _begins_with(value: Operand, prefix: Operand) -> Test:
    def test(item: Item, scope: Scope) -> bool:
        one, other = value(item, scope), prefix(item, scope)
        return one is not None and other is not None and "S" in one and one["S"].startswith(other["S"])

    return test


_FUNCTIONS: Final[Mapping[str, Callable[..., Test]]] = {
    "attribute_exists": lambda value: lambda item, scope: value(item, scope) is not None,
    "attribute_not_exists": lambda value: lambda item, scope: value(item, scope) is None,
    "begins_with": _begins_with,
}


# Update expressions

Change = Callable[[dict[str, Value], Item, Scope], None]
"""Changes the new item (first), by what the old one was (second)."""

_CLAUSES: Final = ("SET", "REMOVE", "ADD")


@cache
def update(text: str) -> tuple[Change, ...]:
    """Compile an update expression."""
    reader = _Reader(text)
    changes: list[Change] = []
    while reader.tokens:
        clause = reader.next().upper()
        if clause not in _CLAUSES:
            raise ValueError(f"the update {text!r} has {clause!r} where a clause belongs")
        read = {"SET": _set, "REMOVE": _remove, "ADD": _add}[clause]
        changes.append(read(reader))
        while reader.takes(","):
            changes.append(read(reader))
    return tuple(changes)


def _set(reader: _Reader) -> Change:
    name = reader.next()
    reader.needs("=")
    value = _sum(reader)

    def change(new: dict[str, Value], old: Item, scope: Scope) -> None:
        found = value(old, scope)
        if found is None:
            raise ValueError("an operand of the update is no attribute of the item")
        new[scope.names.get(name, name)] = found

    return change


def _sum(reader: _Reader) -> Operand:
    left = _term(reader)
    while reader.tokens and reader.tokens[0] in "+-":
        sign = 1 if reader.next() == "+" else -1
        left = _added(left, _term(reader), sign)
    return left


def _term(reader: _Reader) -> Operand:
    name = reader.next()
    if name != "if_not_exists":
        return _operand(name)
    reader.needs("(")
    value = _operand(reader.next())
    reader.needs(",")
    other = _operand(reader.next())
    reader.needs(")")
    return lambda item, scope: value(item, scope) or other(item, scope)


def _added(left: Operand, right: Operand, sign: int) -> Operand:
    def add(item: Item, scope: Scope) -> Value | None:
        one, other = left(item, scope), right(item, scope)
        if one is None or other is None:
            return None
        return {"N": str(int(one["N"]) + sign * int(other["N"]))}

    return add


def _remove(reader: _Reader) -> Change:
    name = reader.next()
    return lambda new, _old, scope: void(new.pop(scope.names.get(name, name), None))


def _add(reader: _Reader) -> Change:
    name = reader.next()
    value = _operand(reader.next())

    def change(new: dict[str, Value], old: Item, scope: Scope) -> None:
        attribute = scope.names.get(name, name)
        more = value(old, scope)
        assert more is not None
        new[attribute] = {"N": str(int(old.get(attribute, {"N": "0"})["N"]) + int(more["N"]))}

    return change


def void(_value: object) -> None:
    """Drop a value."""


# Key conditions


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The sort keys that a key condition asks for: from the first through the last that `fits`."""

    partition: str
    """The `:value` that the partition key equals."""
    low: str | None = None
    """The `:value` that the sort key isn't below."""
    high: str | None = None
    """The `:value` that it isn't above, where both are told: DynamoDB refuses one that is below `low`."""
    fits: Callable[[Any, Scope], bool] | None = None


_PARTITION: Final = re.compile(r"\s*(#?\w+)\s*=\s*(:\w+)\s*(?:AND\s+(.+))?", re.IGNORECASE | re.DOTALL)
_BETWEEN: Final = re.compile(r"#?\w+\s+BETWEEN\s+(:\w+)\s+AND\s+(:\w+)\s*", re.IGNORECASE)
_PREFIX: Final = re.compile(r"begins_with\s*\(\s*#?\w+\s*,\s*(:\w+)\s*\)\s*")
_SIGN: Final = re.compile(r"#?\w+\s*(<=|>=|=|<|>)\s*(:\w+)\s*")


@cache
def key_range(text: str) -> KeyRange:
    """Compile a key condition; its partition key comes first, as Keyturn writes it."""
    match = _PARTITION.fullmatch(text)
    if match is None:
        raise ValueError(f"can't read the key condition {text!r}")
    partition, rest = match[2], match[3]
    if rest is None:
        return KeyRange(partition)
    if between := _BETWEEN.fullmatch(rest):
        low, high = between.groups()
        return KeyRange(
            partition,
            low,
            high,
            lambda sk, scope: comparable(scope.values[low]) <= sk <= comparable(scope.values[high]),
        )
    if prefix := _PREFIX.fullmatch(rest):
        start = prefix[1]
        return KeyRange(partition, start, fits=lambda sk, scope: sk.startswith(scope.values[start]["S"]))
    if compared := _SIGN.fullmatch(rest):
        sign, value = compared.groups()
        compare = _COMPARE[sign]
        low_value = value if sign in {"=", ">", ">="} else None
        return KeyRange(partition, low_value, fits=lambda sk, scope: compare(sk, comparable(scope.values[value])))
    raise ValueError(f"can't read the key condition {text!r}")
