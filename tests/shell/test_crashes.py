"""Every function dies, loses an answer or is throttled at every call it makes; afterwards AWS does what it does, and
the guarantees hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from keyturn.core.state import Phase
from tests.shell.faults import Fault
from tests.shell.operated import OperatedWorld
from tests.shell.world import World

CALLS_MAX = 60
FAULTS = (Fault.DIES_AFTER, Fault.LOSES_ANSWER, Fault.THROTTLES)
"""Who dies before a call dies after the one before it."""


@dataclass(frozen=True)
class Scene:
    """A world just before a function is invoked, and the invocation."""

    prepare: Callable[[World], None]
    invoke: Callable[[World], object]
    parked: frozenset[str] = frozenset()
    """Keys that end up parked; all others must come to rest idle."""


def _nothing(_world: World) -> None:
    """Prepare nothing."""


def a_batch(world: World) -> None:
    """Put what a batch may hold: new keys of each kind, a busy key's next, a resend, a bad record, a large event."""
    world.put("busy")
    world.deliver()
    world.step(world.live()[0], "inventory")
    world.put("a")
    world.put("b", "express")
    world.put("busy", event_id="twice")
    world.put("busy", event_id="twice")
    world.put_raw("a", b"\xff")
    world.put("large", text="x" * 120_000)


def a_busy_key(kind: str = "standard", **data: str) -> Callable[[World], None]:
    """Put two events of a key, whose first is at work, and two keys that wait for the only slot."""

    def prepare(world: World) -> None:
        world.put("k", kind, **data)
        world.put("k", kind)
        world.put("w1")
        world.put("w2", "express")
        world.deliver()

    return prepare


def reporting(kind: str = "standard", **data: str) -> Callable[[World], None]:
    """Prepare the busy key's execution to report."""

    def prepare(world: World) -> None:
        a_busy_key(kind, **data)(world)
        execution = next(one for one in world.live() if one.key == "k")
        for step in ("inventory", "payment"):
            world.step(execution, step)

    return prepare


def gone_on(**data: str) -> Callable[[World], None]:
    """Have the busy key's execution at its second run, which came bound, with a third event behind."""

    def prepare(world: World) -> None:
        world.put("k", "express")
        world.put("k", "express", **data)
        world.put("k", "express")
        world.put("w1")
        world.deliver()
        (execution,) = (one for one in world.live() if one.key == "k")
        world.run(execution)
        assert execution.seen is not None

    return prepare


def reporting_again(**data: str) -> Callable[[World], None]:
    """Prepare that execution to report of its second run."""

    def prepare(world: World) -> None:
        gone_on(**data)(world)
        execution = next(one for one in world.live() if one.key == "k")
        for step in ("inventory", "payment"):
            world.step(execution, step)

    return prepare


def the_sequencer(world: World) -> None:
    """Run the last state once; AWS tries it a second time, which `settle` does."""
    world.finish(next(one for one in world.live() if one.key == "k"))


def a_worker(world: World) -> None:
    """Run one worker."""
    world.step(next(one for one in world.live() if one.key == "k"), "inventory")


def overdue(world: World) -> None:
    """Leave hung executions of both kinds, one that never started, one key to wake and one that waits."""
    world.put("hung")
    world.put("hung-express", "express")
    world.put("lost-start")
    world.put("failing", inventory="fail once", payment="fail once")
    world.deliver()
    world.put("waits")
    world.deliver()
    for execution in world.live():
        if execution.key.startswith("hung"):
            world.step(execution, "inventory")
    world.states.executions = [one for one in world.states.executions if one.key != "lost-start"]
    for execution in world.live():
        if execution.key == "hung-express":
            execution.status = "GONE"
    world.messages.clear()
    world.now_ms += 40_000


def ended(world: World) -> None:
    """Leave a Standard execution that failed without a finish."""
    a_busy_key()(world)
    execution = world.live()[0]
    world.step(execution, "inventory")
    world.fail(execution)


