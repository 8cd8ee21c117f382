"""Items of an older or newer version: what is new to this one is passed over, what it can't know is said.

What must hold of every kind of item: attributes that this version doesn't know are passed over; one that older
versions didn't write has a default; one that every version writes, or a value that this one doesn't know, is our own
error, which leaves the work for a version that does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.adapters import controls, log, replays, rollouts
from keyturn.adapters.keys import decode_state, encode_state
from keyturn.adapters.table import decode_item, encode_item
from keyturn.core.breaker import Breaker, BreakerPhase, Failure, Probe
from keyturn.core.log_entry import LogEntry, PayloadReference
from keyturn.core.positions import position
from keyturn.core.replay_job import ACTIVE, JobState
from keyturn.core.replay_plan import Fate
from keyturn.core.rollout import Canary, CanaryRules, Recovery, Rollout
from keyturn.core.route_hold import RouteHold
from keyturn.core.state import Hold, Parked, Phase, Replay, Span
from keyturn.errors import StoreError, Unreadable
from keyturn.shell.sweep import sweep
from tests.adapters.test_replays import JOB, PLANNED
from tests.core import states
from tests.hostile.effort import looking
from tests.hostile.junk import Place, altered, places, without
from tests.shell.world import World

AT = position(1, "1")


@dataclass(frozen=True)
class Kind:
    """One kind of item."""

    item: Mapping[str, Any]
    """A whole one."""
    read: Callable[[Mapping[str, Any]], Any]
    required: frozenset[str]
    """Dotted names of what every version writes."""
    enums: tuple[str, ...] = ()


def kind(made: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Any], required: str, *enums: str) -> Kind:
    return Kind(decode_item(encode_item(made)), read, frozenset(required.split()), enums)


RUN = "run.first run.last run.count run.route run.arrived_at_ms run.flow_id run.attempt run.workflow run.kind"
RUNNING = replace(
    states.bound(),
    hold=Hold(1, "sam", "why"),
    replay=Replay("r", 1, 2, (Span(AT, AT),), AT, is_noted=True),
    generation=2,
    held_route="r",
)
PARKED = replace(states.parked(), parked=Parked(1, "why", diverts=True))
BREAKER = Breaker(
    "b", 1, BreakerPhase.PROBING, (Failure("h", 1),), 1, 1, 1, 1, Probe("k", 1), ("r",),
)  # fmt: skip
ROLLOUT = Rollout(
    1, 2, {1: {"order-standard": 1}}, (1,), 1, Canary(2, 500, 1, CanaryRules()), (1,), (Recovery(1, 1, 1, 1),), {1: 3}
)
KINDS = {
    "running key": kind(
        encode_state(RUNNING),
        lambda item: decode_state("k", item),
        f"version phase admitted finished fence run {RUN} run.started_at_ms run.deadline_ms run.execution_name"
        " hold.at_ms hold.by hold.reason replay.id replay.at_ms replay.spans",
        "phase",
        "run.kind",
    ),
    "waiting key": kind(
        encode_state(states.waiting_for_slot()),
        lambda item: decode_state("k", item),
        "version phase admitted finished fence",
        "phase",
        "waits_for",
    ),
    "parked key": kind(
        encode_state(replace(PARKED, run=None)),
        lambda item: decode_state("k", item),
        "version phase admitted finished fence parked parked.at_ms parked.reason",
        "phase",
    ),
    "event": kind(
        log._encode("k", LogEntry(AT, "t", "f", 1, b"{}")), log._decode, "sk type flow_id arrived_at_ms event"
    ),
    "large event": kind(
        log._encode("k", LogEntry(AT, "t", "f", 1, PayloadReference("o", 1, "d"))),
        log._decode,
        "sk type flow_id arrived_at_ms payload payload.object payload.bytes payload.sha256",
    ),
    "replay": kind(
        replays._encode_job(replace(JOB, cancelled=JOB.applied)),
        lambda item: replays._decode_job("r", item),
        "state source selection selection.outcome is_new_generation rate asked asked.by asked.reason asked.at_ms"
        " applied.by applied.reason applied.at_ms cancelled.by cancelled.reason cancelled.at_ms searched found tally"
        " counts passing executions revision updated_at_ms",
        "state",
        "source",
        "selection.outcome",
    ),
    "replayed key": kind(
        replays._encode_key(JOB, PLANNED), replays._decode_key, "key fate chunks tally", "fate"
    ),
    "hold": kind(
        controls._encode_hold(RouteHold("r", True, "sam", "why", 1, ("r",))),
        controls._decode_hold,
        "route is_held by reason at_ms",
    ),
    "ramp": kind(
        {"sk": "ramp#r", "route": "r", "since_ms": 1, "keys": 1, "next_at_ms": 1},
        controls._decode_ramp,
        "route since_ms keys next_at_ms",
    ),
    "releases": kind(
        rollouts.encode_rollout(ROLLOUT),
        rollouts.decode_rollout,
        "version last machines stables stable_since_ms rolled_back recoveries canary.number"
        " canary.share canary.since_ms canary.rules canary.rules.ended_min canary.rules.failed_percent"
        " canary.rules.promote_after_runs"
        " canary.rules.promote_after_ms",
    ),
    "breaker": kind(
        controls._encode_breaker(BREAKER),
        controls._decode_breaker,
        "name version phase failures opened_at_ms closed_at_ms wait_ms probe_at_ms probe.key probe.until_ms",
        "phase",
    ),
}  # fmt: skip
each_kind = pytest.mark.parametrize("name", KINDS)


def attributes(item: Mapping[str, Any]) -> list[Place]:
    """Every attribute of an item and of the maps in it; positions in lists left out, what maps hold is data."""
    return [place for place in places(dict(item)) if place and all(isinstance(part, str) for part in place)]


def dotted(place: Place) -> str:
    return ".".join(map(str, place))


def removed(item: Mapping[str, Any], place: Place) -> dict[str, Any]:
    name = str(place[0])
    if len(place) == 1:
        return without(item, name)
    return {**item, name: removed(item[name], place[1:])}


def replaced(item: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    outer, _, inner = name.partition(".")
    return {**item, outer: replaced(item[outer], inner, value) if inner else value}


@each_kind
def test_what_every_version_writes_must_be_there(name: str) -> None:
    """Without it the item is unreadable; whatever else is missing has a default."""
    one = KINDS[name]
    one.read(one.item)
    for place in attributes(one.item):
        short = removed(one.item, place)
        if dotted(place) in one.required:
            with pytest.raises(Unreadable):
                one.read(short)
        else:
            one.read(short)


@each_kind
def test_a_value_that_this_version_does_not_know_is_said(name: str) -> None:
    """A phase or an outcome of a later version is no crash, and is never taken for another one."""
    for enum in KINDS[name].enums:
        with pytest.raises(Unreadable, match="another version"):
            KINDS[name].read(replaced(KINDS[name].item, enum, "later"))


LATER = {"S": "x"}, {"N": "1.5"}, {"NULL": True}, {"SS": ["a"]}, {"NS": ["1"]}, {"M": {"a": {"L": [{"NULL": True}]}}}


@each_kind
@pytest.mark.parametrize("later", LATER, ids=lambda value: next(iter(value)))
def test_attributes_of_a_later_version_are_passed_over(name: str, later: dict[str, Any]) -> None:
    """Of any type that DynamoDB has, at the top and in each map that is no table of names."""
    one = KINDS[name]
    raw = encode_item(one.item)
    for inside in ("run", "parked", "hold", "replay", "asked", "applied", "tally", "probe", "payload"):
        if "M" in raw.get(inside, {}):
            raw[inside] = {"M": raw[inside]["M"] | {"later": later}}
    assert one.read(decode_item(raw | {"later": later})) == one.read(one.item)


def test_a_condition_of_a_later_version_is_never_passed_over() -> None:
    """A replay that dropped one would run more events again than somebody asked for."""
    one = KINDS["replay"]
    with pytest.raises(Unreadable):
        one.read(replaced(one.item, "selection.later", "x"))


@looking(400)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_any_item_is_read_or_unreadable(name: str, data: st.DataObject) -> None:
    """No other error leaves a store."""
    item = data.draw(altered(dict(KINDS[name].item)))
    with suppress(Unreadable):
        KINDS[name].read(item if isinstance(item, dict) else {"later": item})


# What the functions do with them


def with_an_unreadable_key() -> World:
    """A world with a key that was waiting and is in a phase of tomorrow, and one that waits too."""
    world = World(max_in_flight_runs=0)
    for key in ("of tomorrow", "fine"):
        world.put(key)
    world.deliver()
    item = next(one for one in world.items("key#of tomorrow", "state"))
    later = encode_item(item | {"phase": "hibernating"})
    world.dynamodb.put_item(TableName=world.settings.state_table, Item=later)
    return world


def test_an_unreadable_key_holds_no_other_up() -> None:
    """The watchdog mends the others, the sweeper renews them, and both say what they left."""
    world = with_an_unreadable_key()
    world.platform = replace(
        world.platform,
        settings=replace(world.settings, max_in_flight_runs=3),
        capacity=replace(world.platform.capacity, max_in_flight_runs=3),
    )
    world.now_ms += 60_000
    assert world.watch() is not None
    assert world.state("fine").phase is Phase.RUNNING
    assert sweep(world.platform, lambda: True)["failed"] == 1
    with pytest.raises(Unreadable, match="deploy that version"):
        world.state("of tomorrow")


def test_the_stream_waits_for_a_version_that_can_read_its_key() -> None:
    """Events behind an unreadable key are delivered again, not lost; the other keys of their batch go on."""
    world = with_an_unreadable_key()
    world.put("of tomorrow")
    place = world.put("fine")
    assert world.deliver() is False
    assert world.checkpoint == 2
    assert world.state("fine").tail == place


def test_an_unreadable_hold_is_not_taken_for_none() -> None:
    """Nothing starts until a version reads it."""
    world = World()
    hold = {**KINDS["hold"].item, "sk": "hold#everything"}
    world.dynamodb.put_item(TableName=world.settings.state_table, Item=encode_item(without(hold, "is_held")))
    with pytest.raises(StoreError):
        world.platform.controls.read()


def test_a_control_of_a_later_kind_is_passed_over() -> None:
    """Its name tells that it is none of ours."""
    assert controls.standing_of([{"pk": "control", "sk": "quota#everything", "limit": 5}]) == controls.Standing()


@looking(60)
@given(st.data())
def test_functions_meet_any_stored_key_with_our_own_errors(data: st.DataObject) -> None:
    """Whatever attributes the key state lacks or has besides: dispatcher, watchdog and sweeper don't crash."""
    world = World()
    world.put("k")
    world.put("k")
    world.deliver()
    item = dict(world.items("key#k", "state")[0])
    removable = sorted(set(map(dotted, attributes(item))) - {"pk", "sk"})
    for name in data.draw(st.lists(st.sampled_from(removable), max_size=2, unique=True)):
        outer, _, inner = name.partition(".")
        inside = item.get(outer) if inner else item
        if isinstance(inside, dict):
            inside.pop(inner or outer, None)
    item |= data.draw(
        st.dictionaries(st.sampled_from(("later", "phase")), st.sampled_from(("later", 1, "idle", "parked")))
    )
    world.dynamodb.put_item(TableName=world.settings.state_table, Item=encode_item(item))
    world.put("k")
    world.deliver()
    world.now_ms += 120_000
    world.watch()


