"""The sequencer's answer brings the key's next run to the execution that can go on with it, and bound to it already."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from keyturn.core.state import KeyState, Phase, WaitsFor
from keyturn.errors import LogIncomplete
from keyturn.shell import draining
from keyturn.shell.sequence import sequence
from keyturn.shell.watch import expire, wake
from tests.shell.faults import Fault
from tests.shell.operated import OperatedWorld
from tests.shell.step_functions import Execution
from tests.shell.world import STEPS, World

TOO_LATE_MS = 266_000
"""An execution that began so long ago has no time for another run: 300 s less the run's 20 s and a reserve."""


def done(world: World, execution: Execution) -> dict[str, Any]:
    """Run an execution's workers; return what it passes to the sequencer."""
    for step in STEPS:
        world.step(execution, step)
    payload: dict[str, Any] = json.loads(json.dumps(execution.payload))
    return payload


def two_events(world: World, first: str = "express", second: str = "express", **data: Any) -> Execution:
    """Put two events of a key; return the execution of the first."""
    world.put("k", first)
    world.put("k", second, **data)
    assert world.deliver()
    (execution,) = world.live()
    return execution


def state_of(world: World) -> KeyState:
    """Return the key's state."""
    return world.platform.keys.load("k")


def test_the_next_run_comes_with_the_answer_bound_and_is_not_started() -> None:
    """The same input that its own execution would get, and one execution of one id for both."""
    world = World()
    execution = two_events(world)
    answer = sequence(world.platform, done(world, execution))
    state = state_of(world)
    assert state.run is not None
    assert answer["outcome"] == "succeeded"
    assert answer["run"]["fence"] == state.fence == 2
    assert [event["event"]["id"] for event in answer["events"]] == ["e-2"]
    assert answer["execution_id"] == state.run.execution_id == execution.execution_id
    assert len(world.states.executions) == 1

    execution.go_on(answer)
    answer = sequence(world.platform, done(world, execution))
    assert answer == {"outcome": "succeeded", "refusal": None}
    assert state_of(world).phase is Phase.IDLE
    assert len(world.states.executions) == 1


def test_a_run_that_comes_bound_is_written_once_and_waits_for_nobody() -> None:
    """No worker binds it, waits or looks twice; the sequencer begins from the state that came with it."""
    world = World()
    execution = two_events(world)
    execution.go_on(sequence(world.platform, done(world, execution)))
    execution.input |= {"binds": False}
    waits_s: list[float] = []
    world.bench = replace(world.bench, process=replace(world.bench.process, sleep=waits_s.append))
    made = world.faults.made.copy()
    assert sequence(world.platform, done(world, execution))["refusal"] is None
    assert world.faults.made - made == {"query": len(STEPS), "put_item": len(STEPS) + 1}
    assert waits_s == []


def test_an_answer_that_was_lost_comes_again() -> None:
    """The task's retry is refused as superseded, and brings the run that was claimed for its execution."""
    world = World()
    payload = done(world, two_events(world))
    first = sequence(world.platform, payload)
    again = sequence(world.platform, payload)
    assert again == first | {"refusal": "superseded"}
    assert len(world.states.executions) == 1


def test_an_answer_that_was_lost_comes_again_whatever_time_is_left() -> None:
    """That was looked at when the run was claimed; nobody else may do it."""
    world = World()
    payload = done(world, two_events(world))
    sequence(world.platform, payload)
    payload["execution"]["timeout_s"] = 1
    assert "run" in sequence(world.platform, payload)
    assert len(world.states.executions) == 1


@pytest.mark.parametrize("fault", [Fault.DIES_BEFORE, Fault.DIES_AFTER, Fault.LOSES_ANSWER])
def test_a_call_that_died_at_its_write_is_made_good_by_the_next_one(fault: Fault) -> None:
    """Whether the write has landed or not, the execution goes on."""
    world = World()
    execution = two_events(world)
    done(world, execution)
    world.faults.arm(2, fault)
    world.finish(execution)
    assert (world.faults.struck, len(execution.runs)) == ("put_item", 1)
    world.faults.arm(None)
    world.finish(execution)
    assert len(execution.runs) == 2
    world.settle()
    world.check()
    assert len(world.states.executions) == 1


