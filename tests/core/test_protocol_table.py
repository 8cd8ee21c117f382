"""The protocol's table, cell by cell, and each refusal: what a command changes, and why it changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest

from keyturn.core import commands as ask
from keyturn.core.actions import (
    Count,
    DivertPending,
    Emit,
    HandOn,
    RecordAttempt,
    RecordDeadLetter,
    RecordOperation,
    SeekSlot,
    StartRun,
    WakeAt,
)
from keyturn.core.draining import DrainingExecution
from keyturn.core.positions import predecessor
from keyturn.core.protocol import ACCEPTS, NO_ROUTE, Refusal, Transition
from keyturn.core.route import Exhaustion
from keyturn.core.state import Due, Hold, KeyState, Phase, Queue, WaitsFor, due, to_run
from tests.core import states as make
from tests.core.states import EXPRESS, NESTED, NOW_MS, OPERATOR, ROUTE, at, decide, finish, following, on_hold
from tests.core.world import WORKER_TIMEOUT_MS, route

SKIP = route(Exhaustion.SKIP)
FAIL_BEHIND = route(Exhaustion.FAIL_BEHIND)
QUIET_MS = WORKER_TIMEOUT_MS + make.RULES.clock_margin_ms
"""How long an unclean end keeps its key back, if the run's deadline is not sooner."""


def kinds(done: Transition) -> set[type]:
    """Return the types of a transition's actions."""
    return {type(action) for action in done.actions}


def starts(done: Transition) -> list[StartRun]:
    """Return the starts that a transition asks for."""
    return [action for action in done.actions if isinstance(action, StartRun)]


PHASES: dict[Phase, Callable[[], KeyState]] = {
    Phase.IDLE: make.idle,
    Phase.WAITING: make.waiting_for_slot,
    Phase.RUNNING: make.bound,
    Phase.PARKED: make.parked,
}
COMMANDS: dict[type[ask.Command], ask.Command] = {
    ask.Admit: make.admit(2),
    ask.Claim: ask.Claim(following(1)),
    ask.Rejoin: ask.Rejoin(DrainingExecution("x", "n", "m", 0, NOW_MS)),
    ask.Bind: ask.Bind(1, "x"),
    ask.Finish: finish(),
    ask.Expire: ask.Expire(1, ask.Evidence.HUNG, ROUTE, None),
    ask.GiveUp: ask.GiveUp(1, "no", ROUTE, None),
    ask.Divert: ask.Divert(at(1), 1),
    ask.Extend: ask.Extend(1, "x", NOW_MS),
    ask.Postpone: ask.Postpone(1, NOW_MS),
    ask.Retime: ask.Retime(NOW_MS),
    ask.Park: ask.Park("no"),
    ask.Hold: ask.Hold(OPERATOR),
    ask.Release: ask.Release(OPERATOR),
    ask.Resume: ask.Resume(OPERATOR),
    ask.Skip: ask.Skip(OPERATOR, make.cut(1), None),
    ask.Rewind: make.rewind(make.idle(), (1, 1)),
    ask.CancelReplay: ask.CancelReplay(OPERATOR, "r1", None),
}


def test_every_command_is_tried_in_every_phase() -> None:
    """A new command can't be forgotten here."""
    assert set(COMMANDS) == set(get_args(ask.Command))


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
def test_an_empty_cell_changes_nothing(phase: Phase, kind: type[ask.Command]) -> None:
    """Redelivery, zombies and repeated calls meet a phase that they no longer fit; that is an answer, not an error."""
    if kind in ACCEPTS[phase]:
        return
    done = decide(PHASES[phase](), COMMANDS[kind])
    assert done.refusal is Refusal.WRONG_PHASE
    assert done.records == ()


class TestAdmit:
    def test_an_idle_key_claims_a_run(self) -> None:
        done = decide(make.idle(), make.admit(1))
        assert done.state.phase is Phase.RUNNING
        assert (done.state.fence, done.state.admitted, done.state.tail) == (1, 1, at(1))
        assert [start.run for start in starts(done)] == [done.state.run]

    def test_an_idle_key_without_a_slot_waits_in_the_index(self) -> None:
        done = decide(make.idle(), make.admit(1, next=following(1, has_slot=False)))
        assert done.state.waits_for is WaitsFor.SLOT
        assert not starts(done)
        assert (found := due(done.state, 1)) is not None
        assert found.queue is Queue.WAITING

    def test_an_idle_key_whose_last_run_ended_uncleanly_waits_until_no_zombie_is_left(self) -> None:
        skipped = make.after(make.bound(by=SKIP), finish(replace(make.UNCLEAN, permanent=True), by=SKIP))
        assert skipped.phase is Phase.IDLE
        done = decide(skipped, make.admit(2, next=following(2)))
        assert done.state.waits_for is WaitsFor.TIME
        assert done.actions == (WakeAt(NOW_MS + QUIET_MS),)

    def test_a_busy_key_only_moves_its_tail(self) -> None:
        before = make.bound()
        done = decide(before, make.admit(2))
        assert (done.state.run, done.state.fence, done.state.tail) == (before.run, 1, at(2))
        assert done.actions == ()

    def test_a_redelivery_starts_a_claimed_run_again_that_nobody_began(self) -> None:
        assert starts(decide(make.running(), make.admit(1)))
        assert starts(decide(make.running(), make.admit(2, is_redelivery=True)))
        assert not starts(decide(make.bound(), make.admit(1)))

    def test_what_is_admitted_already_changes_nothing(self) -> None:
        assert decide(make.bound(2), make.admit(2)).refusal is Refusal.NOTHING_NEW

    def test_a_parked_key_collects_its_events(self) -> None:
        done = decide(make.parked(), make.admit(2))
        assert (done.state.phase, done.state.tail, done.actions) == (Phase.PARKED, at(2), ())

    def test_a_key_that_fails_behind_diverts_them(self) -> None:
        done = decide(make.parked(exhaustion=Exhaustion.FAIL_BEHIND), make.admit(2))
        assert done.actions == (DivertPending(),)

    def test_a_type_without_a_route_parks_the_key(self) -> None:
        done = decide(make.idle(), make.admit(1, next=following(1, by=None)))
        assert done.state.parked is not None
        assert done.state.parked.reason == NO_ROUTE
        assert HandOn not in kinds(done), "a key that had no slot has none to hand on"