@pytest.mark.parametrize("result", ["", "{", '{"a":', "[" * 5])
def test_a_step_result_that_is_no_json_is_said(result: str) -> None:
    """Not taken for none: the step would run again."""
    world = World()
    world.put("k")
    world.deliver()
    execution = world.live()[0]
    world.work(execution, "inventory")
    item = world.items("key#k", "result#")[0]
    world.dynamodb.put_item(TableName=world.settings.state_table, Item=encode_item(item | {"result": result}))
    assert "Unreadable" in json.dumps(world.work(execution, "inventory"))


def test_an_unreadable_key_holds_up_no_replay_of_others() -> None:
    """It is refused in the plan, with why; the others are planned and run."""
    world = World()
    for key in ("of tomorrow", "fine"):
        world.put(key)
    world.settle()
    make_unreadable(world, "of tomorrow")
    asked = world.ask("replay-plan", keys=["of tomorrow", "fine"], is_new_generation=True)
    settle_readable(world, asked["id"])
    job = world.job(asked["id"])
    assert (job.state, job.tally.keys, job.tally.refused) == (JobState.PLANNED, 1, 1)
    assert "deploy that version" in world.planned(job.id)["of tomorrow"].why
    world.ask("replay-apply", id=job.id)
    settle_readable(world, job.id)
    assert world.job(job.id).counts == {Fate.DONE: 1, Fate.REFUSED: 1}


