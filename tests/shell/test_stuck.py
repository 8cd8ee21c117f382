"""Every way a run can get stuck: it is found, mended within a bounded time, and the evidence is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from keyturn.core.event import Event
from keyturn.core.state import KeyState, Phase, Run, WaitsFor
from keyturn.core.step_context import StepContext
from keyturn.core.task import Task
from keyturn.errors import StepRefused
from keyturn.shell.work import work
from tests.shell.faults import Fault, throttled
from tests.shell.step_functions import Execution
from tests.shell.world import STEPS, WORKER_TIMEOUT_MS, World

PASS_MS = 60_000
"""Between two passes of the watchdog."""
QUIET_MS = WORKER_TIMEOUT_MS + 1_000
"""The longest worker, and the clock margin: how long a restart waits behind an unclean end."""


def only(world: World, key: str = "k") -> Execution:
    """Return the one live execution of a key."""
    (execution,) = [one for one in world.live() if one.key == key]
    return execution


def run_of(world: World, key: str = "k") -> Run:
    """Return the run of a key that has one."""
    run = world.state(key).run
    assert run is not None
    return run


def evidence(world: World, key: str = "k") -> list[str]:
    """Return what the attempt records of a key say, in the order of the attempts."""
    return [item["reason"] for item in world.items(f"key#{key}", "attempt#")]


def let_time_pass(world: World, limit_ms: int) -> int:
    """Deliver messages and make passes as AWS would until the key's next attempt has started; return how long it took.

    Nobody works on executions meanwhile.
    """
    began_ms, fence = world.now_ms, world.state("k").fence
    while world.state("k").fence == fence:
        assert world.now_ms - began_ms <= limit_ms, f"not restarted within {limit_ms} ms: {world.state('k')}"
        world.now_ms += 500
        for message in [one for one in world.messages if one.due_ms <= world.now_ms]:
            world.wake(message)
        if world.now_ms >= world.next_pass_ms:
            world.watch()
            world.next_pass_ms += PASS_MS
    return world.now_ms - began_ms


def started(world: World, **data: Any) -> Execution:
    """Put an event that begins its only run."""
    world.put("k", **data)
    world.deliver()
    return only(world)


def ends_well(world: World) -> None:
    """Let everything come to rest: the event was done, each step once, in order."""
    world.settle()
    world.check()
    assert world.state("k").phase is Phase.IDLE


class TestRestarts:
    def test_one_that_was_never_started_is_found_at_its_deadline_and_uses_no_attempt_up(self) -> None:
        """Whoever claimed it died before StartExecution, and nothing was redelivered."""
        world = World()
        world.put("k")
        world.deliver()
        world.states.executions.clear()
        took_ms = let_time_pass(world, run_of(world).deadline_ms - world.now_ms + 5_000 + PASS_MS + QUIET_MS)
        assert evidence(world) == ["never_started"]
        assert run_of(world).attempt == 1
        assert took_ms < 90_000
        ends_well(world)

    @pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
    def test_an_execution_that_ended_without_its_last_state_is_restarted_by_a_message(self, status: str) -> None:
        """The status change tells at once; the restart comes as soon as no worker can be at work, not a pass later."""
        world = World()
        execution = started(world)
        world.step(execution, "inventory")
        world.fail(execution, status)
        world.ask_watchdog(world.status_change(execution))
        assert let_time_pass(world, QUIET_MS + 1_500) >= QUIET_MS
        assert evidence(world) == ["ended_without_finish"]
        ends_well(world)
        assert [effect.step for effect in world.effects] == list(STEPS), "a step that was done was done again"

    def test_a_hung_one_is_stopped_at_its_deadline(self) -> None:
        world = World()
        execution = started(world)
        world.step(execution, "inventory")
        let_time_pass(world, run_of(world).deadline_ms - world.now_ms + 5_000 + PASS_MS + QUIET_MS)
        assert execution.status == "ABORTED"
        assert evidence(world) == ["hung"]
        ends_well(world)

    def test_an_express_one_is_found_by_its_deadline_alone(self) -> None:
        """It can be neither asked nor stopped."""
        world = World()
        world.put("k", "express")
        world.deliver()
        zombie = only(world)
        world.step(zombie, "inventory")
        let_time_pass(world, run_of(world).deadline_ms - world.now_ms + 5_000 + PASS_MS + QUIET_MS)
        assert evidence(world) == ["hung"]
        assert world.work(zombie, "payment")["outcome"] == "refused"
        ends_well(world)

    @pytest.mark.parametrize("deaths", [1, 2])
    def test_what_a_sequencer_claimed_before_it_died_is_started_within_seconds(self, deaths: int) -> None:
        """Step Functions calls it once more; if it dies again, its execution's status change starts what it claimed."""
        world = World()
        world.put("k")
        world.put("k")
        world.deliver()
        execution = only(world)
        for step in STEPS:
            world.step(execution, step)
        self.die_behind_the_claim(world, execution)
        assert not [one for one in world.live() if one is not execution], "it died before it started the next run"
        if deaths == 1:
            world.finish(execution)
        else:
            world.fail(execution)
            world.ask_watchdog(world.status_change(execution))
        assert only(world) is not execution
        assert evidence(world) == []
        ends_well(world)

    def die_behind_the_claim(self, world: World, execution: Execution) -> None:
        fence = world.state("k").fence
        for call in range(1, 20):
            execution.sequenced = 0
            world.faults.arm(call, Fault.DIES_AFTER)
            world.finish(execution)
            world.faults.arm(None)
            if world.state("k").fence > fence:
                return
        raise AssertionError("the sequencer never claimed the next run")

    def test_a_throttled_start_comes_within_seconds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World()
        real = world.states.start_execution

        def refuse(**_call: Any) -> dict[str, Any]:
            raise throttled("StartExecution")

        monkeypatch.setattr(world.states, "start_execution", refuse)
        world.put("k")
        world.deliver()
        assert not world.live()
        monkeypatch.setattr(world.states, "start_execution", real)
        due_ms = min(message.due_ms for message in world.messages)
        assert due_ms - world.now_ms <= 5_000
        world.now_ms = due_ms
        for message in [one for one in world.messages if one.due_ms <= world.now_ms]:
            world.wake(message)
        assert only(world)
        ends_well(world)

    def test_a_lost_slot_is_found_by_the_next_pass(self) -> None:
        """A run ended, and the one that should have handed its slot on died: nobody runs, and a key waits."""
        world = World(max_in_flight_runs=1)
        world.put("other")
        world.put("k")
        world.deliver()
        execution = only(world, "other")
        for step in STEPS:
            world.step(execution, step)
        state = world.state("other")
        world.platform.keys.save(
            replace(state, phase=Phase.IDLE, cursor=state.tail, run=None, pending_since_ms=0, turn=0)
        )
        world.messages.clear()
        world.now_ms += 1_500
        assert world.state("k").waits_for is WaitsFor.SLOT
        world.watch()
        assert world.state("k").phase is Phase.RUNNING

    def test_a_throttled_stop_keeps_no_begun_run_waiting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The fence ends the attempt; its execution ends by its own timeout."""
        world = World()
        execution = started(world)
        world.step(execution, "inventory")

        def refuse(**_call: Any) -> dict[str, Any]:
            raise throttled("StopExecution")

        monkeypatch.setattr(world.states, "stop_execution", refuse)
        world.now_ms = run_of(world).deadline_ms + 5_000
        world.watch()
        assert evidence(world) == ["hung"]
        ends_well(world)


class TestHeartbeats:
    def long_step(self, world: World, execution: Execution, beats: int, every_ms: int) -> Any:
        """Run the first step with a function that works on for a while and says so; return its answer."""
        task = Task.from_payload({"step": "inventory", "execution_id": execution.execution_id, **execution.input})

        def function(_event: Event, step: StepContext) -> None:
            for _ in range(beats):
                world.now_ms += every_ms
                step.heartbeat()

        return work(world.bench, task, lambda: WORKER_TIMEOUT_MS, function)

    def test_a_heartbeat_gives_the_run_its_whole_time_again(self) -> None:
        world = World()
        execution = started(world)
        before = run_of(world)
        answer = self.long_step(world, execution, beats=3, every_ms=8_000)
        assert answer["outcome"] == "done"
        after = run_of(world)
        assert after.deadline_ms >= after.heartbeat_at_ms + 19_000 > before.deadline_ms + 19_000
        world.watch()
        assert run_of(world).attempt == 1, "a busy run was taken for hung"
        execution.answers["inventory"] = answer
        world.settle()
        assert world.state("k").phase is Phase.IDLE

    def test_many_heartbeats_cost_few_writes(self) -> None:
        world = World()
        execution = started(world)
        before = world.state("k").version
        self.long_step(world, execution, beats=500, every_ms=10)
        assert world.state("k").version - before <= 1 + 5_000 // 2_000, "the binding, and one write in two seconds"

    @pytest.mark.parametrize("call", ["get_item", "put_item"])
    def test_a_heartbeat_that_cant_be_written_stops_no_step(self, call: str) -> None:
        """A throttled table is no reason to do half of a step again."""
        world = World()
        execution = started(world)
        world.step(execution, "payment")
        before = run_of(world)
        refusals = iter([throttled(call, "ProvisionedThroughputExceededException")])
        make = getattr(world.dynamodb, call)

        def refusing(**arguments: Any) -> Any:
            for refusal in refusals:
                raise refusal
            return make(**arguments)

        with patch.object(world.dynamodb, call, refusing):
            answer = self.long_step(world, execution, beats=2, every_ms=8_000)
        assert answer["outcome"] == "done"
        assert next(refusals, None) is None
        assert run_of(world).deadline_ms > before.deadline_ms, "the next one is written"

    def test_one_that_falls_silent_is_given_up_with_that_evidence(self) -> None:
        world = World()
        execution = started(world)
        self.long_step(world, execution, beats=1, every_ms=8_000)
        world.now_ms = run_of(world).deadline_ms + 5_000
        world.watch()
        assert evidence(world) == ["heartbeat_lost"]
        world.settle()
        assert world.state("k").phase is Phase.IDLE

    def test_a_superseded_worker_is_stopped_by_its_heartbeat(self) -> None:
        """It has no business in going on, and its answer is a refusal, which ends its execution without a finish."""
        world = World()
        zombie = started(world)
        seen: list[str] = []
        task = Task.from_payload({"step": "inventory", "execution_id": zombie.execution_id, **zombie.input})

        def function(_event: Event, step: StepContext) -> None:
            world.now_ms = run_of(world).deadline_ms + 5_000
            world.watch()
            try:
                step.heartbeat()
            except StepRefused:
                seen.append("stopped")
                raise
            seen.append("went on")

        answer = work(world.bench, task, lambda: WORKER_TIMEOUT_MS, function)
        assert (answer["outcome"], seen) == ("refused", ["stopped"])
        assert world.items("key#k", "result#") == []
        ends_well(world)


class TestClocks:
    """A function whose clock was far ahead set a time that is hours away: its key would stand still as long."""

    AHEAD_MS = 6 * 3_600_000

    def test_a_deadline_hours_away_is_corrected(self) -> None:
        world = World()
        execution = started(world)
        world.step(execution, "inventory")
        self.shift(world, lambda state, run: replace(state, run=replace(run, deadline_ms=self.later(world))))
        world.watch()
        assert world.now_ms + QUIET_MS <= run_of(world).deadline_ms <= world.now_ms + 60_000
        let_time_pass(world, 60_000 + 5_000 + PASS_MS + QUIET_MS)
        assert evidence(world) == ["hung"]
        ends_well(world)

    def test_a_retry_hours_away_is_corrected(self) -> None:
        world = World()
        execution = started(world, inventory="fail once", payment="hang once")
        world.run(execution)
        self.shift(world, lambda state, _run: replace(state, not_before_ms=self.later(world)))
        world.watch()
        assert let_time_pass(world, PASS_MS) >= QUIET_MS
        ends_well(world)

    def test_a_key_that_queued_hours_ahead_waits_as_the_others_do(self) -> None:
        """It would stand behind every key that comes until then."""
        world = World(max_in_flight_runs=1)
        for key in ("other", "k"):
            world.put(key)
        world.deliver()
        state = world.state("k")
        world.platform.keys.save(replace(state, waiting_since_ms=self.later(world)))
        assert world.watch()["retimed"] == 1
        assert world.state("k").waiting_since_ms <= world.now_ms
        assert world.watch()["retimed"] == 0
        ends_well(world)

    def test_slots_that_were_counted_hours_ahead_are_counted_again(self) -> None:
        """That all were taken then would keep every key waiting until that time."""
        world = World(max_in_flight_runs=1)
        assert world.platform.capacity.take(1, self.later(world)) == 1
        world.put("k")
        world.deliver()
        assert world.state("k").phase is Phase.RUNNING
        ends_well(world)

    def test_right_times_are_left_alone(self) -> None:
        world = World()
        started(world)
        before = world.state("k")
        assert world.watch()["retimed"] == 0
        assert world.state("k") == before

    def later(self, world: World) -> int:
        return world.now_ms + self.AHEAD_MS

    def shift(self, world: World, change: Any) -> None:
        state: KeyState = world.state("k")
        world.platform.keys.save(change(state, state.run))


def test_a_pass_is_noted_with_what_it_found() -> None:
    """What `keyturn status` shows of the watchdog."""
    world = World()
    started(world)
    world.now_ms = run_of(world).deadline_ms + 5_000
    before_ms = world.now_ms
    world.watch()
    noted = world.platform.passes.last("watchdog")
    assert noted is not None
    assert (noted["expired"], noted["ready"]) == (1, 0)
    assert before_ms <= noted["at_ms"] <= noted["ended_at_ms"]


def test_hundreds_of_overdue_keys_cost_three_calls_each() -> None:
    """A stop, a write and a wake-up message; loads are shared by a hundred, and a pass fills its slots once."""
    keys = 120
    world = World(max_in_flight_runs=keys)
    for number in range(keys):
        world.put(f"k{number}")
    world.deliver(keys)
    assert len(world.live()) == keys
    world.messages.clear()
    world.now_ms += 90_000
    world.faults.arm(None)
    assert world.watch()["expired"] == keys
    shared = 80  # reading the index, loading, measuring: the same for ten keys and for a thousand
    assert world.faults.calls <= 3 * keys + shared
    assert {world.state(f"k{number}").waits_for for number in range(keys)} == {WaitsFor.TIME}
    assert len(world.messages) == keys