class TestClaim:
    def test_a_key_that_waits_for_a_slot_runs(self) -> None:
        done = decide(make.waiting_for_slot(), ask.Claim(following(1)))
        assert (done.state.phase, done.state.fence) == (Phase.RUNNING, 1)

    def test_without_a_slot_it_waits_on(self) -> None:
        done = decide(make.waiting_for_slot(), ask.Claim(following(1, has_slot=False)))
        assert done.refusal is Refusal.NO_SLOT

    def test_nobody_starts_a_key_before_its_time(self) -> None:
        waiting = make.waiting_for_time()
        assert decide(waiting, ask.Claim(following(1)), waiting.not_before_ms - 1).refusal is Refusal.TOO_EARLY

    def test_a_retry_keeps_its_slice_and_takes_the_next_fence(self) -> None:
        waiting = make.waiting_for_time(2)
        done = decide(waiting, ask.Claim(following(1)), waiting.not_before_ms)
        assert done.state.run is not None
        assert (done.state.fence, done.state.run.attempt, done.state.run.execution_id) == (2, 2, None)
        wider = ask.Claim(ask.Next(make.cut(1, 2), ROUTE, True))
        assert decide(waiting, wider, waiting.not_before_ms).refusal is Refusal.OTHER_SLICE

    def test_a_retry_whose_time_has_come_queues_for_a_slot(self) -> None:
        waiting = make.waiting_for_time()
        done = decide(waiting, ask.Claim(following(1, has_slot=False)), waiting.not_before_ms)
        assert done.state.waits_for is WaitsFor.SLOT
        assert done.state.run is not None
        assert Emit(Count.RESTARTED) not in done.actions

    def test_a_retry_whose_route_is_gone_is_parked_and_hands_no_slot_on(self) -> None:
        waiting = make.waiting_for_time()
        done = decide(waiting, ask.Claim(following(1, by=None)), waiting.not_before_ms)
        assert done.state.phase is Phase.PARKED
        assert HandOn not in kinds(done), "a key that had no slot has none to hand on"

    def test_a_held_key_starts_nothing_even_with_a_slot(self) -> None:
        for state in (make.held(make.waiting_for_slot()), make.held(make.waiting_for_time())):
            assert decide(state, ask.Claim(following(1)), NOW_MS + QUIET_MS).refusal is Refusal.HELD

    def test_a_key_whose_route_is_held_waits_in_that_routes_queue(self) -> None:
        waiting = make.after(make.waiting_for_slot(), ask.Claim(on_hold(1)))
        assert due(waiting, 1) == Due(Queue.HELD, NOW_MS, "sample")
        assert decide(waiting, ask.Claim(on_hold(1))).refusal is Refusal.HELD
        assert make.after(waiting, ask.Claim(following(1))).phase is Phase.RUNNING

    def test_a_key_whose_route_is_another_by_now_waits_for_that_ones_release(self) -> None:
        """Its events' type was given to another route, which is held too: the first one's release must not find it."""
        state = make.after(make.held_route(), ask.Claim(on_hold(1, "other")))
        assert (state.waits_for, state.held_route) == (WaitsFor.RELEASE, "other")

    def test_a_key_whose_route_was_released_too_early_waits_for_its_time(self) -> None:
        """It may not stay in the queue of a route that isn't held any more: nobody looks there again."""
        unclean = replace(make.UNCLEAN, permanent=True)
        state = make.after(make.bound(2, SKIP), finish(unclean, by=SKIP, next=on_hold(2)))
        assert state.waits_for is WaitsFor.RELEASE
        assert decide(state, ask.Claim(on_hold(2))).refusal is Refusal.HELD
        done = decide(state, ask.Claim(following(2)))
        assert done.state.waits_for is WaitsFor.TIME
        assert done.actions == (WakeAt(NOW_MS + QUIET_MS),)


class TestBind:
    def test_the_first_worker_binds_the_attempt_to_its_execution(self) -> None:
        state = make.bound()
        assert state.run is not None
        assert state.run.execution_id == "x"

    def test_the_next_worker_of_the_same_execution_changes_nothing(self) -> None:
        assert decide(make.bound(), ask.Bind(1, "x")).refusal is Refusal.NOTHING_NEW

    def test_the_twin_of_a_doubled_start_is_refused(self) -> None:
        assert decide(make.bound(), ask.Bind(1, "twin")).refusal is Refusal.OTHER_EXECUTION

    def test_a_zombie_is_refused(self) -> None:
        assert decide(make.bound(), ask.Bind(0, "x")).refusal is Refusal.SUPERSEDED


