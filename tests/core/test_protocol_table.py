"""The protocol's table, cell by cell, and each refusal: what a command changes, and why it changes nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from keyturn.core import commands as ask
from keyturn.core.actions import (
    Count,
    DivertPending,
    Emit,
    HandOn,
    RecordAttempt,
    RecordDeadLetter,
    StartRun,
    WakeAt,
)
from keyturn.core.protocol import ACCEPTS, NO_ROUTE, Refusal, Transition
from keyturn.core.route import Exhaustion
from keyturn.core.state import KeyState, Phase, Queue, WaitsFor, due
from tests.core import states as make
from tests.core.states import EXPRESS, NOW_MS, ROUTE, at, decide, finish, following
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
    ask.Bind: ask.Bind(1, "x"),
    ask.Finish: finish(),
    ask.Expire: ask.Expire(1, ask.Evidence.HUNG, ROUTE, None),
    ask.GiveUp: ask.GiveUp(1, "no", ROUTE, None),
    ask.Divert: ask.Divert(at(1), 1),
}


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
