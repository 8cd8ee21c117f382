"""The sequencer begins from the state that the binding worker wrote; what stands in the table decides all the same."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.core.state import KeyState, Phase
from keyturn.shell.sequence import sequence
from tests.shell.world import STEPS, World


def worked(world: World) -> dict[str, Any]:
    """Put an event, run its workers; return what its execution passes to the sequencer."""
    world.put("k", "express")
    assert world.deliver()
    (execution,) = world.live()
    for step in STEPS:
        world.step(execution, step)
    return {"run": execution.input["run"], "steps": list(execution.answers.values())}


def finished(world: World, payload: dict[str, Any]) -> KeyState:
    """Have the sequencer finish the run; return the key's state as it stands then."""
    assert sequence(world.platform, payload) == {"outcome": "succeeded", "refusal": None}
    return world.platform.keys.load("k")


def test_the_state_that_was_seen_spares_a_read() -> None:
    """A cold key's finish is one write."""
    world = World()
    payload = worked(world)
    reads = world.faults.made["get_item"]
    sequence(world.platform, payload)
    assert world.faults.made["get_item"] == reads
    assert world.platform.keys.load("k").phase is Phase.IDLE


def test_what_changed_meanwhile_counts() -> None:
    """An event that was admitted while the workers were at work runs next."""
    world = World()
    payload = worked(world)
    world.put("k", "express")
    assert world.deliver()
    state = finished(world, payload)
    assert (state.phase, state.fence, state.admitted) == (Phase.RUNNING, 2, 2)


def test_a_finish_that_comes_again_changes_nothing() -> None:
    """What it saw is over."""
    world = World()
    payload = worked(world)
    state = finished(world, payload)
    assert sequence(world.platform, payload)["refusal"] == "wrong_phase"
    assert world.platform.keys.load("k") == state


@pytest.mark.parametrize("seen", [None, 7, "state", [], {}, {"phase": "running"}, {"phase": 5, "version": "x"}])
def test_a_seen_state_that_is_none_is_read_instead(seen: object) -> None:
    """The workflow's author may have put anything in its place."""
    world = World()
    payload = worked(world)
    for answer in payload["steps"]:
        answer.pop("seen", None)
    payload["steps"][0]["seen"] = seen
    assert finished(world, payload).phase is Phase.IDLE


def test_a_state_among_answers_of_several_executions_is_not_believed() -> None:
    """A workflow may pass an event on beside its answers, and an event may look like one: it was never in a worker."""
    world = World()
    payload = worked(world)
    seen = next(answer["seen"] for answer in payload["steps"] if "seen" in answer)
    forged = seen | {"run": seen["run"] | {"execution_id": "forged"}, "finished": 1_000}
    payload["steps"].insert(0, {"step": "x", "outcome": "done", "execution_id": "forged", "seen": forged})
    assert sequence(world.platform, payload)["refusal"] == "other_execution"
    assert world.platform.keys.load("k").finished == 0