class TestFinish:
    def test_the_cursor_moves_and_the_key_is_idle(self) -> None:
        done = decide(make.bound(), finish())
        assert (done.state.phase, done.state.cursor, done.state.finished) == (Phase.IDLE, at(1), 1)
        assert due(done.state, 1) is None
        assert HandOn in kinds(done)
        assert done.records == (), "a clean first success needs no record"

    def test_the_next_run_is_claimed_in_the_same_write(self) -> None:
        done = decide(make.bound(2), finish(next=following(2)))
        assert (done.state.phase, done.state.cursor, done.state.fence) == (Phase.RUNNING, at(1), 2)
        assert len(starts(done)) == 1
        assert HandOn not in kinds(done)

    def test_a_key_whose_turn_is_over_waits_and_hands_its_slot_on(self) -> None:
        done = decide(make.bound(2), finish(next=following(2, has_slot=False)))
        assert (done.state.waits_for, done.state.turn) == (WaitsFor.SLOT, 0)
        assert HandOn in kinds(done)

    def test_an_older_fence_changes_nothing(self) -> None:
        """Not even while the present attempt belongs to no execution yet, so that no id could tell them apart."""
        waiting = make.waiting_for_time()
        again = make.after(waiting, ask.Claim(following(1)), waiting.not_before_ms)
        assert again.run is not None
        assert again.run.execution_id is None
        for ending in (make.FINE, make.FAILED):
            done = decide(again, finish(ending, fence=1), waiting.not_before_ms)
            assert done.refusal is Refusal.SUPERSEDED
        assert starts(done) == [StartRun(again.run)], "and the run that is claimed now is started again"

    def test_a_finish_that_comes_twice_changes_nothing_and_starts_the_claimed_run_again(self) -> None:
        after = make.after(make.bound(2), finish(next=following(2)))
        done = decide(after, finish(next=following(2)))
        assert done.refusal is Refusal.SUPERSEDED
        assert len(starts(done)) == 1

    @pytest.mark.parametrize("ending", [make.FINE, make.FAILED, make.UNCLEAN])
    @pytest.mark.parametrize("kind", [ROUTE, EXPRESS], ids=["standard", "express"])
    def test_the_unbound_twin_may_not_end_the_bound_ones_attempt(self, ending: ask.Ending, kind: object) -> None:
        """A doubled Express start: the twin whose workers never began reports, while the bound one is at work."""
        state = make.bound(by=EXPRESS if kind is EXPRESS else ROUTE)
        assert decide(state, finish(ending, execution_id="twin")).refusal is Refusal.OTHER_EXECUTION

    def test_an_express_execution_that_lost_its_id_proves_nothing(self) -> None:
        state = make.bound(by=EXPRESS)
        assert decide(state, finish(make.FAILED, execution_id=None)).refusal is Refusal.OTHER_EXECUTION

    def test_a_nested_run_is_reported_by_the_execution_around_it(self) -> None:
        """Its name is unique, and nobody else starts the Express one: the failure is believed, and isn't clean."""
        state = make.bound(by=NESTED)
        done = decide(state, finish(make.UNCLEAN, execution_id=None))
        assert done.refusal is None
        assert done.state.not_before_ms > NOW_MS
        assert decide(state, finish(make.FINE, execution_id=None)).refusal is Refusal.OTHER_EXECUTION

    def test_an_attempt_record_tells_in_which_execution_it_ran(self) -> None:
        """Where that isn't the one of its own name."""
        own = make.bound().run
        assert own is not None
        for name, told in (("", ""), (own.execution_name, ""), ("an-earlier-one", "an-earlier-one")):
            done = decide(make.bound(), replace(finish(make.FAILED), execution_name=name))
            assert [record.ran_in for record in done.records if isinstance(record, RecordAttempt)] == [told]

    def test_a_standard_execution_that_lost_its_id_may_report_failure_but_no_success(self) -> None:
        assert decide(make.bound(), finish(make.UNCLEAN, execution_id=None)).refusal is None
        assert decide(make.bound(), finish(make.FINE, execution_id=None)).refusal is Refusal.OTHER_EXECUTION

    def test_a_failure_is_tried_again_after_its_backoff(self) -> None:
        done = decide(make.bound(), finish(make.FAILED))
        assert done.state.waits_for is WaitsFor.TIME
        assert done.state.not_before_ms == NOW_MS + 1_000
        assert done.state.run is not None
        assert (done.state.run.attempt, done.state.run.execution_id) == (2, None)
        assert kinds(done) >= {WakeAt, HandOn}
        assert [type(record) for record in done.records] == [RecordAttempt]

    def test_after_an_unclean_end_the_key_rests_until_no_worker_can_be_at_work(self) -> None:
        assert decide(make.bound(), finish(make.UNCLEAN)).state.not_before_ms == NOW_MS + QUIET_MS

    def test_the_rest_ends_with_the_deadline_if_that_is_sooner(self) -> None:
        state = make.bound()
        assert state.run is not None
        now_ms = state.run.deadline_ms - 1
        done = decide(state, finish(replace(make.UNCLEAN, permanent=True)), now_ms)
        assert done.state.not_before_ms == state.run.deadline_ms

    def test_being_out_of_time_uses_no_attempt_up(self) -> None:
        late = ask.Ending(ask.Outcome.OUT_OF_TIME, clean=True)
        done = decide(make.bound(), finish(late))
        assert done.state.run is not None
        assert done.state.run.attempt == 1

    def test_a_retry_waits_for_a_slot_since_its_event_came_unless_it_used_no_attempt_up(self) -> None:
        """What is tried for as long as it takes would stand before all others for as long."""
        late = ask.Ending(ask.Outcome.OUT_OF_TIME, clean=True)
        for ending, since_ms in ((make.FAILED, following(1).slice.arrived_at_ms), (late, NOW_MS)):
            waiting = make.after(make.bound(), finish(ending))
            asked = ask.Claim(replace(following(1), has_slot=False))
            queued = decide(waiting, asked, waiting.not_before_ms).state
            assert (queued.waits_for, queued.waiting_since_ms) == (WaitsFor.SLOT, since_ms)

    def test_the_last_attempt_parks(self) -> None:
        waiting = make.after(make.bound(2), finish(make.FAILED))
        again = make.after(waiting, ask.Claim(following(1)), waiting.not_before_ms)
        done = decide(again, finish(make.FAILED, fence=2, next=following(2)), waiting.not_before_ms)
        assert done.state.phase is Phase.PARKED
        assert done.state.cursor < at(1)
        assert HandOn in kinds(done)

    def test_a_permanent_failure_parks_at_once(self) -> None:
        assert make.parked().parked is not None

    def test_skip_dead_letters_the_run_and_goes_on(self) -> None:
        done = decide(make.bound(2, SKIP), finish(make.HOPELESS, by=SKIP, next=following(2)))
        assert (done.state.phase, done.state.cursor) == (Phase.RUNNING, at(1))
        assert [type(record) for record in done.records] == [RecordAttempt, RecordDeadLetter]

    def test_skip_after_an_unclean_end_rests_first(self) -> None:
        unclean = replace(make.UNCLEAN, permanent=True)
        done = decide(make.bound(2, SKIP), finish(unclean, by=SKIP, next=following(2)))
        assert (done.state.phase, done.state.waits_for) == (Phase.WAITING, WaitsFor.TIME)
        assert not starts(done)

    def test_fail_behind_dead_letters_the_run_and_asks_for_the_rest(self) -> None:
        done = decide(make.bound(2, FAIL_BEHIND), finish(make.HOPELESS, by=FAIL_BEHIND, next=following(2)))
        assert (done.state.phase, done.state.cursor) == (Phase.PARKED, at(1))
        assert DivertPending in kinds(done)
        assert (found := due(done.state, 1)) is not None
        assert found.queue is Queue.RETRY, "the watchdog finds what a crash left"

    def test_a_success_after_failures_is_recorded(self) -> None:
        waiting = make.waiting_for_time()
        again = make.after(waiting, ask.Claim(following(1)), waiting.not_before_ms)
        done = decide(again, finish(fence=2), waiting.not_before_ms)
        assert [type(record) for record in done.records] == [RecordAttempt]

    def test_a_failure_while_the_routes_breaker_is_open_uses_no_attempt_up(self) -> None:
        """Not even one that would be the last, or that the worker calls permanent."""
        ending = ask.Ending(ask.Outcome.UNAVAILABLE, clean=True, permanent=True)
        done = decide(make.bound(), finish(ending))
        assert done.state.run is not None
        assert (done.state.run.attempt, done.state.waits_for) == (1, WaitsFor.TIME)

    def test_a_key_whose_next_route_is_held_waits_for_it_and_hands_its_slot_on(self) -> None:
        done = decide(make.bound(2), finish(next=on_hold(2)))
        assert (done.state.waits_for, done.state.held_route) == (WaitsFor.RELEASE, "sample")
        assert kinds(done) >= {HandOn, Emit}


