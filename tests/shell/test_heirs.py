"""The execution that ends a run of a key which gives its slot up goes on with a run of a key that waits for one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from keyturn.adapters.controls import Controls
from keyturn.adapters.index import DueIndex
from keyturn.adapters.keys import KeyStore
from keyturn.core.rollout import NO_RELEASE
from keyturn.core.state import KeyState, Phase, Queue
from keyturn.errors import Throttled, Unreadable
from keyturn.shell import draining
from keyturn.shell.apply import claim
from keyturn.shell.sequence import sequence
from tests.shell.faults import Fault
from tests.shell.step_functions import Execution
from tests.shell.test_crashes import CALLS_MAX, FAULTS
from tests.shell.test_draining import TOO_LATE_MS, done
from tests.shell.world import World


def one_slot(*heirs: str, kind: str = "express", **data: Any) -> tuple[World, Execution]:
    """Make a world of one slot: a key of one event has it, and others wait."""
    world = World(max_in_flight_runs=1, index_buckets=1)
    world.put("k", "express")
    assert world.deliver()
    return world, waiting_behind(world, *heirs, kind=kind, **data)


def waiting_behind(world: World, *heirs: str, kind: str = "express", **data: Any) -> Execution:
    """Have keys wait for the only slot; return the execution that has it."""
    for key in heirs:
        world.put(key, kind, **data)
    assert world.deliver()
    world.pass_time(1.5)  # what was counted is older than a second then
    (execution,) = world.live()
    return execution


def start_another(world: World) -> None:
    """Put the first key's next event, and start it."""
    world.put("k", "express")
    assert world.deliver()
    claim(world.platform, "k", has_slot=True)
    assert world.state("k").phase is Phase.RUNNING


def bound_to(world: World, execution: Execution) -> set[str]:
    """Return the keys whose run belongs to an execution."""
    runs = {key: state.run for key, state in world.key_states().items()}
    return {key for key, run in runs.items() if run is not None and run.execution_id == execution.execution_id}


def test_the_run_of_a_waiting_key_comes_with_the_answer_bound_and_is_not_started() -> None:
    """The same input that its own execution would get, under the id of the one that goes on with it."""
    world, execution = one_slot("w")
    answer = sequence(world.platform, done(world, execution))
    assert (answer["run"]["key"], answer["run"]["fence"], answer["run"]["bound"]) == ("w", 1, True)
    assert answer["execution_id"] == execution.execution_id
    assert bound_to(world, execution) == {"w"}
    assert world.state("k").phase is Phase.IDLE
    execution.go_on(answer)
    assert sequence(world.platform, done(world, execution)) == {"outcome": "succeeded", "refusal": None}
    world.check()
    assert len(world.states.executions) == 1


def test_one_execution_serves_one_key_after_the_other() -> None:
    """As long as keys wait and it has the time."""
    world, execution = one_slot("a", "b", "c")
    while execution.status == "RUNNING":
        world.run(execution)
    world.settle()
    world.check()
    assert sorted(run["key"] for run in execution.runs) == ["a", "b", "c", "k"]
    assert len(world.states.executions) == 1


def test_a_key_that_yields_its_slot_yields_the_execution_with_it() -> None:
    """After its quantum; its own next run waits for a slot like all others."""
    world = World(max_in_flight_runs=1, slot_quantum_runs=1)
    world.put("k", "express")
    world.put("k", "express")
    assert world.deliver()
    execution = waiting_behind(world, "w")
    answer = sequence(world.platform, done(world, execution))
    assert answer["run"]["key"] == "w"
    assert world.state("k").phase is Phase.WAITING


def test_an_answer_that_was_lost_comes_again() -> None:
    """The task's retry is refused, and finds in its own key's state whom the execution was offered to."""
    world, execution = one_slot("w", "v")
    payload = done(world, execution)
    first = sequence(world.platform, payload)
    again = sequence(world.platform, payload)
    assert again == first | {"refusal": "wrong_phase"}
    assert len(world.states.executions) == 1


def test_an_answer_that_was_lost_comes_again_though_its_key_has_gone_on() -> None:
    """It is at its next event, in another execution."""
    world, execution = one_slot("w")
    payload = done(world, execution)
    first = sequence(world.platform, payload)
    start_another(world)
    assert sequence(world.platform, payload) == first | {"refusal": "superseded"}


