"""What the design promises of single awkward cases, over the real shell."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from keyturn.adapters import steps
from keyturn.adapters.capacity import Capacity
from keyturn.adapters.duplicates import Identified
from keyturn.adapters.steps import StepStore
from keyturn.core.event import identity_hash
from keyturn.core.positions import Position
from keyturn.core.protocol import NO_ROUTE
from keyturn.core.route import Routes, parse_routes
from keyturn.core.state import Phase, Span, WaitsFor
from keyturn.core.task import Task
from keyturn.errors import Throttled
from keyturn.shell import apply as applying
from keyturn.shell.replays import rewind_key
from keyturn.shell.sequence import sequence
from keyturn.shell.work import work
from tests.shell.faults import Fault, throttled
from tests.shell.operated import OPERATOR, OperatedWorld
from tests.shell.step_functions import PREFIX
from tests.shell.world import ROUTE, STEPS, WORKER_TIMEOUT_MS, World

SERVICES = ("models", "moto")
"""Both, since these touch every store."""


def only(world: World, key: str = "k") -> Any:
    """Return the one live execution of a key."""
    (execution,) = [one for one in world.live() if one.key == key]
    return execution


def never_ran(execution: Any, step: str) -> dict[str, Any]:
    """Return what a branch tells whose worker Lambda throttled at each try."""
    error = {"Error": "Lambda.TooManyRequestsException", "Cause": "Rate Exceeded."}
    return {"step": step, "execution_id": execution.execution_id, "error": error}


def put_batch(world: World) -> list[Position]:
    """Put three events of a batch, of which the last one's first step fails until the world is repaired."""
    return [Position(world.put("k", "batch", inventory=wanted)) for wanted in ("", "", "fail")]


def lose_its_route_for_a_while(world: OperatedWorld) -> None:
    """Deploy without the route of a key that is about to go on, then with smaller batches of it, repaired."""
    world.redeploy(parse_routes({"routes": [{**ROUTE, "name": "other", "type": "other"}]}))
    world.settle()
    parked = world.state("k").parked
    assert parked is not None
    assert parked.reason == NO_ROUTE
    world.redeploy(parse_routes({"routes": [{**ROUTE, "name": "batch", "type": "batch"}]}))
    world.is_repaired = True
    world.operate("resume", "k")
    world.settle()


def done_in(world: World, generation: int) -> Counter[tuple[str, str]]:
    """Count what was done under a generation, but for what failed at first."""
    done = Counter((effect.event_id, effect.step) for effect in world.effects if effect.generation == generation)
    del done["e-3", "inventory"]
    return done


ONCE = {(f"e-{number}", step): 1 for number in (1, 2, 3) for step in STEPS if (number, step) != (3, "inventory")}


def turns_before_patient(world: World) -> list[tuple[str, int]]:
    """Run one execution after the other, two seconds each; return the keys and turns that came before `patient`."""
    turns = []
    while world.live():
        (execution,) = world.live()
        turns.append((execution.key, world.state(execution.key).turn))
        world.now_ms += 2_000
        world.run(execution)
    return turns[: turns.index(("patient", 1))]