class TestExpire:
    def test_nobody_is_given_up_before_the_deadline(self) -> None:
        done = decide(make.bound(), ask.Expire(1, ask.Evidence.HUNG, ROUTE, None))
        assert done.refusal is Refusal.TOO_EARLY

    def test_a_hung_attempt_counts_and_waits(self) -> None:
        state = make.bound()
        assert state.run is not None
        done = decide(state, ask.Expire(1, ask.Evidence.HUNG, ROUTE, None), state.run.deadline_ms)
        assert done.state.waits_for is WaitsFor.TIME
        assert done.state.run is not None
        assert done.state.run.attempt == 2

    def test_an_attempt_that_never_started_uses_none_up(self) -> None:
        state = make.running()
        assert state.run is not None
        done = decide(state, ask.Expire(1, ask.Evidence.NEVER_STARTED, ROUTE, None), state.run.deadline_ms)
        assert done.state.run is not None
        assert done.state.run.attempt == 1

    def test_an_execution_known_to_have_ended_need_not_wait_for_the_deadline(self) -> None:
        done = decide(make.bound(), ask.Expire(1, ask.Evidence.ENDED_WITHOUT_FINISH, ROUTE, None))
        assert done.refusal is None
        assert done.state.not_before_ms == NOW_MS + QUIET_MS, "its workers may be at work nevertheless"

    def test_an_older_fence_changes_nothing(self) -> None:
        done = decide(make.bound(), ask.Expire(0, ask.Evidence.ENDED_WITHOUT_FINISH, ROUTE, None))
        assert done.refusal is Refusal.SUPERSEDED

    def test_while_the_routes_breaker_is_open_no_attempt_is_used_up(self) -> None:
        hung = ask.Expire(1, ask.Evidence.ENDED_WITHOUT_FINISH, ROUTE, None, ask.Outcome.UNAVAILABLE)
        done = decide(make.bound(), hung)
        assert done.state.run is not None
        assert done.state.run.attempt == 1
        (record,) = done.records
        assert isinstance(record, RecordAttempt)
        assert record.outcome is ask.Outcome.UNAVAILABLE


class TestGiveUp:
    def test_what_can_never_start_is_parked(self) -> None:
        done = decide(make.running(), ask.GiveUp(1, "no such state machine", ROUTE, None))
        assert done.state.parked is not None
        assert done.state.parked.reason == "no such state machine"

    def test_what_has_begun_is_not_given_up(self) -> None:
        assert decide(make.bound(), ask.GiveUp(1, "no", ROUTE, None)).refusal is Refusal.SUPERSEDED

    def test_an_older_fence_changes_nothing(self) -> None:
        assert decide(make.running(), ask.GiveUp(0, "no", ROUTE, None)).refusal is Refusal.SUPERSEDED


class TestDivert:
    def test_the_cursor_moves_past_what_is_in_the_dead_letters(self) -> None:
        state = make.parked(2, Exhaustion.FAIL_BEHIND)
        done = decide(state, ask.Divert(at(2), 1))
        assert (done.state.cursor, done.state.finished) == (at(2), 2)
        assert (found := due(done.state, 1)) is not None
        assert found.queue is Queue.PARKED

    def test_twice_changes_nothing(self) -> None:
        state = make.after(make.parked(2, Exhaustion.FAIL_BEHIND), ask.Divert(at(2), 1))
        assert decide(state, ask.Divert(at(2), 1)).refusal is Refusal.NOTHING_NEW

    def test_a_key_that_is_simply_parked_keeps_its_events(self) -> None:
        assert decide(make.parked(2), ask.Divert(at(2), 1)).refusal is Refusal.WRONG_PHASE


class TestExtend:
    def test_a_heartbeat_moves_the_deadline_of_the_bound_execution(self) -> None:
        state = make.bound()
        assert state.run is not None
        later_ms = state.run.deadline_ms + 1
        run = make.after(state, ask.Extend(1, "x", later_ms), NOW_MS + 7).run
        assert run is not None
        assert (run.deadline_ms, run.heartbeat_at_ms) == (later_ms, NOW_MS + 7)

    def test_no_heartbeat_shortens_a_run(self) -> None:
        state = make.bound()
        assert state.run is not None
        assert decide(state, ask.Extend(1, "x", state.run.deadline_ms)).refusal is Refusal.NOTHING_NEW

    def test_a_zombie_and_a_twin_extend_nothing(self) -> None:
        state = make.bound()
        assert decide(state, ask.Extend(0, "x", NOW_MS * 2)).refusal is Refusal.SUPERSEDED
        assert decide(state, ask.Extend(1, "twin", NOW_MS * 2)).refusal is Refusal.OTHER_EXECUTION
        assert decide(make.running(), ask.Extend(1, "x", NOW_MS * 2)).refusal is Refusal.OTHER_EXECUTION

    def test_a_retry_begins_without_heartbeats(self) -> None:
        beaten = make.after(make.bound(), ask.Extend(1, "x", NOW_MS * 2))
        run = make.after(beaten, finish(make.FAILED)).run
        assert run is not None
        assert run.heartbeat_at_ms == 0


