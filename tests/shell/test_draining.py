"""The sequencer's answer brings the key's next run to the execution that can go on with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from keyturn.core.state import Phase
from keyturn.shell import draining
from keyturn.shell.sequence import sequence
from tests.shell.step_functions import Execution
from tests.shell.world import STEPS, World


def done(world: World, execution: Execution, *, began_ms: int | None = None) -> dict[str, Any]:
    """Run an execution's workers; return what it passes to the sequencer as a draining definition does."""
    for step in STEPS:
        world.step(execution, step)
    began = datetime.fromtimestamp((world.now_ms if began_ms is None else began_ms) / 1_000, UTC)
    return {
        "run": execution.input["run"],
        "steps": list(execution.answers.values()),
        "execution": {"name": execution.name, "started_at": began.isoformat(), "timeout_s": 300},
    }


def two_events(world: World, first: str = "express", second: str = "express", **data: Any) -> Execution:
    """Put two events of a key; return the execution of the first."""
    world.put("k", first)
    world.put("k", second, **data)
    assert world.deliver()
    (execution,) = world.live()
    return execution


def next_round(answer: dict[str, Any]) -> Execution:
    """Let the execution go round: its next fan-out has an id of its own."""
    return Execution("order-express", "n", {"run": answer["run"], "events": answer["events"]}, 1_000)


def test_the_next_run_comes_with_the_answer_and_is_not_started() -> None:
    """The same input that its own execution would get, and one execution for both."""
    world = World()
    execution = two_events(world)
    answer = sequence(world.platform, done(world, execution))
    state = world.platform.keys.load("k")
    assert answer["outcome"] == "succeeded"
    assert answer["run"]["fence"] == state.fence == 2
    assert [event["event"]["id"] for event in answer["events"]] == ["e-2"]
    assert state.is_unstarted
    assert len(world.states.executions) == 1

    answer = sequence(world.platform, done(world, next_round(answer)))
    assert answer == {"outcome": "succeeded", "refusal": None}
    assert world.platform.keys.load("k").phase is Phase.IDLE
    assert len(world.states.executions) == 1


def test_an_answer_that_was_lost_comes_again() -> None:
    """The task's retry is refused as superseded, and brings the claimed run that nobody has begun."""
    world = World()
    payload = done(world, two_events(world))
    first = sequence(world.platform, payload)
    again = sequence(world.platform, payload)
    assert (again["refusal"], again["run"], again["events"]) == ("superseded", first["run"], first["events"])
    assert len(world.states.executions) == 1


def test_a_run_that_another_execution_began_is_not_handed_over() -> None:
    """Somebody found it unbegun and started it: the retry of the answer that was lost ends its execution."""
    world = World()
    payload = done(world, two_events(world))
    lost = sequence(world.platform, payload)
    other = Execution("order-express", "other", {"run": lost["run"], "events": lost["events"]}, 999)
    world.step(other, "inventory")
    assert "run" not in sequence(world.platform, payload)


def test_of_two_that_go_on_with_a_run_one_works() -> None:
    """The binding decides; the other's workers are refused, it reports nothing and ends."""
    world = World()
    answer = sequence(world.platform, done(world, two_events(world)))
    goes_on = next_round(answer)
    started = Execution("order-express", "started", goes_on.input, 999)
    world.step(started, "inventory")
    refused = sequence(world.platform, done(world, goes_on))
    assert refused == {"outcome": "refused"}
    assert sequence(world.platform, done(world, started))["outcome"] == "succeeded"
    assert [effect.event_id for effect in world.effects] == ["e-1"] * 2 + ["e-2"] * 2


def test_too_little_time_left_leads_to_a_start() -> None:
    """300 s less the run's 20 s and a reserve."""
    world = World()
    execution = two_events(world)
    answer = sequence(world.platform, done(world, execution, began_ms=world.now_ms - 266_000))
    assert "run" not in answer
    assert len(world.states.executions) == 2


def test_a_run_of_another_kind_is_started() -> None:
    """An Express execution doesn't do a Standard route's run."""
    world = World()
    answer = sequence(world.platform, done(world, two_events(world, second="standard")))
    assert "run" not in answer
    assert [one.machine for one in world.states.executions] == ["order-express", "order-standard"]


def test_a_large_run_is_started(monkeypatch: Any) -> None:
    """Its events, with what workers answer, must fit into an execution's state."""
    world = World()
    monkeypatch.setattr(draining, "HANDED_OVER_BYTES_MAX", 10_000)
    answer = sequence(world.platform, done(world, two_events(world, text="é" * 2_000)))
    assert "run" not in answer
    assert len(world.states.executions) == 2


def test_a_key_yields_its_slot_though_its_execution_could_go_on() -> None:
    """After its quantum, when another key waits."""
    world = World(max_in_flight_runs=1, slot_quantum_runs=1)
    execution = two_events(world)
    world.put("other", "express")
    assert world.deliver()
    world.pass_time(1.5)  # what was counted is older than a second then
    answer = sequence(world.platform, done(world, execution))
    assert "run" not in answer
    assert len(world.states.executions) == 2, "one of the keys that wait got the slot, and a start"


def test_a_failed_attempt_tells_in_which_execution_it_ran() -> None:
    """Its own name was never started; logs have that of the execution that went on."""
    world = World()
    execution = two_events(world, inventory="permanent")
    answer = sequence(world.platform, done(world, execution))
    assert sequence(world.platform, done(world, next_round(answer)))["outcome"] == "failed"
    (record,) = (item for item in world.items() if item["sk"].startswith("attempt#"))
    assert record["ran_in"] == "n"
    assert record["execution_name"] != "n"