def test_nobody_else_starts_a_run_that_is_bound() -> None:
    """Neither a redelivery nor the watchdog, woken for the key or not; nor is it handed to a twin."""
    world = World()
    execution = two_events(world)
    payload = done(world, execution)
    lost = sequence(world.platform, payload)
    world.checkpoint = 0
    assert world.deliver()
    wake(world.platform, "k")
    world.watch()
    twin = payload | {"execution": payload["execution"] | {"id": "twin"}}
    assert "run" not in sequence(world.platform, twin)
    reported = [answer | {"execution_id": "twin"} for answer in payload["steps"]]
    assert "run" not in sequence(world.platform, twin | {"steps": reported})
    assert len(world.states.executions) == 1
    assert sequence(world.platform, payload)["run"] == lost["run"]


def test_what_an_operator_asks_before_the_answer_comes_again_holds_behind_that_run() -> None:
    """A hold and a replay of what is done: the claimed run goes on first, as it stands now, and nobody starts it."""
    world = OperatedWorld()
    execution = two_events(world)
    first = execution.input["run"]["first"]
    payload = done(world, execution)
    lost = sequence(world.platform, payload)
    world.rewind("k", [first], fresh=True, replay="again")
    world.operate("hold-key", "k")
    again = sequence(world.platform, payload)
    assert again["seen"]["version"] == lost["seen"]["version"] + 2
    assert {**again, "seen": None} == {**lost, "seen": None, "refusal": "superseded"}
    execution.go_on(again)
    assert sequence(world.platform, done(world, execution))["refusal"] is None
    state = state_of(world)
    assert (state.waits_for, state.finished, state.is_replaying) == (WaitsFor.RELEASE, 2, True)
    world.operate("release-key", "k")
    world.settle()
    world.check()
    assert [effect.position for effect in world.effects if effect.generation][:1] == [first]
    assert len(world.states.executions) == 2, "one for the two events, one for the replay"


def test_a_run_whose_execution_died_is_found_at_its_deadline_and_started() -> None:
    """That is a failed attempt, though no worker began: nobody can tell. Who asks for it still gets nothing."""
    world = World()
    execution = two_events(world)
    payload = done(world, execution)
    sequence(world.platform, payload)
    world.fail(execution)
    state = state_of(world)
    assert state.run is not None
    world.now_ms = state.run.deadline_ms
    expire(world.platform, state)
    (record,) = world.items("key#k", "attempt#")
    assert (record["outcome"], record["reason"]) == ("failed", "hung")
    assert sequence(world.platform, payload) == {"outcome": "succeeded", "refusal": "wrong_phase"}
    world.settle()
    world.check()
    assert len(world.states.executions) == 2


def test_too_little_time_left_leads_to_a_start() -> None:
    """300 s less the run's 20 s and a reserve."""
    world = World()
    execution = two_events(world)
    execution.began_ms -= TOO_LATE_MS
    answer = sequence(world.platform, done(world, execution))
    assert "run" not in answer
    assert state_of(world).is_unstarted
    assert len(world.states.executions) == 2


def test_an_execution_of_an_earlier_definition_is_followed_by_a_start() -> None:
    """It makes an id in each round, so it tells none: a run can't be bound to it beforehand."""
    world = World()
    payload = done(world, two_events(world))
    del payload["execution"]["id"]
    answer = sequence(world.platform, payload)
    assert "run" not in answer
    assert state_of(world).is_unstarted
    assert len(world.states.executions) == 2


def test_a_run_of_another_kind_is_started() -> None:
    """An Express execution doesn't do a Standard route's run."""
    world = World()
    answer = sequence(world.platform, done(world, two_events(world, second="standard")))
    assert "run" not in answer
    assert state_of(world).is_unstarted
    assert [one.machine for one in world.states.executions] == ["order-express", "order-standard"]