def test_a_key_that_became_unreadable_since_the_plan_is_refused() -> None:
    """Nobody knows what would be run again."""
    world = World()
    for key in ("of tomorrow", "fine"):
        world.put(key)
    world.settle()
    job = world.plan(keys=["of tomorrow", "fine"], is_new_generation=True)
    make_unreadable(world, "of tomorrow")
    world.ask("replay-apply", id=job.id)
    settle_readable(world, job.id)
    assert world.job(job.id).counts == {Fate.DONE: 1, Fate.REFUSED: 1}
    assert "deploy that version" in world.planned(job.id)["of tomorrow"].why


def test_a_replay_waits_for_a_key_that_became_unreadable_in_it() -> None:
    """What was begun isn't called refused: the replay is through once a version has read how the key ended."""
    world = World()
    for key in ("of tomorrow", "fine"):
        world.put(key)
    world.settle()
    job = world.plan(keys=["of tomorrow", "fine"], is_new_generation=True)
    world.ask("replay-apply", id=job.id)
    world.slice_of(world.replaying()[0], pieces=1)
    world.now_ms += 2_000
    world.fill()
    before = make_unreadable(world, "of tomorrow")
    for execution in world.live():
        if execution.input["run"]["key"] == "fine":
            world.run(execution)
    world.slice_of(world.replaying()[0], pieces=2)
    assert {key: one.fate for key, one in world.planned(job.id).items()} == {
        "of tomorrow": Fate.APPLIED,
        "fine": Fate.DONE,
    }
    world.dynamodb.put_item(TableName=world.settings.state_table, Item=encode_item(before))
    world.settle()
    assert world.job(job.id).counts == {Fate.DONE: 2}


