"""The engine's queries answer as MiniStack's own do, only sooner."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyturn_local.quick_ministack import keep_parsed
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
