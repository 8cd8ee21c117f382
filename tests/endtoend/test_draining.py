"""A long queue of one key, worked off by an execution that goes on."""

from __future__ import annotations

import json
import time
from typing import Final

from keyturn_cli.cost.metered import read_metered
from keyturn_cli.guarantees import violations

from keyturn.core.naming import key_hash
from tests.endtoend.stack import Stack

KEY: Final = "drained"
EVENTS: Final = 12


def cancelled(number: int) -> tuple[str, bytes]:
    """Write an event of an Express route that takes one at a time."""
    event = {"specversion": "1.0", "id": f"{KEY}/{number}", "source": "/draining", "type": "shop.order.cancelled"}
    data = {"order_id": KEY, "sequence": number, "reason": "changed their mind"}
    return KEY, json.dumps(event | {"data": data}).encode()


def executions(stack: Stack) -> list[str]:
    """Name the executions that were started for the key."""
    client = stack.target.client("stepfunctions")
    machine = stack.target.environment["STATE_MACHINE_PREFIX"] + "order-express"
    pages = client.get_paginator("list_executions").paginate(stateMachineArn=machine)
    return [one["name"] for page in pages for one in page["executions"] if key_hash(KEY) in one["name"]]


def test_a_queue_is_drained_by_one_execution(stack: Stack) -> None:
    """All events are done in order; few executions were started for many runs, and workers bound only those."""
    since_ms = time.time_ns() // 1_000_000
    puts = stack.put([cancelled(number) for number in range(EVENTS)])
    stack.until_done(KEY, EVENTS)
    assert violations(stack.facts(puts).history) == []
    assert stack.state(KEY).fence == EVENTS, "a run an event"
    started = len(executions(stack))
    assert started <= EVENTS // 3
    metered = read_metered(stack.target, since_ms, time.time_ns() // 1_000_000 + 1)
    (inventory,) = (function for function in metered.functions if function.name == "inventory")
    written = inventory.used[f"write {metered.state_table} key"]
    assert EVENTS // 2 < written <= EVENTS + started, "its results, and a binding for each start"
