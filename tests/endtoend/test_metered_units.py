"""What `keyturn plan` takes an event to cost is what the meter counts in a running stack, at small scale."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Final

import pytest
from keyturn_cli.cost.metered import Function, Metered, read_metered
from keyturn_cli.planning.units import Shape, units_of
from keyturn_cli.planning.workload import Kind

from tests.endtoend.stack import Stack

ROUNDS: Final = 2
KEYS: Final = 3
"""At once: as many as may be in flight locally, so that none waits for a slot."""
READS_MAX: Final = 5
BUDGET: Final = json.loads((Path(__file__).parents[1] / "shell" / "budget.json").read_text(encoding="utf-8"))
WORKERS: Final = ("inventory", "payment", "notification")


def cancelled(key: str) -> tuple[str, bytes]:
    """Write an event of an Express route with three steps, which takes one at a time."""
    event = {"specversion": "1.0", "id": f"{key}/0", "source": "/metered", "type": "shop.order.cancelled"}
    data = {"order_id": key, "sequence": 0, "reason": "changed their mind"}
    return key, json.dumps(event | {"data": data}).encode()


def test_each_function_takes_what_a_plan_says_of_it(stack: Stack) -> None:
    """Cold events of an Express workflow. A busy machine may let attempts fail, so each function is held to its own."""
    since_ms = time.time_ns() // 1_000_000
    records = [[cancelled(f"metered-{turn}-{number}") for number in range(KEYS)] for turn in range(ROUNDS)]
    for few in records:
        stack.follow(stack.put(few))
    # what an invocation counted appears a moment after its answer
    stack.until(lambda: counted_records(metered_since(stack, since_ms)) == ROUNDS * KEYS)
    metered = metered_since(stack, since_ms)
    functions = {function.name: function for function in metered.functions}
    dispatcher, sequencer = functions["dispatcher"], functions["sequencer"]
    foreseen = units_of(Shape(Kind.EXPRESS, len(WORKERS), len(records[0][0][1]), records=1e9, binds_lost=0))
    events = ROUNDS * KEYS
    assert dispatcher.counted("Records") == events
    # Index entry out, bind, steps, finish: the others'. Steps: theirs.
    written, read = foreseen.write_units - 3 - len(WORKERS), foreseen.read_units - len(WORKERS)
    assert of_keys(metered, dispatcher, "write") / events == pytest.approx(written, rel=0.1)
    assert of_keys(metered, dispatcher, "read") / events == pytest.approx(read, rel=0.1)
    for name in WORKERS:
        # More than one only while they wait for the one that binds.
        assert 1 <= of_keys(metered, functions[name], "read") / functions[name].invocations <= READS_MAX
    assert of_keys(metered, sequencer, "read") < sequencer.invocations, "most are handed the state"
    lost = sum(of_keys(metered, functions[name], "refused") for name in WORKERS)
    assert lost <= metered.runs * (len(WORKERS) - 1)
    logged = sum(functions[name].log_bytes for name in ("dispatcher", "sequencer"))
    assert logged / events <= BUDGET["cold-strict"]["log_bytes"]


def metered_since(stack: Stack, since_ms: int) -> Metered:
    return read_metered(stack.target, since_ms, time.time_ns() // 1_000_000 + 1)


def counted_records(metered: Metered) -> float:
    """Records that the dispatcher has counted."""
    return sum(function.counted("Records") for function in metered.functions if function.name == "dispatcher")


def of_keys(metered: Metered, function: Function, what: str) -> float:
    """Units that a function took of keys' own items."""
    return function.used.get(f"{what} {metered.state_table} key", 0.0)