class TestDispatcher:
    def test_a_batch_that_comes_twice_changes_nothing(self) -> None:
        world = World()
        world.put("a")
        world.put("b", "express")
        world.put_raw("c", b"nonsense")
        world.deliver()
        for execution in world.live():
            world.step(execution, "inventory")
        before = world.items()
        assert world.dispatch(world.records) == {"batchItemFailures": []}
        assert world.items() == before
        assert len(world.states.executions) == 2

    def test_a_batch_that_comes_again_after_everything_is_done_runs_nothing(self) -> None:
        world = World()
        world.put("a")
        world.put("a")
        world.settle()
        world.dispatch(world.records)
        world.settle()
        assert len(world.effects) == 2 * len(STEPS)
        world.check()

    def test_a_late_event_goes_to_quarantine(self) -> None:
        """It was set aside by the event source and redriven: it is below the tail, and not in the log."""
        world = World()
        world.put("k")
        world.put("k")
        late, behind = world.records
        world.dispatch([behind])
        world.dispatch([late])
        (item,) = world.items("quarantine#")
        assert item["reason"] == "late"
        assert json.loads(item["raw"])["id"] == "e-1"

    def test_what_its_producer_sent_again_runs_in_the_place_of_a_late_event(self) -> None:
        """Both come in one batch; of the late one nothing but its identity was written, by a dispatcher that died."""
        world = World()
        place = world.put("k", event_id="same")
        world.put("k", event_id="other")
        world.put("k", event_id="same")
        late, behind, again = world.records
        known = Identified("k", identity_hash("/test", "same"), Position(place))
        world.platform.duplicates.remember([known], world.now_ms)
        world.dispatch([behind])
        world.dispatch([late, again])
        world.settle()
        assert [item["reason"] for item in world.items("quarantine#")] == ["late"]
        assert [effect.event_id for effect in world.effects if effect.step == STEPS[0]] == ["other", "same"]

    def test_a_producers_resend_is_recorded_and_not_run(self) -> None:
        world = World()
        first = world.put("k", event_id="same")
        second = world.put("k", event_id="same")
        world.settle()
        third = world.put("k", event_id="same")
        world.settle()
        assert [item["sk"] for item in world.items("key#k", "duplicate#")] == [
            f"duplicate#{place}" for place in (second, third)
        ]
        assert {effect.position for effect in world.effects} == {first}

    def test_the_same_id_under_another_key_is_another_event(self) -> None:
        world = World()
        world.put("a", event_id="same")
        world.put("b", event_id="same")
        world.settle()
        assert len(world.effects) == 2 * len(STEPS)

    def test_without_time_nothing_is_begun_and_everything_comes_again(self) -> None:
        world = World()
        world.put("a")
        world.put("b")
        assert world.dispatch(world.records, lambda: False) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
        assert not world.live()
        world.settle()
        world.check()

    def test_when_time_runs_out_the_lowest_record_left_is_reported(self) -> None:
        world = World()
        for number in range(12):
            world.put(f"k{number}")
        left = iter([True] * 5 + [False] * 20)
        answer = world.dispatch(world.records, lambda: next(left))
        assert answer is not None
        (failure,) = answer["batchItemFailures"]
        assert failure["itemIdentifier"] == "6"

    def test_an_event_that_was_written_but_not_admitted_is_not_passed_over(self) -> None:
        """The dispatcher died between log and key state, and the source gave the batch up: the log still has it."""
        world = World()
        lost = world.put("k")
        world.faults.arm(5, Fault.DIES_BEFORE)
        world.deliver()
        assert [item["sk"] for item in world.items("key#k")] == [f"event#{lost}"] or world.items("key#k", "event#")
        world.faults.arm(None)
        world.checkpoint = 1
        world.put("k")
        world.settle()
        assert next(effect.position for effect in world.effects if effect.step == "inventory") == lost
        world.check()

    def test_a_large_event_travels_by_reference(self) -> None:
        world = World()
        world.put("k", text="x" * 900_000)
        world.settle()
        (execution,) = world.states.executions
        assert set(execution.input["events"][0]["payload"]) == {"object", "bytes", "sha256"}
        assert {effect.event_id for effect in world.effects} == {"e-1"}

    def test_nothing_is_acknowledged_that_is_not_archived(self) -> None:
        """An archive that can't be written holds the batch back, before anything is admitted."""
        world = World(archive_bucket="archive")
        places = [world.put("k"), world.put("other", text="x" * 200_000)]
        world.put_raw("k", b"nonsense")
        s3 = world.s3
        s3.delete_bucket(Bucket="archive")
        assert not world.deliver()
        assert not any(state.admitted for state in world.key_states().values())
        s3.create_bucket(Bucket="archive")
        world.settle()
        world.check()
        found = list(world.platform.archive.read(world.now_ms - 3_600_000, world.now_ms + 1))
        assert [event.position for event in found] == places

    def test_what_a_batch_that_was_given_up_left_in_the_log_runs_in_its_place_and_is_not_archived(self) -> None:
        """Put again from the failure bucket it is known, and not done twice; that the archive lacks it is a limit."""
        world = World(archive_bucket="archive")
        left = world.put("k", event_id="left")
        world.s3.delete_bucket(Bucket="archive")
        assert not world.deliver()
        world.s3.create_bucket(Bucket="archive")
        world.checkpoint += 1
        places = [world.put("k", event_id="next"), world.put("k", event_id="left")]
        world.settle()
        assert [one.event_id for one in world.effects if one.step == STEPS[0]] == ["left", "next"]
        assert left < places[0]
        found = world.platform.archive.read(world.now_ms - 3_600_000, world.now_ms + 1)
        assert [event.position for event in found] == places[:1]

    def test_an_identity_whose_event_never_reached_the_log_stands_for_nothing(self) -> None:
        """Both are written in one call, of which DynamoDB may do a part: the producer's resend must run."""
        world = World()
        lost = world.put("k", event_id="half")
        world.deliver()
        world.settle()
        world.effects.clear()
        where = {"pk": {"S": "key#k"}, "sk": {"S": f"event#{lost}"}}
        world.dynamodb.delete_item(TableName=world.settings.state_table, Key=where)
        world.put("k", event_id="half")
        world.settle()
        assert {one.step for one in world.effects} == set(STEPS)

    @pytest.mark.parametrize("key", ["k" * 256, "\U0001f600" * 256, "\x00\x01\n", "a#b", "key#", "é", '"\\'])
    def test_any_ordering_key_works(self, key: str) -> None:
        """256 characters, emoji, control characters, our own separators."""
        world = World()
        for kind in ("standard", "express"):
            world.put(key, kind)
        world.settle()
        world.check()
        assert world.state(key).phase is Phase.IDLE
        assert len(world.effects) == 2 * len(STEPS)