@pytest.mark.parametrize("fault", [Fault.DIES_BEFORE, *FAULTS])
def test_a_fault_at_any_call_uses_no_attempt_up(fault: Fault) -> None:
    """The sequencer dies, loses an answer or is throttled; called again it finds what was claimed, and nobody waits
    for a deadline."""
    for strike_at in range(1, CALLS_MAX):
        world, execution = one_slot("w", "v")
        done(world, execution)
        world.faults.arm(strike_at, fault)
        world.finish(execution)
        has_struck, struck = world.faults.has_struck, world.faults.struck
        world.faults.arm(None)
        if execution.sequenced == 1 and len(execution.runs) == 1 and execution.status == "RUNNING":
            world.finish(execution)
        world.settle(random.Random(strike_at))  # noqa: S311 - reproducible, no secret
        told = f"call {strike_at} ({struck}): {fault}"
        world.check()
        assert {state.phase for state in world.key_states().values()} == {Phase.IDLE}, told
        assert not [item for item in world.items() if item["sk"].startswith("attempt#")], told
        if not has_struck:
            assert strike_at > 3
            return
    raise AssertionError(f"it makes more than {CALLS_MAX} calls")


def test_a_twin_of_the_execution_gets_nothing() -> None:
    """An Express start that came twice: what it reports is refused, and what was handed over isn't its own."""
    world, execution = one_slot("w")
    payload = done(world, execution)
    sequence(world.platform, payload)
    reported = [answer | {"execution_id": "twin"} for answer in payload["steps"]]
    twin = payload | {"execution": payload["execution"] | {"id": "twin"}, "steps": reported}
    assert "run" not in sequence(world.platform, twin)
    assert bound_to(world, execution) == {"w"}
    assert len(world.states.executions) == 1


def test_a_note_of_an_earlier_attempt_is_not_followed() -> None:
    """A late call about an attempt that was given up meanwhile: its execution has given no slot up."""
    world, execution = one_slot("w")
    execution.go_on(sequence(world.platform, done(world, execution)))
    world.put("k", "express")
    assert world.deliver()
    world.run(execution)
    assert world.state("k").handed_on is not None
    late = execution.payload | {"run": execution.passed[0] | {"fence": 99}}
    assert "run" not in sequence(world.platform, late)


def test_a_key_that_another_hand_took_is_not_handed_over() -> None:
    """Between the look at the index and the claim; what waits beside it gets a start of its own."""
    world, execution = one_slot("w", "v")
    payload = done(world, execution)
    taken: list[str] = []
    real = type(world.platform.capacity).hand_on

    def another_hand_comes_first(capacity: Any, now_ms: int) -> int | None:
        noted = world.state("k").handed_on
        assert noted is not None
        taken.append(noted.key)
        claim(world.platform, noted.key, has_slot=True)
        return real(capacity, now_ms)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(world.platform.capacity), "hand_on", another_hand_comes_first)
        answer = sequence(world.platform, payload)
    assert "run" not in answer
    assert {one.key for one in world.live()} == {"k", "w", "v"}
    assert bound_to(world, execution) == set()


def test_a_run_of_another_kind_is_started() -> None:
    """An Express execution doesn't do a Standard route's run."""
    world, execution = one_slot("w", kind="standard")
    assert "run" not in sequence(world.platform, done(world, execution))
    assert [one.machine for one in world.states.executions] == ["order-express", "order-standard"]


def test_too_little_time_left_leads_to_a_start() -> None:
    """As for the next run of its own key."""
    world, execution = one_slot("w")
    execution.began_ms -= TOO_LATE_MS
    assert "run" not in sequence(world.platform, done(world, execution))
    assert world.state("w").is_unstarted
    assert len(world.states.executions) == 2


def test_a_large_run_is_claimed_for_nobody_and_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its events, with what workers answer, must fit into an execution's state."""
    world, execution = one_slot("w", text="x" * 10_000)
    monkeypatch.setattr(draining, "HANDED_OVER_BYTES_MAX", 27_000)
    assert "run" not in sequence(world.platform, done(world, execution))
    assert world.state("w").is_unstarted


def test_a_failed_run_passes_its_slot_and_its_execution_on() -> None:
    """The key itself waits to be tried again."""
    world = World(max_in_flight_runs=1, index_buckets=1)
    world.put("k", "express", inventory="fail")
    assert world.deliver()
    execution = waiting_behind(world, "w")
    answer = sequence(world.platform, done(world, execution))
    assert (answer["outcome"], answer["run"]["key"]) == ("failed", "w")


@contextmanager
def failing_once(owner: type, name: str, about: object, error: Exception, *, lands: bool = False) -> Iterator[None]:
    """Have the first call of a method `about` something fail, behind its effect if it lands."""
    real, left = getattr(owner, name), [error]

    def call(self: Any, first: Any, *rest: Any) -> Any:
        if not left or getattr(first, "key", first) != about:
            return real(self, first, *rest)
        if lands:
            real(self, first, *rest)
        raise left.pop()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, name, call)
        yield


