"""Drills about what the system stands on: shards, the watchdog, the engine itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from keyturn_local.background import restart
from keyturn_local.engine import keeps_state

from keyturn.core.state import KeyState, WaitsFor
from keyturn_cli.drills.drill import Drill, NotHere
from keyturn_cli.drills.events import cancelled, paid, tracked
from keyturn_cli.drills.executions import execution_of, started_for
from keyturn_cli.drills.ground import Ask, Ground
from keyturn_cli.drills.standing import function_name, open_shards, schedule, schedules
from keyturn_cli.facts import Facts
from keyturn_cli.report import Check

_KEYS: Final = 10
_EVENTS: Final = 3
_IN_FLIGHT: Final = 3
_BOTH: Final = 2
_ACTIVE_S: Final = 120
_SCHEDULE_FIELDS: Final = ("Name", "GroupName", "ScheduleExpression", "FlexibleTimeWindow", "Target", "Description")


def _reshard(ground: Ground) -> None:
    """Split a shard and merge its children again, with records before, between and after."""
    aws, stream = ground.target.client("kinesis"), ground.target.outputs.stream_name
    about = aws.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    if about.get("StreamModeDetails", {}).get("StreamMode") == "ON_DEMAND":
        raise NotHere("its stream scales on demand: nobody may split its shards")
    keys = [ground.key(number) for number in range(_KEYS)]
    _put_on_all(ground, keys, 0)
    parent = max(open_shards(ground.target), key=_width)
    aws.split_shard(StreamName=stream, ShardToSplit=parent["ShardId"], NewStartingHashKey=str(_middle(parent)))
    children = ground.until("the children are open", lambda: _children_of(ground, parent["ShardId"]), _ACTIVE_S)
    _put_on_all(ground, keys, 5)
    aws.merge_shards(StreamName=stream, ShardToMerge=children[0], AdjacentShardToMerge=children[1])
    ground.until("they are merged", lambda: _children_of(ground, children[0]), _ACTIVE_S)
    _put_on_all(ground, keys, 10)
    shards = {put.shard_id for put in ground.puts}
    ground.see(
        f"{parent['ShardId']} split into {' and '.join(children)}, merged again; records in {len(shards)} shards"
    )


def _put_on_all(ground: Ground, keys: Sequence[str], first: int) -> None:
    """Put five events of each key; an emulator drops a shard's unread records with it, so let them be read there."""
    ground.put(*(Ask(key, tracked(key, number)) for number in range(first, first + 5) for key in keys))
    if ground.target.options.get("endpoint_url"):
        ground.until("they are read", lambda: all(ground.store.states([k])[k].admitted == first + 5 for k in keys))


def _width(shard: Mapping[str, Any]) -> int:
    limits = shard["HashKeyRange"]
    return int(limits["EndingHashKey"]) - int(limits["StartingHashKey"])


def _middle(shard: Mapping[str, Any]) -> int:
    return int(shard["HashKeyRange"]["StartingHashKey"]) + _width(shard) // 2


def _children_of(ground: Ground, shard_id: str) -> list[str]:
    """The open children of a shard, once the stream is active again."""
    aws, stream = ground.target.client("kinesis"), ground.target.outputs.stream_name
    if aws.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamStatus"] != "ACTIVE":
        return []
    return sorted(
        shard["ShardId"]
        for shard in open_shards(ground.target)
        if shard_id in {shard.get("ParentShardId"), shard.get("AdjacentParentShardId")}
    )


@contextmanager
def _watchdog_off(ground: Ground) -> Iterator[None]:
    """Nobody calls the watchdog: no schedule, no wake-up message, no drill."""
    scheduler, aws = ground.target.client("scheduler"), ground.target.client("lambda")
    watchdog = function_name(ground.target, "watchdog")
    names = [name for name in schedules(ground.target) if _calls(ground, name, watchdog)]
    mappings = aws.list_event_source_mappings(FunctionName=watchdog)["EventSourceMappings"]
    with ground.watchdog.away():
        try:
            for name in names:
                scheduler.update_schedule(**_kept(schedule(ground.target, name)), State="DISABLED")
            for mapping in mappings:
                aws.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
            yield
        finally:
            for name in names:
                scheduler.update_schedule(**_kept(schedule(ground.target, name)), State="ENABLED")
            for mapping in mappings:
                aws.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


def _calls(ground: Ground, name: str, function: str) -> bool:
    return f":function:{function}" in schedule(ground.target, name)["Target"]["Arn"]