def test_a_large_run_is_claimed_for_nobody_and_started(monkeypatch: Any) -> None:
    """Its events, with what workers answer, must fit into an execution's state; what stands there is ASCII only."""
    world = World()
    monkeypatch.setattr(draining, "HANDED_OVER_BYTES_MAX", 27_000)
    answer = sequence(world.platform, done(world, two_events(world, text="é" * 2_000)))
    assert "run" not in answer
    assert state_of(world).is_unstarted
    assert len(world.states.executions) == 2


def test_a_failed_attempt_tells_in_which_execution_it_ran() -> None:
    """Its own name was never started; logs have that of the execution that went on."""
    world = World()
    execution = two_events(world, inventory="permanent")
    execution.go_on(sequence(world.platform, done(world, execution)))
    assert sequence(world.platform, done(world, execution))["outcome"] == "failed"
    (record,) = (item for item in world.items() if item["sk"].startswith("attempt#"))
    assert record["ran_in"] == execution.name
    assert record["execution_name"] != execution.name


def test_a_fan_out_that_failed_as_a_whole_ends_its_attempt() -> None:
    """No worker's answer is left to tell the execution's id; it tells that itself. Its twin's is still another."""
    world = World()
    payload = done(world, two_events(world))
    payload["steps"] = {"Error": "States.DataLimitExceeded", "Cause": "too much"}
    twin = payload | {"execution": payload["execution"] | {"id": "twin"}}
    assert sequence(world.platform, twin)["refusal"] == "other_execution"
    assert sequence(world.platform, payload) == {"outcome": "failed", "refusal": None}
    state = state_of(world)
    assert state.parked is not None
    assert "States.DataLimitExceeded" in state.parked.reason


@pytest.mark.parametrize("seen", [None, 7, "state", [], {}, {"phase": "running"}, {"phase": 5, "version": "x"}])
def test_a_state_that_came_with_the_run_and_is_none_is_read_instead(seen: object) -> None:
    """Whatever a workflow's author makes of it on its way."""
    world = World()
    execution = two_events(world)
    execution.go_on(sequence(world.platform, done(world, execution)))
    assert sequence(world.platform, done(world, execution) | {"seen": seen})["refusal"] is None
    assert state_of(world).phase is Phase.IDLE


def test_a_state_that_came_with_an_earlier_run_is_not_believed() -> None:
    """It isn't of this attempt."""
    world = World()
    execution = two_events(world)
    world.put("k", "express")
    assert world.deliver()
    execution.go_on(sequence(world.platform, done(world, execution)))
    old = execution.seen
    execution.go_on(sequence(world.platform, done(world, execution)))
    assert sequence(world.platform, done(world, execution) | {"seen": old})["refusal"] is None
    assert state_of(world).finished == 3


def test_a_run_that_the_log_lacks_when_its_answer_was_lost_is_parked_by_its_next_attempt() -> None:
    """The answer fails, and the execution with it; nothing is skipped, and a person who skips it lets the key go on."""
    world = World()
    execution = two_events(world)
    last = world.put("k", "express")
    assert world.deliver()
    payload = done(world, execution)
    sequence(world.platform, payload)
    lost = state_of(world).run
    assert lost is not None
    world.dynamodb.delete_item(
        TableName=world.settings.state_table, Key={"pk": {"S": "key#k"}, "sk": {"S": f"event#{lost.slice.first}"}}
    )
    with pytest.raises(LogIncomplete, match="holds 0 of the run's 1 events"):
        sequence(world.platform, payload)
    world.fail(execution)
    world.settle()
    state = state_of(world)
    assert state.parked is not None
    assert "cannot start: key" in state.parked.reason
    assert "holds 0 of the run's 1 events" in state.parked.reason
    assert state.cursor < lost.slice.first
    assert len(world.states.executions) == 1
    world.ask("skip", key="k")
    world.settle()
    state = state_of(world)
    assert (state.phase, state.cursor) == (Phase.IDLE, last)
    assert {effect.position for effect in world.effects} == {payload["run"]["first"], last}