class TestPostpone:
    def test_a_key_that_waits_is_kept_back_longer_and_woken_later(self) -> None:
        waiting = make.waiting_for_time()
        done = decide(waiting, ask.Postpone(1, waiting.not_before_ms + 5))
        assert done.state.not_before_ms == waiting.not_before_ms + 5
        assert done.actions == (WakeAt(waiting.not_before_ms + 5),)

    def test_a_key_that_waits_for_a_slot_waits_for_its_time_first(self) -> None:
        done = decide(make.waiting_for_slot(), ask.Postpone(0, NOW_MS + 5))
        assert done.state.waits_for is WaitsFor.TIME
        assert done.actions == (WakeAt(NOW_MS + 5),)

    @pytest.mark.parametrize("state", [make.parked(), make.done(1), make.held(make.waiting_for_time())])
    def test_what_waits_for_no_time_goes_on_no_sooner_either(self, state: KeyState) -> None:
        done = decide(state, ask.Postpone(1, NOW_MS * 2))
        assert (done.state.not_before_ms, done.state.waits_for) == (NOW_MS * 2, state.waits_for)
        assert done.actions == ()

    def test_nothing_is_made_sooner(self) -> None:
        waiting = make.waiting_for_time()
        assert decide(waiting, ask.Postpone(1, waiting.not_before_ms)).refusal is Refusal.NOTHING_NEW

    def test_an_older_attempts_delay_changes_nothing(self) -> None:
        assert decide(make.waiting_for_time(), ask.Postpone(0, NOW_MS * 2)).refusal is Refusal.SUPERSEDED


class TestRetime:
    def test_a_deadline_from_a_clock_that_was_ahead_is_brought_back(self) -> None:
        """With the start that the same clock told: how long the run may take is reckoned from it."""
        state = make.bound()
        run = make.after(state, ask.Retime(NOW_MS - 40_000), NOW_MS - 60_000).run
        assert run is not None
        assert (run.started_at_ms, run.deadline_ms) == (NOW_MS - 60_000, NOW_MS - 40_000)

    def test_a_key_that_was_to_wait_for_too_long_is_woken_sooner(self) -> None:
        waiting = replace(make.waiting_for_time(), not_before_ms=NOW_MS + 3_600_000)
        done = decide(waiting, ask.Retime(NOW_MS + 600_000))
        assert (done.state.not_before_ms, done.actions) == (NOW_MS + 600_000, (WakeAt(NOW_MS + 600_000),))

    def test_it_is_not_woken_while_its_workers_may_be_at_work(self) -> None:
        """A deploy may have made workers shorter since, and with them the latest time that can be right."""
        waiting = replace(make.waiting_for_time(), not_before_ms=NOW_MS + 3_600_000)
        assert waiting.run is not None
        waiting = replace(waiting, run=replace(waiting.run, worker_timeout_s=900))
        done = decide(waiting, ask.Retime(NOW_MS + 1))
        assert done.state.not_before_ms == NOW_MS + 900_000 + make.RULES.clock_margin_ms

    def test_a_deadline_does_not_come_before_its_workers_have_ended(self) -> None:
        """Once it is over, the next attempt waits for nobody; and a deploy may have made workers shorter since."""
        state = make.bound()
        assert state.run is not None
        run = replace(state.run, worker_timeout_s=900, deadline_ms=NOW_MS + 3_600_000)
        corrected = make.after(replace(state, run=run), ask.Retime(NOW_MS + 1))
        assert corrected.run is not None
        assert corrected.run.deadline_ms == NOW_MS + 900_000 + make.RULES.clock_margin_ms

    def test_a_key_without_a_run_is_not_woken_while_any_worker_may_be_at_work(self) -> None:
        """That of the run that was passed, which nobody remembers: no Lambda has more than 15 minutes."""
        waiting = replace(make.waiting_for_time(), run=None, not_before_ms=NOW_MS + 3_600_000)
        done = decide(waiting, ask.Retime(NOW_MS + 1))
        assert done.state.not_before_ms == NOW_MS + 900_000 + make.RULES.clock_margin_ms

    @pytest.mark.parametrize("state", [make.bound(), make.waiting_for_time(), make.waiting_for_slot()])
    def test_times_that_can_be_right_stay(self, state: KeyState) -> None:
        assert decide(state, ask.Retime(NOW_MS + 20_000)).refusal is Refusal.NOTHING_NEW


class TestPark:
    @pytest.mark.parametrize("state", [make.waiting_for_slot(), make.held_route(), make.waiting_for_time()])
    def test_a_waiting_key_is_parked_with_its_reason(self, state: KeyState) -> None:
        done = decide(state, ask.Park("its log is short"))
        assert done.state.parked is not None
        assert done.state.parked.reason == "its log is short"
        assert HandOn not in kinds(done), "a key that had no slot has none to hand on"


class TestHold:
    @pytest.mark.parametrize("phase", Phase)
    def test_a_key_in_any_phase_is_held_once_and_says_by_whom(self, phase: Phase) -> None:
        done = decide(PHASES[phase](), COMMANDS[ask.Hold])
        assert done.state.hold == Hold(NOW_MS, "somebody", "because")
        assert done.state.phase is phase
        (record,) = done.records
        assert isinstance(record, RecordOperation)
        assert (record.command, record.by, record.reason) == ("Hold", "somebody", "because")
        assert decide(done.state, COMMANDS[ask.Hold]).refusal is Refusal.NOTHING_NEW

    def test_an_idle_key_that_is_held_is_in_the_index(self) -> None:
        """Or nobody would see that it is, until an event comes."""
        assert due(make.held(make.idle()), 1) == Due(Queue.HELD, NOW_MS)

    def test_a_waiting_key_that_is_held_stands_in_its_own_queue(self) -> None:
        for state in (make.waiting_for_slot(), make.waiting_for_time(), make.held_route()):
            assert due(make.held(state), 1) == Due(Queue.HELD, NOW_MS)

    def test_what_runs_goes_on_and_what_follows_waits(self) -> None:
        state = make.held(make.bound(2))
        done = decide(state, finish(next=following(2)))
        assert (done.state.cursor, done.state.waits_for) == (at(1), WaitsFor.RELEASE)
        assert HandOn in kinds(done)

    def test_a_failed_attempt_of_a_held_key_waits_for_the_release(self) -> None:
        done = decide(make.held(make.bound()), finish(make.UNCLEAN))
        assert (done.state.waits_for, done.state.not_before_ms) == (WaitsFor.RELEASE, NOW_MS + QUIET_MS)
        assert WakeAt not in kinds(done)

    def test_an_event_of_a_held_key_waits(self) -> None:
        done = decide(make.held(make.idle()), make.admit(1))
        assert (done.state.waits_for, done.state.tail) == (WaitsFor.RELEASE, at(1))
        assert not starts(done)