SCENES = {
    "dispatcher": Scene(a_batch, lambda world: world.deliver()),
    "worker": Scene(a_busy_key(), a_worker),
    "worker of an express run": Scene(a_busy_key("express"), a_worker),
    "worker of a run that came bound": Scene(gone_on(), a_worker),
    "worker of a batch": Scene(a_busy_key("batch"), a_worker),
    "sequencer, success": Scene(reporting(), the_sequencer),
    "sequencer, express success": Scene(reporting("express"), the_sequencer),
    "sequencer, success of a run that came bound": Scene(reporting_again(), the_sequencer),
    "sequencer, failure of a run that came bound": Scene(reporting_again(inventory="hang once"), the_sequencer),
    "sequencer, hang": Scene(reporting(inventory="hang once"), the_sequencer),
    "sequencer, lost worker": Scene(reporting("express", inventory="vanish once"), the_sequencer),
    "sequencer, skip": Scene(reporting("skip", inventory="permanent"), the_sequencer),
    "sequencer, park": Scene(reporting(inventory="permanent"), the_sequencer, frozenset({"k"})),
    "sequencer, fail behind": Scene(reporting("behind", inventory="permanent"), the_sequencer, frozenset({"k"})),
    "watchdog, pass": Scene(overdue, lambda world: world.watch()),
    "watchdog, status change": Scene(
        ended, lambda world: world.ask_watchdog(world.status_change(world.states.executions[0]))
    ),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("name", SCENES)
def test_a_fault_at_any_call_is_mended(name: str, fault: Fault) -> None:
    """Nothing is lost, order holds, an effect keeps its name, and no key is left stuck."""
    scene = SCENES[name]
    for strike_at in range(1, CALLS_MAX):
        world = World(max_in_flight_runs=2, index_buckets=1)
        scene.prepare(world)
        world.faults.arm(strike_at, fault)
        scene.invoke(world)
        has_struck = world.faults.has_struck
        world.faults.arm(None)
        world.settle(random.Random(strike_at))  # noqa: S311 - reproducible, no secret
        told = f"{name}, call {strike_at} ({world.faults.struck}): {fault}"
        try:
            world.check()
            stuck = {key for key, state in world.key_states().items() if state.phase is not Phase.IDLE}
            assert stuck == scene.parked
        except AssertionError as error:
            raise AssertionError(f"{told}: {error}") from error
        if not has_struck:
            assert strike_at > 1
            return
    raise AssertionError(f"{name} makes more than {CALLS_MAX} calls")


def parked_key(world: OperatedWorld) -> None:
    """Park a key, with an event behind; its provider is back."""
    world.put("k", payment="permanent")
    world.put("k")
    world.settle()
    world.is_repaired = True


def held_key(world: OperatedWorld) -> None:
    """Hold a key with an event behind the one that is at work."""
    world.put("k")
    world.put("k")
    world.deliver()
    world.operate("hold-key", "k")
    world.settle()


def finished_events(world: OperatedWorld) -> None:
    """Finish two events, and have a third at work."""
    world.put("k")
    world.put("k")
    world.settle()
    world.put("k")
    world.deliver()


def replaying_key(world: OperatedWorld) -> None:
    """Have a replay of two events wait for its first run."""
    places = [world.put("k"), world.put("k")]
    world.settle()
    world.rewind("k", places, fresh=True, replay="r")


def rewind_both(world: OperatedWorld) -> None:
    """Ask for a replay of the first two events."""
    world.rewind("k", sorted(place for _, place in world.ids)[:2], fresh=True, replay="r")


OPERATIONS: dict[str, tuple[Callable[[OperatedWorld], None], Callable[[OperatedWorld], object], list[str]]] = {
    "resume": (parked_key, lambda world: world.operate("resume", "k"), ["Resume"]),
    "skip": (parked_key, lambda world: world.operate("skip", "k"), ["Skip"]),
    "hold": (finished_events, lambda world: world.operate("hold-key", "k"), ["Hold"]),
    "release": (held_key, lambda world: world.operate("release-key", "k"), ["Hold", "Release"]),
    "rewind": (finished_events, rewind_both, ["Rewind"]),
    "cancel": (replaying_key, lambda world: world.cancel("k", "r"), ["Rewind", "CancelReplay"]),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_that_fails_anywhere_is_done_once_when_it_is_asked_for_again(name: str, fault: Fault) -> None:
    """Its record stands if, and only if, it was done; repeated, it is done then, or refused because it was."""
    prepare, operate, recorded = OPERATIONS[name]
    for strike_at in range(1, CALLS_MAX):
        world = OperatedWorld(max_in_flight_runs=2, index_buckets=1)
        prepare(world)
        world.faults.arm(strike_at, fault)
        operate(world)
        has_struck = world.faults.has_struck
        world.faults.arm(None)
        operate(world)
        told = f"{name}, call {strike_at} ({world.faults.struck}): {fault}"
        assert world.operations("k") == recorded, told
        world.relieve()
        world.check()
        if not has_struck:
            return
    raise AssertionError(f"{name} makes more than {CALLS_MAX} calls")
