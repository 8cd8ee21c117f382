"""Runs MiniStack without its pauses (see `prompt_ministack`), and with queries that a long queue of a key hardly slows.

MiniStack 1.5.33 sorts the whole partition for a query and parses the condition anew for every item of it, on its only
thread: with a thousand items under a key, a query takes longer than everything else of a run. What a condition means
doesn't change between items, so it is parsed once. The usual one, a range of the sort key, is compared right away, and
is asked of what is in that range only. Whatever is out of the ordinary goes MiniStack's own way, errors among it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from types import FunctionType
from typing import Any, Final

from ministack import app
from ministack.core import lambda_runtime
from ministack.services import dynamodb, stepfunctions

from keyturn_local.forked import fork_functions
from keyturn_local.prompt_ministack import read_logs_at_once, start_at_once
from keyturn_local.settings import ENGINE_NAME
from keyturn_local.shared_layers import share_layers

_PARSED_MAX: Final = 1_000
_RANGE: Final = re.compile(r"(\w+) = (:\w+) AND (\w+) BETWEEN (:\w+) AND (:\w+)")
"""Of texts; both ends belong to it."""


def keep_parsed(module: Any) -> None:
    """Have a module's conditions parsed once each."""
    original: Callable[..., Any] = module._evaluate_condition
    parsed: dict[tuple[str, str], Any] = {}

    def evaluate(expr: str, item: Any, attr_values: Any, attr_names: Any, slot: str = "ConditionExpression") -> Any:
        try:
            in_range = _in_range(expr, item, attr_values)
            tokens = parsed.get((expr, slot))
            if in_range is not None:
                return in_range
            if tokens is not None:
                return module._ExprEval(list(tokens), item, attr_values, attr_names).evaluate()
        except Exception:  # noqa: BLE001 - MiniStack turns whatever it is into AWS's words
            return original(expr, item, attr_values, attr_names, slot)
        answer = original(expr, item, attr_values, attr_names, slot)
        if expr and expr.strip() and len(parsed) < _PARSED_MAX:
            parsed[expr, slot] = tuple(module._tokenize(expr))
        return answer

    module._evaluate_condition = evaluate


def _in_range(expr: str, item: Any, values: Any) -> bool | None:
    """Tell whether an item of a partition is in a range of texts; None when it isn't that which is asked."""
    names = _range_of(expr)
    if names is None:
        return None
    pk, pk_value, sk, low, high = names
    is_of_partition: bool = item[pk]["S"] == values[pk_value]["S"]
    return is_of_partition and bool(values[low]["S"] <= item[sk]["S"] <= values[high]["S"])


def narrow_queries(module: Any) -> None:
    """Have a module's queries look at those items of a partition only that are in the range that they ask for."""
    whole: Any = module._query

    def query(data: Mapping[str, Any]) -> Any:
        narrowed = _narrowed(module, data)
        if narrowed is None:
            return whole(data)
        tables = {module._normalize_table_name(data["TableName"]): narrowed}
        # The same function, but for what it takes for the tables: other threads and functions go on with the real ones.
        return FunctionType(whole.__code__, vars(module) | {"_tables": tables})(data)

    module._query = query


def _narrowed(module: Any, data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a query's table with what is in its range and nothing else; None when it asks for something else."""
    try:
        names = _range_of(data["KeyConditionExpression"])
        table = module._tables.get(module._normalize_table_name(data["TableName"]))
        if names is None or data.get("IndexName") or not table or (names[0], names[2]) != _text_keys(module, table):
            return None
        values = data["ExpressionAttributeValues"]
        wanted, low, high = (values[name]["S"] for name in (names[1], names[3], names[4]))
        partition = table["items"].get(wanted, {})
        in_range = {key: partition[key] for key in list(partition) if low <= key <= high}
    except (AttributeError, KeyError, TypeError):
        return None  # not as AWS would have it: MiniStack says what is wrong
    return {**table, "items": {wanted: in_range}}


def _text_keys(module: Any, table: Any) -> tuple[str, str] | None:
    """Return the names of a table's keys if both are texts: MiniStack keeps items by what is written there then."""
    pk, sk = table["pk_name"], table["sk_name"]
    are_texts = bool(sk) and module._get_attr_type(table, pk) == module._get_attr_type(table, sk) == "S"
    return (pk, sk) if are_texts else None


@cache
def _range_of(expr: str) -> tuple[str, ...] | None:
    found = _RANGE.fullmatch(expr or "")
    return found.groups() if found else None


def tell_its_name(module: Any, name: str) -> None:
    """Have a module's health request say which engine answers: another one may hold the port that ours was to have."""
    original: Callable[[str, str], Any] = module._handle_health_request

    def answer(path: str, request_id: str) -> Any:
        told = original(path, request_id)
        if told is None:
            return None
        status, headers, body = told
        return status, headers, json.dumps(json.loads(body) | {ENGINE_NAME: name}).encode()

    module._handle_health_request = answer


def main() -> None:
    """Run MiniStack until it is asked to end."""
    fork_functions(lambda_runtime)
    share_layers(lambda_runtime)
    keep_parsed(dynamodb)
    narrow_queries(dynamodb)
    start_at_once(stepfunctions)
    read_logs_at_once(lambda_runtime.Worker)
    tell_its_name(app, os.environ[ENGINE_NAME])
    app.main()
