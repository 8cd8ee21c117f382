"""Counts what a run on the engine used of AWS, by the product's meter, and prices it as `keyturn cost` does.

Keyturn's functions tell their usage when they are deployed with Metering=on; the baselines' do it under a handler of
the bench's (bench/counting).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from keyturn_cli.cost.bill import Model, bill
from keyturn_cli.cost.metered import Metered, NotMetered, read_metered
from keyturn_cli.planning.latencies import load_latencies
from keyturn_cli.target import Target

from bench.errors import NotWhole
from bench.measurement import Usage
from bench.workload import STEPS, Workload
from keyturn.adapters.price_list import REFERENCE_REGION, load_prices
from keyturn.core.prices import MILLION

COUNTING: Final = Path(__file__).resolve().parent / "counting"
_SOURCES: Final = COUNTING.parents[1] / "src"
_HANDLER: Final = "metered.handler"
_LOOK_EVERY_S: Final = 0.5
_TELLING_LIMIT_S: Final = 60.0
"""From the last effect to the last invocation's log line."""
_PATIENCE_S: Final = 5.0
_HELD_BACK_MAX: Final = 4
"""Log lines that may stay out: a busy engine hands a process's last one over with its next invocation."""


_TABLES: Final = ("LOCK_TABLE", "CHECKPOINT_TABLE")
"""Variables of the baselines' functions."""


def switch_on(target: Target, stack: str) -> Target:
    """Have a baseline's functions tell their usage from their next invocation on. Returns the target to read it from.

    What a baseline keeps is the table that a variable of its functions names, if it keeps anything.
    """
    client = target.client("lambda")
    tables: set[str] = set()
    for function in _functions(client, stack):
        variables = function["Environment"]["Variables"]
        metering = {"METERING": "on", "STACK_NAME": stack, "PYTHONPATH": f"{COUNTING}:{_SOURCES}"}
        client.update_function_configuration(
            FunctionName=function["FunctionName"],
            Handler=_HANDLER,
            Environment={"Variables": variables | metering},
        )
        tables |= {variables[name] for name in _TABLES if variables.get(name)}
    return replace(target, stack_name=stack, outputs=replace(target.outputs, state_table_name="".join(tables)))


def _functions(client: Any, stack: str) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator("list_functions").paginate():
        yield from (found for found in page["Functions"] if found["FunctionName"].startswith(f"{stack}-"))


def read_whole(target: Target, since_ms: int, events: int) -> Metered:
    """Read what so many events took since then, all of which had their effects. Raises NotWhole."""
    began_s = time.monotonic()
    while (found := _told(target, since_ms)) is None or (told := whole_events(found)) < events:
        waited_s = time.monotonic() - began_s
        if found is not None and told >= events - _HELD_BACK_MAX and waited_s > _PATIENCE_S:
            break
        if waited_s > _TELLING_LIMIT_S:
            raise NotWhole(
                f"{target.stack_name}: {_TELLING_LIMIT_S:.0f} s after the last effect the logs tell of"
                f" {whole_events(found) if found else 0} of {events} events. Count again on a quieter machine: --only"
            )
        time.sleep(_LOOK_EVERY_S)
    return found


def _told(target: Target, since_ms: int) -> Metered | None:
    try:
        return read_metered(target, since_ms, until_ms=time.time_ns() // 1_000_000)
    except NotMetered:
        return None


def whole_events(metered: Metered) -> int:
    """Tell how many events are certain to be all there: read by the dispatcher, and done by whoever comes last.

    In Keyturn that is the sequencer, which counts what it finishes; in a baseline, any of the workers.
    """
    done = {one.name: one.invocations for one in metered.functions}
    last = metered.events if "sequencer" in done else min(done.get(step, 0) for step in STEPS)
    return min(round(metered.counted("Records")), last)


def usage(contender: str, workload: Workload, metered: Metered, *, workflow_writes: float = 0.0) -> Usage:
    """Tell what an event took. `workflow_writes` are an event's write units that no function made."""
    prices = load_prices(REFERENCE_REGION)
    model = Model(load_latencies(), step_ms=0.0, architecture="x86_64")  # nothing modelled is told
    made = bill(metered, prices, model, events=workload.all_events)
    counted = sum(line.usd_per_million for line in made.lines if line.is_counted)
    return Usage(
        contender=contender,
        workload=workload.name,
        events=workload.events,
        keys=workload.keys,
        write_units=sum(map(made.amount, of_table("writes"))) + workflow_writes,
        read_units=sum(map(made.amount, of_table("reads"))),
        transitions=made.amount("Standard transitions"),
        express_starts=made.amount("Express starts"),
        invocations=made.amount("Lambda requests"),
        log_bytes=made.amount("log bytes"),
        dollars_per_million=counted + workflow_writes * prices.dynamodb_write_unit * MILLION,
    )


def of_table(kind: str) -> tuple[str, str]:
    """Name the items of a bill that tell the table's reads or writes: an event's own, and what all keys share."""
    return f"DynamoDB {kind}", f"DynamoDB {kind}, slots and controls"
