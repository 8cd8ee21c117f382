"""The engine's queries answer as MiniStack's own do, only sooner."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyturn_local.quick_ministack import keep_parsed, narrow_queries
from ministack.services import dynamodb

TEXTS = st.text("ab#~", max_size=4)
CONDITIONS = (
    "pk = :pk AND sk BETWEEN :low AND :high",
    "pk = :pk AND sk > :low",
    "pk = :pk AND begins_with(sk, :low)",
    "pk = :pk",
    "attribute_not_exists(pk) OR sk = :low",
)


def quick() -> Any:
    """MiniStack's functions with the change, and nobody else's."""
    module = SimpleNamespace(
        _evaluate_condition=dynamodb._evaluate_condition, _ExprEval=dynamodb._ExprEval, _tokenize=dynamodb._tokenize
    )
    keep_parsed(module)
    return module._evaluate_condition


QUICK = quick()


@given(st.sampled_from(CONDITIONS), TEXTS, TEXTS, TEXTS, TEXTS, TEXTS)
def test_a_condition_holds_for_the_items_that_ministack_finds(
    condition: str, pk: str, sk: str, wanted: str, low: str, high: str
) -> None:
    """Whatever stands in the partition, and however often it was asked before."""
    item = {"pk": {"S": pk}, "sk": {"S": sk}}
    values = {":pk": {"S": wanted}, ":low": {"S": min(low, high)}, ":high": {"S": max(low, high)}}
    slot = "ConditionExpression" if "attribute" in condition else "KeyConditionExpression"
    found = QUICK(condition, item, values, {}, slot)
    assert bool(found) == bool(dynamodb._evaluate_condition(condition, item, values, {}, slot=slot))


@pytest.mark.parametrize("condition", ["pk = :pk AND", "pk = :nothing", "((pk = :pk))"])
def test_what_ministack_refuses_is_refused_in_its_words(condition: str) -> None:
    """At the first time and the second."""
    item, values = {"pk": {"S": "a"}, "sk": {"S": "b"}}, {":pk": {"S": "a"}}
    said = []
    for evaluate in (dynamodb._evaluate_condition, QUICK, QUICK):
        try:
            said.append(str(evaluate(condition, item, values, {}, "KeyConditionExpression")))
        except ValueError as error:
            said.append(str(error))
    assert said[1:] == said[:1] * 2


TABLE = "narrowed"
SORT_KEYS = ("10", "9", "a", "ab", "b", "b#", "ba", "~")


@pytest.fixture(scope="module", autouse=True)
def filled() -> Iterator[None]:
    """A table with two partitions, and a number in place of the text in a third table's sort key."""
    for name, kind in ((TABLE, "S"), ("numbered", "N")):
        created = dynamodb._create_table(
            {
                "TableName": name,
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
                "AttributeDefinitions": [
                    {"AttributeName": "pk", "AttributeType": "S"},
                    {"AttributeName": "sk", "AttributeType": kind},
                ],
                "BillingMode": "PAY_PER_REQUEST",
            }
        )
        assert created[0] == 200, created
    for pk in ("a", "b"):
        for sk in SORT_KEYS:
            key = {"pk": {"S": pk}, "sk": {"S": sk}}
            dynamodb._put_item({"TableName": TABLE, "Item": {**key, "what": {"S": pk + sk}}})
    for number in ("9", "10"):
        dynamodb._put_item({"TableName": "numbered", "Item": {"pk": {"S": "a"}, "sk": {"N": number}}})
    yield
    for name in (TABLE, "numbered"):
        dynamodb._delete_table({"TableName": name})


def narrow() -> Any:
    """MiniStack's query with the change, and nobody else's."""
    module = SimpleNamespace(**vars(dynamodb))
    narrow_queries(module)
    return module._query


NARROW = narrow()
OPTIONS: list[dict[str, Any]] = [
    {},
    {"Limit": 2},
    {"Limit": 2, "ExclusiveStartKey": {"pk": {"S": "a"}, "sk": {"S": "ab"}}},
    {"ScanIndexForward": False, "ConsistentRead": True},
    {"Select": "COUNT", "ReturnConsumedCapacity": "TOTAL"},
    {"ProjectionExpression": "what"},
    {"FilterExpression": "what <> :low"},
    {"IndexName": "none"},
]
ODD = st.sampled_from([{"S": ""}, {"S": "b"}, {"N": "9"}, {"S": 1}, "a", None])


@given(
    st.sampled_from(["a", "b", "c"]), st.sampled_from(SORT_KEYS), st.sampled_from(SORT_KEYS), st.sampled_from(OPTIONS)
)
def test_a_range_holds_what_ministack_finds_in_it(pk: str, one: str, other: str, options: dict[str, Any]) -> None:
    """Items, order, pages and what is counted, both ends among them."""
    values = {":pk": {"S": pk}, ":low": {"S": min(one, other)}, ":high": {"S": max(one, other)}}
    asked = {"TableName": TABLE, "KeyConditionExpression": CONDITIONS[0], "ExpressionAttributeValues": values}
    assert NARROW(asked | options)[::2] == dynamodb._query(asked | options)[::2]


@given(
    st.sampled_from([*CONDITIONS[:4], "sk = :pk AND pk BETWEEN :low AND :high"]),
    st.sampled_from([TABLE, "numbered", "missing"]),
    st.lists(ODD, max_size=3),
)
def test_a_query_that_is_odd_is_answered_as_ministack_does(condition: str, table: str, values: list[Any]) -> None:
    """Errors among it, in its words."""
    named = dict(zip((":pk", ":low", ":high"), values, strict=False))
    asked = {"TableName": table, "KeyConditionExpression": condition, "ExpressionAttributeValues": named}
    assert answered(NARROW, asked) == answered(dynamodb._query, asked)


def answered(query: Any, asked: dict[str, Any]) -> Any:
    """Status and body, or what it raises."""
    try:
        return query(asked)[::2]
    except (AttributeError, TypeError) as error:
        return str(error)