class TestSlots:
    def test_no_more_runs_start_than_there_are_slots_and_all_get_their_turn(self) -> None:
        world = World(max_in_flight_runs=2)
        for number in range(9):
            world.put(f"k{number}")
        world.deliver()
        assert len(world.live()) == 2
        assert sum(state.waits_for is WaitsFor.SLOT for state in world.key_states().values()) == 7
        world.settle()
        world.check()

    def test_a_key_keeps_its_slot_for_a_quantum_and_then_offers_it(self) -> None:
        """To any of the keys that wait longest, itself among them."""
        world = World(max_in_flight_runs=1, slot_quantum_runs=2)
        for _ in range(6):
            world.put("busy")
        world.put("patient")
        world.deliver()
        while_patient_waits = turns_before_patient(world)
        assert [turn for _, turn in while_patient_waits] == [1, 2] * (len(while_patient_waits) // 2)

    def test_a_key_of_slow_runs_offers_its_slot_when_its_time_is_up(self) -> None:
        """A quantum of runs alone could keep others waiting for minutes."""
        world = World(max_in_flight_runs=1, slot_quantum_runs=100, slot_quantum_ms=5_000)
        for _ in range(12):
            world.put("busy")
        world.put("patient")
        world.deliver()
        while_patient_waits = turns_before_patient(world)
        assert while_patient_waits
        assert max(turn for _, turn in while_patient_waits) == 3

    def test_slots_that_were_looked_for_in_vain_stay_free(self) -> None:
        """Nobody waits, but the stored figure says so. Each look took a slot for that key, until none was left."""
        world = World(max_in_flight_runs=3)
        assert world.platform.capacity.take(1, world.now_ms, at_most=0) == 0
        for _ in range(3):
            world.watch()
        for number in range(3):
            world.put(f"k{number}")
        world.deliver()
        assert len(world.live()) == 3

    def test_a_slot_that_nobody_took_goes_to_the_next_key_at_once(self) -> None:
        """Not a second later, when slots are counted again, and a look for them is due yet another second later."""
        world = World(max_in_flight_runs=1)
        for key in ("first", "second"):
            world.put(key)
        world.deliver()
        world.run(only(world, "first"))
        world.run(only(world, "second"))
        world.put("late")
        world.deliver()
        assert only(world, "late")

    def test_a_waiting_key_that_cant_be_read_keeps_no_slot_from_the_others(self) -> None:
        """Nor does it fail the sequencer of the key whose run ended."""
        world = World(max_in_flight_runs=1)
        for key in ("first", "unreadable", "last"):
            world.put(key)
        world.deliver()
        item = {"pk": {"S": "key#unreadable"}, "sk": {"S": "state"}}
        found = world.dynamodb.get_item(TableName=world.settings.state_table, Key=item)["Item"]
        changed = found | {"phase": {"S": "dancing"}, "due_at": {"N": "1"}}
        world.dynamodb.put_item(TableName=world.settings.state_table, Item=changed)
        (execution,) = world.live()
        for step in STEPS:
            world.step(execution, step)
        world.finish(execution)
        assert execution.status == "SUCCEEDED"
        assert only(world, "last")

    def test_a_throttled_start_of_another_key_fails_no_sequencer(self) -> None:
        """That key is started again by a message of its own."""
        world = World(max_in_flight_runs=1)
        for key in ("first", "last"):
            world.put(key)
        world.deliver()
        (execution,) = world.live()
        for step in STEPS:
            world.step(execution, step)
        with patch.object(world.states, "start_execution", side_effect=throttled("StartExecution")):
            world.finish(execution)
        assert execution.status == "SUCCEEDED"
        assert world.state("last").phase is Phase.RUNNING
        world.settle()
        assert world.state("last").phase is Phase.IDLE

    def test_keys_whose_workers_never_begin_keep_no_slot_from_others(self) -> None:
        """They are tried again for as long as it takes: not before those that came later each time."""
        world = World(max_in_flight_runs=1)
        for key in (*(f"sick-{number}" for number in range(20)), "well"):
            world.put(key)
        world.deliver()
        turns: list[str] = []
        while "well" not in turns and len(turns) < 80:
            (execution,) = world.live()
            turns.append(execution.key)
            world.now_ms += 5_000
            for message in [one for one in world.messages if one.due_ms <= world.now_ms]:
                world.wake(message)
            execution.answers = {step: never_ran(execution, step) for step in STEPS}
            world.finish(execution)
            if not world.live():
                world.now_ms += 5_000
                world.watch()
        assert turns[-1] == "well"
        assert len(turns) <= 20 + 1 + 2 * 4, "each has had its turn, and four of a bucket are offered a slot at random"

    @pytest.mark.parametrize("behind", [0, 1])
    def test_a_run_ends_though_nobody_can_tell_how_many_are_in_flight(self, behind: int) -> None:
        """That stands in one item, which all that end ask for: it may be throttled where nothing else is."""
        world = World(max_in_flight_runs=1, slot_quantum_runs=1)
        for key in ("k", "other", *["k"] * behind):
            world.put(key)
        world.deliver()
        execution = only(world)
        for step in STEPS:
            world.step(execution, step)
        with patch.object(Capacity, "load", side_effect=Throttled("reading an item of the state table")):
            world.finish(execution)
        assert execution.status == "SUCCEEDED"
        assert world.state("k").phase is (Phase.RUNNING if behind else Phase.IDLE)
        world.settle()
        assert {state.phase for state in world.key_states().values()} == {Phase.IDLE}

    def test_many_keys_that_can_never_start_end_parked(self) -> None:
        """Each hands its slot to the next one, which can't start either: no invocation may follow that chain."""
        world = World(max_in_flight_runs=1)
        for number in range(150):
            world.put(f"k{number}")
        world.deliver(1_000)
        world.states.machines = frozenset()
        execution = world.live()[0]
        world.run(execution)
        assert execution.status == "SUCCEEDED"
        assert sum(state.phase is Phase.PARKED for state in world.key_states().values()) <= 10


class TestExecutions:
    def test_an_express_run_that_was_started_twice_runs_once(self) -> None:
        world = World()
        world.put("k", "express")
        world.deliver()
        world.dispatch(world.records)
        first, twin = world.live()
        assert first.name == twin.name
        world.step(first, "inventory")
        for step in STEPS:
            world.step(twin, step)
        world.finish(twin)
        assert world.state("k").phase is Phase.RUNNING, "the twin was refused and may not end the attempt"
        world.step(first, "payment")
        world.finish(first)
        assert world.state("k").phase is Phase.IDLE
        assert len(world.effects) == len(STEPS)

    def test_a_twin_that_failed_before_it_began_may_not_end_the_bound_ones_attempt(self) -> None:
        world = World()
        world.put("k", "express")
        world.deliver()
        world.dispatch(world.records)
        first, twin = world.live()
        world.step(first, "inventory")
        error = {"Error": "Lambda.TooManyRequestsException", "Cause": ""}
        twin.answers = {s: {"step": s, "execution_id": twin.execution_id, "error": error} for s in STEPS}
        world.finish(twin)
        assert world.state("k").phase is Phase.RUNNING
        world.run(first)
        assert world.state("k").phase is Phase.IDLE

    @pytest.mark.parametrize("what", ["workers", "table"])
    def test_a_key_is_not_parked_because_workers_or_table_were_throttled_for_minutes(self, what: str) -> None:
        """Nothing of such an attempt began, so it uses none up, and says nothing to a breaker either."""
        world = World()
        world.put("k")
        world.deliver()
        for _ in range(3 * int(ROUTE["max_attempts"])):
            execution = only(world)
            if what == "workers":
                execution.answers = {step: never_ran(execution, step) for step in STEPS}
            else:
                throttle = patch.object(StepStore, "load", side_effect=Throttled("reading the state table"))
                with throttle:
                    for step in STEPS:
                        world.step(execution, step)
            world.finish(execution)
            state = world.state("k")
            assert (state.phase, state.waits_for) == (Phase.WAITING, WaitsFor.TIME)
            world.now_ms = state.not_before_ms
            world.watch()
        world.run(only(world))
        assert world.state("k").phase is Phase.IDLE
        assert len(world.effects) == len(STEPS)

    def test_what_the_table_refuses_after_the_work_is_a_failed_attempt(self) -> None:
        """The step was done, and will be done again: that may not go on for ever."""
        world = World()
        world.put("k")
        world.deliver()
        execution = only(world)
        with patch.object(StepStore, "store", side_effect=Throttled("writing to the state table")):
            world.step(execution, "inventory")
        world.step(execution, "payment")
        world.finish(execution)
        run = world.state("k").run
        assert run is not None
        assert run.attempt == 2

    @pytest.mark.parametrize("wanted", ["", "fail once"])
    def test_a_sequencer_that_meets_another_write_of_its_key_waits_for_it(self, wanted: str) -> None:
        """A dispatcher admits an event, or a person holds the key, in the very milliseconds: no reason to fail."""
        world = World()
        world.put("k", payment=wanted)
        world.deliver()
        execution = only(world)
        execution.answers = {step: world.work(execution, step) for step in STEPS}
        call = "transact_write_items" if wanted else "put_item"
        refusal = throttled(call, "TransactionCanceledException" if wanted else "TransactionConflictException")
        if wanted:
            reasons: Any = {"CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "None"}]}
            refusal.response.update(reasons)
        refusals, make = [refusal, refusal], getattr(world.dynamodb, call)

        def meeting(**arguments: Any) -> Any:
            if refusals:
                raise refusals.pop()
            return make(**arguments)

        with patch.object(world.dynamodb, call, meeting):
            world.finish(execution)
        assert (execution.sequenced, execution.status, refusals) == (1, "SUCCEEDED", [])
        assert world.state("k").phase is (Phase.WAITING if wanted else Phase.IDLE)

    def test_a_zombie_begins_nothing_once_its_attempt_was_given_up(self) -> None:
        world = World()
        world.put("k")
        world.deliver()
        zombie = only(world)
        world.step(zombie, "inventory")
        world.now_ms += 30_000
        world.watch()
        assert zombie.status == "ABORTED"
        assert world.work(zombie, "payment")["outcome"] == "refused"
        assert [effect.step for effect in world.effects] == ["inventory"]

    @pytest.mark.parametrize("is_bound", [False, True])
    def test_a_zombie_begins_nothing_while_the_next_attempt_is_under_way(self, is_bound: bool) -> None:
        """Not even if nobody has begun that attempt yet: the zombie may not bind it to itself."""
        world = World()
        world.put("k")
        world.deliver()
        zombie = only(world)
        world.now_ms += 30_000
        world.watch()
        world.now_ms += 10_000
        world.watch()
        state = world.state("k")
        assert (state.phase, state.fence) == (Phase.RUNNING, 2)
        if is_bound:
            world.step(only(world), "inventory")
        before = len(world.effects)
        for step in STEPS:
            assert world.work(zombie, step)["outcome"] == "refused"
        assert len(world.effects) == before
        world.settle()
        world.check()

    def test_the_next_attempt_waits_for_a_worker_that_may_still_act(self) -> None:
        """Its task failed at once with an error that proves nothing, while it works on."""
        world = World()
        world.put("k", inventory="vanish once")
        world.deliver()
        world.run(only(world))
        (effect,) = [one for one in world.effects if one.step == "inventory"]
        state = world.state("k")
        assert state.not_before_ms >= effect.ended_by_ms
        world.now_ms = effect.ended_by_ms - 1
        world.watch()
        assert not world.live()
        world.settle()
        world.check()

    def test_a_zombies_report_changes_nothing(self) -> None:
        world = World()
        world.put("k")
        world.deliver()
        zombie = only(world)
        for step in STEPS:
            world.step(zombie, step)
        world.now_ms += 30_000
        world.watch()
        before = world.state("k")
        steps = list(zombie.answers.values())
        assert sequence(world.platform, {"run": zombie.input["run"], "steps": steps})["refusal"] == "wrong_phase"
        assert world.state("k") == before

    def test_finished_steps_are_not_run_again_by_the_next_attempt(self) -> None:
        world = World()
        world.put("k", payment="fail once")
        world.deliver()
        execution = only(world)
        world.step(execution, "inventory")
        execution.answers["payment"] = {
            "step": "payment", "execution_id": execution.execution_id, "error": {"Error": "States.Timeout"},
        }  # fmt: skip
        world.finish(execution)
        world.settle()
        assert [effect.step for effect in world.effects].count("inventory") == 1
        world.check()

    def test_a_worker_with_too_little_time_left_does_not_begin_and_no_attempt_is_used_up(self) -> None:
        world = World()
        world.put("k")
        world.deliver()
        run = world.state("k").run
        assert run is not None
        world.now_ms = run.deadline_ms - WORKER_TIMEOUT_MS
        execution = only(world)
        for step in STEPS:
            assert world.work(execution, step)["outcome"] == "out_of_time"
            execution.answers[step] = world.work(execution, step)
        world.finish(execution)
        state = world.state("k")
        assert state.waits_for is WaitsFor.TIME
        assert state.run is not None
        assert state.run.attempt == 1
        world.settle()
        world.check()

    def test_a_run_is_full_whatever_the_run_before_could_take(self) -> None:
        """Only as many events are read as the route before takes, then the rest."""
        world = World()
        kinds = ["express", "express", *["batch"] * 5, "express", "batch"]
        for kind in kinds:
            world.put("k", kind)
        world.settle()
        world.check()
        events_of_runs = Counter(effect.fence for effect in world.effects if effect.step == "inventory")
        assert [events for _, events in sorted(events_of_runs.items())] == [1, 1, 3, 2, 1, 1]

    def test_a_batch_goes_on_from_its_finished_prefix(self) -> None:
        world = World(max_in_flight_runs=1)
        world.put("other")
        for number in range(3):
            world.put("k", "batch", inventory="fail once" if number == 1 else "")
        world.deliver()
        world.settle()
        positions = [effect.position for effect in world.effects if (effect.key, effect.step) == ("k", "inventory")]
        assert sorted(positions) == positions
        assert len(positions) == 4, "the second event twice, the first and the third once"
        assert len([one for one in world.states.executions if one.key == "k"]) == 1

    def test_a_result_that_another_worker_stored_first_stands(self) -> None:
        world = World()
        world.put("k")
        world.deliver()
        execution = only(world)
        task = Task.from_payload({"step": "inventory", "execution_id": "uuid-0", **execution.input})
        first = work(world.bench, task, lambda: WORKER_TIMEOUT_MS, lambda _event, _step: {"n": 1})
        second = work(world.bench, task, lambda: WORKER_TIMEOUT_MS, lambda _event, _step: {"n": 2})
        assert first["results"] == second["results"] == [{"n": 1}]


class TestFailing:
    def test_a_parked_key_stays_and_others_flow(self) -> None:
        world = World()
        world.put("bad", inventory="permanent")
        world.put("bad")
        for number in range(3):
            world.put(f"good{number}")
        world.settle()
        world.check()
        state = world.state("bad")
        assert state.parked is not None
        assert "no such card" in state.parked.reason
        assert (state.admitted, state.finished) == (2, 0)

    def test_skip_dead_letters_and_goes_on(self) -> None:
        world = World()
        bad = world.put("k", "skip", inventory="permanent")
        world.put("k", "skip")
        world.settle()
        world.check()
        assert [item["position"] for item in world.items("deadletter#")] == [bad]
        assert world.state("k").phase is Phase.IDLE

    def test_fail_behind_dead_letters_what_queues_and_what_still_comes(self) -> None:
        world = World()
        places = [world.put("k", "behind", inventory="permanent"), world.put("k", "behind")]
        world.settle()
        places.append(world.put("k", "behind"))
        world.settle()
        world.check()
        assert sorted(item["position"] for item in world.items("deadletter#")) == places
        assert world.state("k").finished == 3

    def test_attempts_are_used_up_and_told_of(self) -> None:
        world = World()
        world.put("k", inventory="fail")
        world.settle()
        records = world.items("key#k", "attempt#")
        assert [(item["attempt"], item["outcome"]) for item in records] == [(1, "failed"), (2, "failed")]
        assert "no answer from the provider" in records[0]["reason"]

    def test_an_input_that_is_too_large_parks_its_key_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(applying, "EXECUTION_INPUT_BYTES_MAX", 5_000)
        world = World()
        world.put("k", text="x" * 6_000)
        world.put("fine")
        world.settle()
        state = world.state("k")
        assert state.parked is not None
        assert state.parked.reason == "cannot start: its input has more than 5000 bytes"
        assert world.state("fine").phase is Phase.IDLE

    def test_no_event_that_is_taken_in_makes_too_large_an_input(self) -> None:
        """Numbers grow when they are written anew: 1e9 becomes 1000000000.0."""
        world = World()
        event = {"specversion": "1.0", "id": "e-1", "source": "/test", "type": "standard", "data": {}}
        raw = json.dumps(event)[:-2] + '"n":[' + ",".join(["1e9"] * 24_900) + "]}}"
        assert len(raw) < 100_000
        world.put_raw("k", raw.encode(), "e-1")
        world.settle()
        assert world.state("k").phase is Phase.IDLE
        world.check()

    def test_a_removed_route_parks_what_it_left_behind(self) -> None:
        world = World(max_in_flight_runs=1)
        world.put("other")
        world.put("k", "express")
        world.deliver()
        left = Routes(tuple(one for one in world.platform.routes.routes if one.name != "express"))
        world.platform = replace(world.platform, routes=left)
        world.settle()
        state = world.state("k")
        assert state.parked is not None
        assert state.parked.reason == NO_ROUTE

    def test_what_was_done_before_a_route_was_removed_is_done_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The route is back with smaller batches: a run's first event finds its result among those of the batch."""
        monkeypatch.setattr(steps, "_NEAR_ITEMS", 2)  # as though a wide Map's results lay there
        world = OperatedWorld()
        put_batch(world)
        world.deliver()
        world.run(only(world))
        lose_its_route_for_a_while(world)
        world.check()
        assert done_in(world, 0) == ONCE

    def test_what_a_fresh_replay_had_done_before_a_route_was_removed_is_done_once(self) -> None:
        """Its generation was made for it, and yet there are results behind the new slices."""
        world = OperatedWorld()
        world.is_repaired = True
        places = put_batch(world)
        world.settle()
        world.is_repaired = False
        spans = [Span(places[0], places[-1])]
        rewind_key(world.platform, "k", spans, OPERATOR, replay="r", is_new_generation=True)
        world.settle()
        world.operate("resume", "k")
        lose_its_route_for_a_while(world)
        assert world.state("k").phase is Phase.IDLE
        assert done_in(world, 1) == ONCE

    def test_what_a_fresh_resume_had_done_before_a_route_was_removed_is_done_once(self) -> None:
        """What is cut anew goes on in its generation: nobody pays twice, under two names."""
        world = OperatedWorld()
        put_batch(world)
        world.outage = {"payment"}
        world.settle()
        world.outage = set()
        world.operate("resume", "k", is_fresh=True)
        world.settle()
        world.operate("resume", "k")
        lose_its_route_for_a_while(world)
        world.check()
        assert world.state("k").phase is Phase.IDLE
        assert done_in(world, 1) == ONCE
        assert not {step for _, step in done_in(world, 0)} & {"payment"}

    def test_a_start_that_is_refused_for_good_parks(self) -> None:
        world = World()
        world.states.machines = frozenset({"order-express"})
        world.put("k")
        world.put("fine", "express")
        world.settle()
        state = world.state("k")
        assert state.parked is not None
        assert "StateMachineDoesNotExist" in state.parked.reason
        assert world.state("fine").phase is Phase.IDLE


class TestWatchdog:
    def test_a_status_change_heals_at_once_what_the_deadline_would_heal_later(self) -> None:
        world = World()
        world.put("k")
        world.deliver()
        execution = only(world)
        world.step(execution, "inventory")
        world.fail(execution, "TIMED_OUT")
        world.ask_watchdog(world.status_change(execution))
        assert world.state("k").waits_for is WaitsFor.TIME
        world.settle()
        world.check()

    def test_an_old_status_change_changes_nothing(self) -> None:
        world = World()
        world.put("k")
        world.put("k")
        world.deliver()
        old = only(world)
        world.run(old)
        old.status = "FAILED"
        before = world.state("k")
        world.ask_watchdog(world.status_change(old))
        assert world.state("k") == before

    def test_a_status_change_of_a_releases_run_is_taken_up(self) -> None:
        """It was started on a version of its state machine, whose ARN ends in the version's number."""
        world = World()
        world.put("k")
        world.deliver()
        execution = only(world)
        world.fail(execution, "TIMED_OUT")
        change = world.status_change(execution)
        change["detail"]["stateMachineArn"] += ":7"
        assert world.ask_watchdog(change) == {"status": "TIMED_OUT"}
        assert world.state("k").waits_for is WaitsFor.TIME

    def test_a_status_change_of_another_stacks_execution_changes_nothing(self) -> None:
        """The rule goes by how names begin: "keyturn-" begins those of a stack "keyturn-production" too.

        Its run of the same key has the same name if both get the same events.
        """
        world = World()
        world.put("k")
        world.deliver()
        twins = world.status_change(replace(only(world), status="FAILED"))
        twins["detail"]["stateMachineArn"] = f"{PREFIX}production-order-standard"
        before = world.state("k")
        assert world.ask_watchdog(twins) == {"status": "another stack's"}
        assert world.state("k") == before
        world.settle()
        world.check()

    @pytest.mark.parametrize("text", [None, "", "{}", "[]", '"text"', '{"run": 1}'])
    def test_a_status_change_of_an_execution_that_somebody_started_by_hand_is_left_alone(
        self, text: str | None
    ) -> None:
        world = World()
        detail = {"name": "by-hand", "status": "FAILED"} | ({} if text is None else {"input": text})
        assert world.ask_watchdog({"detail-type": "Step Functions Execution Status Change", "detail": detail})

    def test_a_message_too_early_is_sent_again(self) -> None:
        world = World()
        world.put("k", inventory="hang once")
        world.deliver()
        world.run(only(world))
        before = world.state("k")
        (message,) = [one for one in world.messages if json.loads(one.body)["key"] == "k"]
        world.wake(message)
        assert world.state("k") == before
        (again,) = [one for one in world.messages if json.loads(one.body)["key"] == "k"]
        assert again.due_ms >= before.not_before_ms

    def test_a_message_nobody_understands_is_given_back(self) -> None:
        world = World()
        answer = world.ask_watchdog({"Records": [{"messageId": "m", "body": "nonsense"}]})
        assert answer == {"batchItemFailures": [{"itemIdentifier": "m"}]}

    def test_without_any_message_the_passes_alone_bring_every_key_to_rest(self) -> None:
        """SQS is an alarm clock only."""
        world = World(max_in_flight_runs=1)
        for number in range(4):
            world.put(f"k{number}", inventory="fail once", payment="hang once")
        for _ in range(200):
            world.messages.clear()
            moves = world.moves()
            if moves:
                moves[0]()
            elif world.is_settled():
                break
            else:
                world.now_ms += 5_000
        assert world.is_settled()
        world.check()


def test_an_event_source_that_delivers_one_record_at_a_time_gives_the_same_result() -> None:
    """Batches are a matter of speed only."""
    world = World()
    for number in range(6):
        world.put(f"k{number % 2}", "batch")
    while world.checkpoint < len(world.records):
        world.deliver(1)
    world.settle()
    world.check()