def test_an_unreadable_key_keeps_no_events_of_others_from_coming_back_into_the_log() -> None:
    """The search for them would fail at it again and again."""
    world = World()
    world.stream_retention_h = 8_760
    since_ms = world.now_ms
    for key in ("of tomorrow", "fine"):
        world.put(key)
    world.settle()
    for item in world.items("key#", "event#"):
        place = {"pk": {"S": item["pk"]}, "sk": {"S": item["sk"]}}
        world.dynamodb.delete_item(TableName=world.settings.state_table, Key=place)
    world.now_ms += 31 * 86_400_000
    make_unreadable(world, "of tomorrow")
    asked = world.ask("replay-plan", from_ms=since_ms, is_new_generation=True)
    settle_readable(world, asked["id"])
    job = world.job(asked["id"])
    assert (job.state, job.tally.restored, job.tally.refused) == (JobState.PLANNED, 1, 1)


def make_unreadable(world: World, key: str) -> dict[str, Any]:
    """Have a later version write a key's state; return it as it was."""
    (item,) = world.items(f"key#{key}", "state")
    later = encode_item(item | {"phase": "hibernating"})
    world.dynamodb.put_item(TableName=world.settings.state_table, Item=later)
    return item


def settle_readable(world: World, job_id: str) -> None:
    """Let a replay go on until it is through, runs included; `settle` looks at all keys."""
    for _ in range(50):
        if world.job(job_id).state not in ACTIVE:
            return
        for execution in world.live():
            world.run(execution)
        world.fill()
        for replaying in world.replaying():
            world.slice_of(replaying)
        world.now_ms += 1_000
    raise AssertionError("the replay never ended")