class TestRelease:
    def test_a_waiting_key_looks_for_a_slot(self) -> None:
        done = decide(make.held(make.waiting_for_slot()), COMMANDS[ask.Release])
        assert (done.state.hold, done.state.waits_for) == (None, WaitsFor.SLOT)
        assert SeekSlot() in done.actions
        assert [type(record) for record in done.records] == [RecordOperation]

    def test_no_sooner_than_its_time(self) -> None:
        done = decide(make.held(make.waiting_for_time()), COMMANDS[ask.Release])
        assert done.state.waits_for is WaitsFor.TIME
        assert done.actions == (WakeAt(NOW_MS + QUIET_MS),)

    @pytest.mark.parametrize("state", [make.done(1), make.bound(), make.parked()])
    def test_what_does_not_wait_stays_as_it_is(self, state: KeyState) -> None:
        done = decide(make.held(state), COMMANDS[ask.Release])
        assert replace(done.state, version=0) == replace(state, version=0)

    def test_a_key_that_waits_for_its_route_is_not_released_by_this(self) -> None:
        assert decide(make.held_route(), COMMANDS[ask.Release]).refusal is Refusal.NOTHING_NEW


class TestResume:
    def test_the_run_is_tried_again_with_all_its_attempts(self) -> None:
        done = decide(make.parked(), ask.Resume(OPERATOR))
        assert (done.state.parked, done.state.waits_for, done.state.generation) == (None, WaitsFor.SLOT, 0)
        assert done.state.run is not None
        assert (done.state.run.attempt, done.state.run.execution_id, done.state.run.generation) == (1, None, 0)
        assert SeekSlot() in done.actions

    def test_a_fresh_one_does_its_finished_steps_again_in_every_attempt(self) -> None:
        state = make.after(make.parked(), ask.Resume(OPERATOR, is_fresh=True))
        state = make.after(make.after(state, ask.Claim(following(1))), ask.Bind(2, "y"))
        retry = make.after(state, finish(make.FAILED, fence=2, execution_id="y"))
        again = make.after(retry, ask.Claim(following(1)), retry.not_before_ms)
        assert again.run is not None
        assert (again.run.generation, again.generation) == (1, 1)

    def test_only_that_run_does_them_again(self) -> None:
        state = make.after(make.parked(2), ask.Resume(OPERATOR, is_fresh=True))
        state = make.after(make.after(state, ask.Claim(following(1))), ask.Bind(2, "y"))
        after = make.after(state, finish(fence=2, execution_id="y", next=following(2)))
        assert after.run is not None
        assert after.run.generation == 0

    def test_no_sooner_than_its_time(self) -> None:
        parked = make.after(make.bound(), finish(replace(make.UNCLEAN, permanent=True)))
        done = decide(parked, ask.Resume(OPERATOR))
        assert (done.state.waits_for, done.actions) == (WaitsFor.TIME, (WakeAt(NOW_MS + QUIET_MS),))

    def test_a_held_key_waits_for_its_release(self) -> None:
        assert make.after(make.held(make.parked()), ask.Resume(OPERATOR)).waits_for is WaitsFor.RELEASE

    def test_a_key_that_failed_behind_and_has_nothing_pending_is_idle(self) -> None:
        done = decide(make.parked(1, Exhaustion.FAIL_BEHIND), ask.Resume(OPERATOR))
        assert done.state.phase is Phase.IDLE

    def test_without_a_run_there_is_nothing_to_do_afresh(self) -> None:
        """What no route takes has no finished step; to say that it were done again would be untrue."""
        parked = make.after(make.idle(), make.admit(1, next=following(1, by=None)))
        assert decide(parked, ask.Resume(OPERATOR, is_fresh=True)).refusal is Refusal.NO_RUN
        assert make.after(parked, ask.Resume(OPERATOR)).waits_for is WaitsFor.SLOT

    def test_what_used_its_attempts_up_has_all_of_them_again(self) -> None:
        waiting = make.after(make.bound(), finish(make.FAILED))
        again = make.after(make.after(waiting, ask.Claim(following(1)), waiting.not_before_ms), ask.Bind(2, "y"))
        parked = make.after(again, finish(make.FAILED, fence=2, execution_id="y"), waiting.not_before_ms)
        assert parked.run is not None
        assert parked.run.attempt == 2
        run = make.after(parked, ask.Resume(OPERATOR)).run
        assert run is not None
        assert run.attempt == 1


class TestSkip:
    def test_all_events_of_the_failed_run_are_given_up(self) -> None:
        batch = ask.Next(make.cut(1, 3), ROUTE, has_slot=True)
        state = make.after(make.after(make.idle(), make.admit(3, 3, next=batch)), ask.Bind(1, "x"))
        parked = make.after(state, finish(make.HOPELESS))
        done = decide(parked, ask.Skip(OPERATOR, make.cut(1, 3), None))
        assert (done.state.phase, done.state.cursor, done.state.finished) == (Phase.IDLE, at(3), 3)
        assert Emit(Count.DEAD_LETTERED, 3) in done.actions

    def test_the_failed_run_is_dead_lettered_and_the_key_looks_for_a_slot(self) -> None:
        skip = ask.Skip(OPERATOR, make.cut(1), following(2, has_slot=False))
        done = decide(make.parked(2), skip)
        assert (done.state.cursor, done.state.finished, done.state.waits_for) == (at(1), 1, WaitsFor.SLOT)
        assert [type(record) for record in done.records] == [RecordOperation, RecordDeadLetter]
        assert SeekSlot() in done.actions
        assert HandOn not in kinds(done), "a parked key has no slot to hand on"

    def test_no_sooner_than_its_time(self) -> None:
        parked = make.after(make.bound(2), finish(replace(make.UNCLEAN, permanent=True)))
        done = decide(parked, ask.Skip(OPERATOR, make.cut(1), following(2)))
        assert done.state.waits_for is WaitsFor.TIME
        assert not starts(done)

    def test_a_held_key_waits_for_its_release(self) -> None:
        done = decide(make.held(make.parked(2)), ask.Skip(OPERATOR, make.cut(1), following(2)))
        assert done.state.waits_for is WaitsFor.RELEASE

    def test_what_no_route_takes_is_skipped_too(self) -> None:
        parked = make.after(make.idle(), make.admit(1, next=following(1, by=None)))
        done = decide(parked, ask.Skip(OPERATOR, make.cut(1), None))
        assert (done.state.phase, done.state.cursor, done.state.finished) == (Phase.IDLE, at(1), 1)

    def test_what_the_log_has_lost_is_passed_over(self) -> None:
        """There is nothing to dead-letter, but that somebody did it is recorded."""
        parked = make.after(make.waiting_for_slot(3), ask.Park("its log is short"))
        done = decide(parked, ask.Skip(OPERATOR, None, None))
        assert (done.state.phase, done.state.cursor, done.state.finished) == (Phase.IDLE, at(3), 3)
        assert [type(record) for record in done.records] == [RecordOperation]

    def test_what_the_log_has_lost_of_a_replay_is_passed_over_to_the_next_span(self) -> None:
        state = make.done(3)
        no_slot = make.rewind(state, (1, 1), (3, 3), has_slot=False)
        parked = make.after(make.after(state, no_slot), ask.Park("its log is short"))
        done = decide(parked, ask.Skip(OPERATOR, None, None))
        assert to_run(done.state) == (predecessor(at(3)), at(3))
        assert done.state.finished == 3

    def test_a_key_that_fails_behind_has_nothing_to_skip(self) -> None:
        for state in (make.parked(1, Exhaustion.FAIL_BEHIND), make.parked(2, Exhaustion.FAIL_BEHIND)):
            assert decide(state, ask.Skip(OPERATOR, make.cut(2), None)).refusal is Refusal.NOTHING_TO_SKIP