def _kept(found: Mapping[str, Any]) -> dict[str, Any]:
    """What an update of a schedule must repeat, or it is lost."""
    return {field: found[field] for field in _SCHEDULE_FIELDS if field in found}


def _send_watchdog_away(ground: Ground) -> None:
    """Let keys run without a watchdog, one of them needing it; then let it come back."""
    sick, keys = ground.key(0), [ground.key(number) for number in range(1, 13)]
    with _watchdog_off(ground):
        ground.put(
            *(Ask(sick, cancelled(sick, number, **({} if number else {"inventory": "hang"}))) for number in range(2))
        )
        ground.put(*(Ask(key, paid(key, number)) for number in range(2) for key in keys))
        ground.until("the others are through", lambda: not _busy(ground, keys), limit_s=90)
        overdue = ground.until("the one that hung is overdue and still waits", lambda: _overdue(ground.state()))
        done = sum(state.finished == _BOTH for state in ground.store.states(keys).values())
        ground.see(f"{done} of {len(keys)} keys done without a watchdog; one waits, {overdue} ms past its time")


def _busy(ground: Ground, keys: Sequence[str]) -> list[str]:
    """Keys that are neither done nor in need of a watchdog: on a busy machine a step may time out by itself."""
    states = ground.store.states(keys).values()
    return [state.key for state in states if state.finished < _BOTH and not _overdue(state)]


def _overdue(state: KeyState) -> int:
    """How many milliseconds ago a waiting key might have gone on; 0 if it doesn't wait or its time hasn't come."""
    late_ms = time.time_ns() // 1_000_000 - state.not_before_ms
    return late_ms if state.waits_for is WaitsFor.TIME and late_ms > 1_000 else 0


def _it_made_up(ground: Ground, _facts: Facts) -> Sequence[Check]:
    attempts = ground.attempts()
    told = f"attempts of the key that hung: {'; '.join(attempts)}; then done"
    return [Check("the watchdog makes up for it", bool(attempts), (told,))]


def _restart(ground: Ground) -> None:
    """Restart the engine while runs are in flight; tell the watchdog which executions that has cost."""
    if not keeps_state(ground.settings):
        raise NotHere("its engine keeps no state: start one with keyturn up")
    keys = range(_KEYS)
    ground.put(*(Ask(ground.key(n), paid(ground.key(n), 0, payment="slow")) for n in keys))
    ground.put(*(Ask(ground.key(n), paid(ground.key(n), number)) for number in range(1, _EVENTS) for n in keys))
    ground.until("runs are in flight", lambda: sum(bool(execution_of(ground, n)) for n in keys) >= _IN_FLIGHT)
    with ground.watchdog.away():
        restart(ground.settings, ground.target.outputs.dispatcher_function_name)
    lost = [one for n in keys if (one := started_for(ground, n)) is not None and one.status == "FAILED"]
    for execution in lost:
        execution.tell_status("FAILED")
    ground.notes["lost"] = len(lost)
    done = sum(state.finished for state in ground.store.states([ground.key(n) for n in keys]).values())
    ground.see(f"engine restarted with {done} of {_EVENTS * _KEYS} events done; {len(lost)} executions failed by it")


def _cost_executions(ground: Ground, facts: Facts) -> Sequence[Check]:
    fences = sum(state.fence for state in facts.states.values())
    told = f"{ground.notes['lost']} executions lost in flight; {fences} attempts for {_EVENTS * _KEYS} events"
    return [Check("it hit runs in flight", ground.notes["lost"] > 0, (told,))]


ENGINE_RESTART: Final = Drill(
    name="engine-restart",
    does="Restarts the whole engine while runs are in flight: all processes and executions end, what was stored stays.",
    promises="Every run that was cut off gets a new attempt, in its turn; nothing is lost.",
    inject=_restart,
    checks=_cost_executions,
    limit_s=300,
    local_only="AWS can't be restarted",
)
RESHARD: Final = Drill(
    name="reshard",
    does="Splits a shard and merges its children again, with records of the same keys before, between and after.",
    promises="A key's events of three generations of shards are done in order, none is lost.",
    inject=_reshard,
    limit_s=180,
)
WATCHDOG_OFF: Final = Drill(
    name="watchdog-off",
    does="Switches the watchdog's schedule and wake-up messages off, lets keys run, one of them hang; then on again.",
    promises="Without faults nobody needs it, the faulty key waits; once it is back it makes up for all.",
    inject=_send_watchdog_away,
    checks=_it_made_up,
    limit_s=120,
    local_only="other keys would be without a watchdog, too",
)
