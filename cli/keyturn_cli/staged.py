"""Lets a worker really run when it is invoked by hand: a worker refuses whatever isn't its key's current attempt.

A task from events/ is one of long ago. So it is given a key that nobody else uses, which is set running for just this
attempt and forgotten again behind the call, with the step results that it left.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

from keyturn.adapters.keys import KeyStore, partition
from keyturn.adapters.table import Table
from keyturn.core.positions import Position
from keyturn.core.route import Kind
from keyturn.core.state import KeyState, Phase, Run, Slice

_DEADLINE_IN_MS: Final = 3_600_000
"""Long enough for a debugger; the watchdog leaves the key alone until then."""


def is_task(event: Any) -> bool:
    """Whether an event is what a state machine hands to a worker."""
    return isinstance(event, dict) and {"step", "execution_id", "run", "events"} <= event.keys()


@contextmanager
def running(client: Any, variables: Mapping[str, str], task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the task as the current attempt of a key of its own. `variables` are its function's settings."""
    key, now_ms = f"invoke-{uuid4().hex[:12]}", time.time_ns() // 1_000_000
    deadline_ms = now_ms + _DEADLINE_IN_MS
    header = dict(task["run"]) | {"key": key, "deadline_ms": deadline_ms}
    table = Table(client, variables["STATE_TABLE"])
    keys = KeyStore(table, int(variables["INDEX_BUCKETS"]), int(variables["INDEX_ROUNDING_S"]) * 1000)
    keys.save(_state(header, str(task["execution_id"]), now_ms))
    try:
        yield dict(task) | {"run": header}
    finally:
        _forget(client, table.name, partition(key))


def _state(header: Mapping[str, Any], execution_id: str, now_ms: int) -> KeyState:
    part = Slice(
        first=Position(header["first"]),
        last=Position(header["last"]),
        count=header["count"],
        route=header["route"],
        arrived_at_ms=header["arrived_at_ms"],
        flow_id=header["flow_id"],
    )
    run = Run(
        slice=part,
        attempt=header["attempt"],
        workflow=header["workflow"],
        kind=Kind.EXPRESS,
        started_at_ms=now_ms,
        deadline_ms=header["deadline_ms"],
        execution_name=header["key"],
        execution_id=execution_id,
    )
    return KeyState(
        key=header["key"],
        phase=Phase.RUNNING,
        tail=part.last,
        admitted=part.count,
        fence=header["fence"],
        generation=header["generation"],
        run=run,
        pending_since_ms=part.arrived_at_ms,
    )


def _forget(client: Any, table: str, place: str) -> None:
    values = {":pk": {"S": place}}
    found = client.query(TableName=table, KeyConditionExpression="pk = :pk", ExpressionAttributeValues=values)
    for item in found["Items"]:
        client.delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})