def test_who_cannot_tell_whether_it_claimed_a_run_is_called_again() -> None:
    """Behind all that its own run's end asks for: that isn't told twice."""
    world, execution = one_slot("w")
    payload = done(world, execution)
    with (
        failing_once(KeyStore, "save", "w", Throttled("no answer"), lands=True),
        pytest.raises(Throttled, match="to be called again"),
    ):
        sequence(world.platform, payload)
    assert world.state("k").phase is Phase.IDLE
    assert bound_to(world, execution) == {"w"}
    assert sequence(world.platform, payload)["run"]["key"] == "w"


def test_a_run_that_was_claimed_and_could_not_be_told_of_is_asked_for_again() -> None:
    """Its claim landed, and what its input needs was not to be read: not only throttled, say by another version."""
    world, execution = one_slot("w")
    payload = done(world, execution)
    with (
        failing_once(Controls, "pin", NO_RELEASE, Unreadable("of another version")),
        pytest.raises(Throttled, match="to be called again"),
    ):
        sequence(world.platform, payload)
    assert bound_to(world, execution) == {"w"}
    assert sequence(world.platform, payload)["run"]["key"] == "w"


def test_a_waiting_key_that_cannot_be_read_fails_no_finish() -> None:
    """Nothing was claimed of it, so there is nothing to ask again for; the watchdog looks for its slot."""
    world, execution = one_slot("w")
    with failing_once(KeyStore, "load", "w", Throttled("slow down")):
        assert sequence(world.platform, done(world, execution)) == {"outcome": "succeeded", "refusal": None}
    world.settle(random.Random(0))  # noqa: S311 - reproducible, no secret
    world.check()


def test_a_claim_that_the_sdk_sent_twice_is_found_though_an_event_came_between() -> None:
    """Its first answer was lost, and the second time the key has moved on: it did so with the claim."""
    world, execution = one_slot("w")
    payload = done(world, execution)
    real, sent = KeyStore.save, list[KeyState]()

    def save(keys: KeyStore, state: KeyState, *rest: Any) -> KeyState:
        if state.key != "w" or sent:
            return real(keys, state, *rest)
        sent.append(state)
        real(keys, state, *rest)
        world.put("w", "express")
        assert world.deliver()
        return real(keys, state, *rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(KeyStore, "save", save)
        answer = sequence(world.platform, payload)
    assert answer["run"]["key"] == "w"
    assert world.state("w").admitted == 2
    execution.go_on(answer)
    world.settle(random.Random(0))  # noqa: S311 - reproducible, no secret
    world.check()
    assert not world.items(sk="attempt#")


def test_a_call_that_comes_late_claims_nothing_for_an_execution_that_has_gone_on() -> None:
    """It is at a third key by then, and would never hear of a run: what waits is claimed for nobody and started."""
    world, execution = one_slot("w", "w", "w")
    late = done(world, execution)
    execution.go_on(sequence(world.platform, late))
    execution.go_on(sequence(world.platform, done(world, execution)))
    world.put("v", "express")
    assert world.deliver()
    world.pass_time(1.5)
    execution.go_on(sequence(world.platform, done(world, execution)))  # of two runs, which is all of its turn
    assert bound_to(world, execution) == {"v"}
    assert world.state("w").phase is Phase.WAITING
    assert "run" not in sequence(world.platform, late)
    assert bound_to(world, execution) == {"v"}
    world.settle(random.Random(0))  # noqa: S311 - reproducible, no secret
    world.check()
    assert not world.items(sk="attempt#")


def test_a_note_stays_until_there_is_another_one() -> None:
    """The key's next run may be over before the execution of the one before asks again, and hand nothing on."""
    world, execution = one_slot("w")
    payload = done(world, execution)
    first = sequence(world.platform, payload)
    start_another(world)
    (other,) = (one for one in world.live() if one is not execution)
    assert "run" not in sequence(world.platform, done(world, other))
    assert world.state("k").phase is Phase.IDLE
    assert sequence(world.platform, payload) == first | {"refusal": "wrong_phase"}


def test_waiting_keys_are_not_taken_for_none_while_the_index_throttles() -> None:
    """Else whoever comes within the next second would leave its slot unused."""
    world, execution = one_slot("w")
    with failing_once(DueIndex, "_read", Queue.WAITING, Throttled("slow down")):
        assert "run" not in sequence(world.platform, done(world, execution))
    assert world.state("w").phase is Phase.RUNNING
    assert world.state("w").is_unstarted, "it isn't noted, so it is claimed for nobody"


def test_the_line_of_a_run_tells_in_which_execution_it_ran(caplog: pytest.LogCaptureFixture) -> None:
    """Another key's: nobody would find it by the run's own name."""
    world, execution = one_slot("w")
    execution.go_on(sequence(world.platform, done(world, execution)))
    caplog.clear()
    sequence(world.platform, done(world, execution))
    (line,) = (one for one in caplog.records if one.getMessage() == "run finished")
    assert vars(line)["ran_in"] == execution.name