class TestRewind:
    def test_an_idle_key_runs_finished_events_again_and_is_back_where_it_was(self) -> None:
        state = make.replaying((2, 2))
        assert state.run is not None
        assert (state.run.slice, state.fence, state.cursor) == (make.cut(2), 4, predecessor(at(2)))
        state = make.after(state, ask.Bind(4, "x"))
        done = make.after(state, finish(fence=4))
        assert (done.phase, done.cursor, done.replay, done.finished) == (Phase.IDLE, at(3), None, 3)

    def test_what_lies_between_two_spans_is_left_out(self) -> None:
        state = make.after(make.replaying((1, 1), (3, 3)), ask.Bind(4, "x"))
        after = make.after(state, finish(fence=4, next=following(3)))
        assert after.run is not None
        assert after.run.slice == make.cut(3)

    def test_a_span_is_run_in_as_many_runs_as_it_takes(self) -> None:
        state = make.after(make.replaying((1, 3)), ask.Bind(4, "x"))
        after = make.after(state, finish(fence=4, next=following(2)))
        assert to_run(after) == (at(1), at(3))

    def test_a_new_event_queues_behind(self) -> None:
        state = make.after(make.replaying((1, 1)), make.admit(4))
        done = make.after(make.after(state, ask.Bind(4, "x")), finish(fence=4, next=following(4)))
        assert done.run is not None
        assert (done.run.slice, done.cursor, done.replay) == (make.cut(4), at(3), None)

    @pytest.mark.parametrize(("fresh", "generation"), [(True, 1), (False, 0)])
    def test_a_new_generation_holds_for_the_replays_runs_only(self, fresh: bool, generation: int) -> None:
        state = make.after(make.replaying((1, 1), fresh=fresh), make.admit(4))
        assert state.run is not None
        assert (state.run.generation, state.generation) == (generation, generation)
        after = make.after(make.after(state, ask.Bind(4, "x")), finish(fence=4, next=following(4)))
        assert after.run is not None
        assert after.run.generation == 0

    def test_a_retry_keeps_the_generation(self) -> None:
        state = make.after(make.replaying((1, 1), fresh=True), ask.Bind(4, "x"))
        retry = make.after(state, finish(make.FAILED, fence=4))
        again = make.after(retry, ask.Claim(following(1)), retry.not_before_ms)
        assert again.run is not None
        assert (again.run.generation, again.run.attempt) == (1, 2)

    @pytest.mark.parametrize("how", ["running", "waiting for a time", "held in a retry"])
    def test_during_a_run_it_is_noted_and_begins_when_that_has_passed(self, how: str) -> None:
        state = make.after(make.done(2), make.admit(3, next=following(3)))
        state = make.after(state, ask.Bind(3, "x"))
        if how != "running":
            state = make.after(state, finish(make.FAILED, fence=3))
        if how == "held in a retry":
            state = make.held(state)
        before = state.run
        state = make.after(state, make.rewind(state, (1, 1)))
        assert state.replay is not None
        assert (state.replay.is_noted, state.run, state.cursor) == (True, before, at(2))
        if how == "held in a retry":
            state = make.after(state, COMMANDS[ask.Release])
        if how != "running":
            state = make.after(state, ask.Claim(following(3)), state.not_before_ms)
            state = make.after(state, ask.Bind(4, "x"))
        begun = make.after(state, finish(fence=state.fence, next=following(1)), NOW_MS + QUIET_MS)
        assert begun.is_replaying
        assert (begun.cursor, begun.finished) == (predecessor(at(1)), 3)
        assert begun.run is not None
        assert begun.run.slice == make.cut(1)

    def test_a_waiting_key_without_a_run_waits_for_the_replays_first_event(self) -> None:
        state = make.after(make.done(1), make.admit(2, next=following(2, has_slot=False)))
        done = decide(state, make.rewind(state, (1, 1)))
        assert (done.state.waits_for, to_run(done.state)) == (WaitsFor.SLOT, (predecessor(at(1)), at(1)))
        assert done.actions.count(SeekSlot()) == 1
        assert not starts(done), "its slot is not this command's to take"

    def test_no_sooner_than_its_time(self) -> None:
        """A run that was skipped after an unclean end left the key idle: its zombie may be at work."""
        state = make.after(make.bound(by=SKIP), finish(replace(make.UNCLEAN, permanent=True), by=SKIP))
        done = decide(state, make.rewind(state, (1, 1)))
        assert done.state.waits_for is WaitsFor.TIME
        assert not starts(done)

    def test_a_held_key_waits_for_its_release(self) -> None:
        state = make.held(make.done(1))
        assert make.after(state, make.rewind(state, (1, 1))).waits_for is WaitsFor.RELEASE

    def test_a_parked_key_is_resumed_or_skipped_first(self) -> None:
        state = make.parked(2)
        assert decide(state, make.rewind(state, (1, 1))).refusal is Refusal.WRONG_PHASE

    def test_one_replay_of_a_key_at_a_time(self) -> None:
        state = make.replaying((1, 1))
        assert decide(state, make.rewind(state, (2, 2), id="r2")).refusal is Refusal.REPLAYING

    def test_the_same_replay_is_asked_for_twice_and_runs_once(self) -> None:
        """Its answer was lost: while it is under way, and after it has ended."""
        under_way = make.replaying((1, 1))
        assert decide(under_way, make.rewind(under_way, (1, 1))).refusal is Refusal.NOTHING_NEW
        over = make.after(make.after(under_way, ask.Bind(4, "x")), finish(fence=4))
        assert decide(over, make.rewind(over, (1, 1))).refusal is Refusal.NOTHING_NEW
        assert make.after(over, make.rewind(over, (1, 1), id="r2")).is_replaying

    @pytest.mark.parametrize("field", ["planned_generation", "planned_hold_at_ms"])
    def test_a_key_that_changed_since_it_was_planned_is_left_alone(self, field: str) -> None:
        state = make.done(2)
        planned: Any = {field: 1}
        assert decide(state, make.rewind(state, (1, 1), **planned)).refusal is Refusal.CHANGED

    def test_what_is_not_finished_is_not_replayed(self) -> None:
        state = make.after(make.done(1), make.admit(2, next=following(2)))
        assert decide(state, make.rewind(state, (1, 2))).refusal is Refusal.CHANGED
        assert decide(state, replace(make.rewind(state, (1, 1)), spans=())).refusal is Refusal.CHANGED

    def test_it_is_recorded_with_the_replays_id(self) -> None:
        state = make.done(2)
        (record,) = decide(state, make.rewind(state, (2, 2))).records
        assert isinstance(record, RecordOperation)
        assert (record.command, record.replay, record.position) == ("Rewind", "r1", at(2))

    @pytest.mark.parametrize("exhaustion", [Exhaustion.SKIP, Exhaustion.PARK])
    def test_a_replayed_run_that_fails_for_good_goes_the_routes_way(self, exhaustion: Exhaustion) -> None:
        state = make.after(make.replaying((1, 2)), ask.Bind(4, "x"))
        done = make.after(state, finish(make.HOPELESS, fence=4, by=route(exhaustion), next=following(2)))
        assert done.is_replaying
        assert done.phase is (Phase.PARKED if exhaustion is Exhaustion.PARK else Phase.RUNNING)
        assert done.finished == 3


