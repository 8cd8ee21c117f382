"""A route of kind nested: each run is a Standard execution around an Express one."""

from __future__ import annotations

import json
from typing import Any, Final

from keyturn_cli.guarantees import violations

from keyturn.core.naming import key_hash
from keyturn.core.state import Phase
from tests.endtoend.stack import Stack

KEY: Final = "refunded"
EVENTS: Final = 3
FAILING: Final = "refunded-in-vain"


def refunded(key: str, number: int, **demo: str) -> tuple[str, bytes]:
    """Write an event of the nested route."""
    event = {"specversion": "1.0", "id": f"{key}/{number}", "source": "/nested", "type": "shop.order.refunded"}
    data = {"order_id": key, "sequence": number, "amount_cents": 5, **({"demo": demo} if demo else {})}
    return key, json.dumps(event | {"data": data}).encode()


def executions(stack: Stack, key: str, kind: str) -> list[dict[str, Any]]:
    """Return what was started for a key."""
    client = stack.target.client("stepfunctions")
    machine = f"{stack.target.environment['STATE_MACHINE_PREFIX']}order-{kind}"
    pages = client.get_paginator("list_executions").paginate(stateMachineArn=machine)
    return [dict(one) for page in pages for one in page["executions"] if key_hash(key) in one["name"]]


def test_each_run_has_a_history_of_one_transition(stack: Stack) -> None:
    """In order, once each, by an Express execution of the same name inside."""
    puts = stack.put([refunded(KEY, number) for number in range(EVENTS)])
    stack.until_done(KEY, EVENTS)
    assert violations(stack.facts(puts).history) == []
    around = executions(stack, KEY, "nested")
    assert len(around) == EVENTS
    client = stack.target.client("stepfunctions")
    for execution in around:
        # the last one's run is finished a moment before it is
        arn = execution["executionArn"]
        stack.until(lambda arn=arn: client.describe_execution(executionArn=arn)["status"] == "SUCCEEDED")  # type: ignore[misc]
        events = client.get_execution_history(executionArn=arn)["events"]
        entered = [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]
        assert entered == ["Run"]
    assert {one["name"] for one in executions(stack, KEY, "express")} == {one["name"] for one in around}


def test_a_worker_that_fails_for_good_parks_the_key_with_its_reason(stack: Stack) -> None:
    """The sequencer inside reports it, as on any kind."""
    stack.put([refunded(FAILING, 0, payment="permanent")])
    stack.until(lambda: stack.state(FAILING).phase is Phase.PARKED, lambda: stack.state(FAILING))
    parked = stack.state(FAILING).parked
    assert parked is not None
    assert "payment" in parked.reason