class TestCancelReplay:
    def test_a_replay_that_is_only_noted_is_forgotten(self) -> None:
        state = make.after(make.done(1), make.admit(2, next=following(2)))
        noted = make.after(state, make.rewind(state, (1, 1)))
        done = make.after(noted, cancel())
        assert (done.replay, done.run, done.cursor) == (None, state.run, at(1))

    def test_the_run_that_is_under_way_ends_and_then_the_cursor_returns(self) -> None:
        state = make.after(make.replaying((1, 3)), cancel())
        assert decide(state, cancel()).refusal is Refusal.NOTHING_NEW
        done = make.after(make.after(state, ask.Bind(4, "x")), finish(fence=4))
        assert (done.phase, done.cursor, done.finished) == (Phase.IDLE, at(3), 3)

    def test_a_key_that_waits_returns_at_once(self) -> None:
        state = make.done(3)
        state = make.after(state, make.rewind(state, (1, 1), has_slot=False))
        assert make.after(state, cancel()).phase is Phase.IDLE
        state = make.after(state, make.admit(4))
        done = make.after(state, cancel(following(4)))
        assert done.run is not None
        assert (done.run.slice, done.cursor) == (make.cut(4), at(3))

    def test_no_sooner_than_its_time(self) -> None:
        """A run of the replay was skipped after an unclean end: the key waits until its zombie is gone."""
        state = make.after(make.after(make.replaying((1, 2)), make.admit(4)), ask.Bind(4, "x"))
        unclean = replace(make.UNCLEAN, permanent=True)
        state = make.after(state, finish(unclean, fence=4, by=SKIP, next=following(2)))
        done = decide(state, cancel(following(4)))
        assert done.state.waits_for is WaitsFor.TIME
        assert not starts(done)

    def test_a_parked_key_keeps_the_run_that_failed(self) -> None:
        state = make.after(make.replaying((1, 2)), ask.Bind(4, "x"))
        parked = make.after(state, finish(make.HOPELESS, fence=4))
        done = make.after(parked, cancel())
        assert (done.phase, done.run) == (Phase.PARKED, parked.run)
        after = make.after(done, ask.Skip(OPERATOR, None, None))
        assert (after.phase, after.cursor, after.replay) == (Phase.IDLE, at(3), None)

    def test_a_key_that_was_parked_for_an_event_of_the_replay_goes_on(self) -> None:
        """No route takes it any more. Left parked, a skip would dead-letter the new event that stands there now."""
        state = make.done(2)
        state = make.after(state, make.rewind(state, (1, 1), next=following(1, by=None)))
        assert state.phase is Phase.PARKED
        state = make.after(state, make.admit(3))
        done = make.after(state, cancel(following(3, has_slot=False)))
        assert (done.waits_for, done.cursor) == (WaitsFor.SLOT, at(2))

    def test_a_key_that_fails_behind_stays_parked(self) -> None:
        state = make.after(make.replaying((1, 2)), ask.Bind(4, "x"))
        state = make.after(state, finish(make.HOPELESS, fence=4, by=FAIL_BEHIND, next=following(2)))
        done = make.after(state, cancel())
        assert (done.phase, done.cursor, done.has_pending) == (Phase.PARKED, at(3), False)

    def test_another_replay_is_not_canceled(self) -> None:
        other = ask.CancelReplay(OPERATOR, "r2", None)
        assert decide(make.replaying((1, 1)), other).refusal is Refusal.NOTHING_NEW
        assert decide(make.bound(), other).refusal is Refusal.NOTHING_NEW


def cancel(after: ask.Next | None = None) -> ask.CancelReplay:
    """Cancel the replay of a key."""
    return ask.CancelReplay(OPERATOR, "r1", after)
