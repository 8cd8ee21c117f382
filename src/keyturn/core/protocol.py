"""The protocol of one key, whole.

A key's events form a log. The *cursor* says up to where the key is finished, the *tail* up to where events were
admitted. A key is `idle` (cursor == tail), `waiting` (for a slot, or for a time), `running` (one attempt at one
run, which is a slice of consecutive events behind the cursor) or `parked` (a person must act).

Every attempt takes the next *fence* of its key, and belongs to the one execution that binds itself to it first.
Whatever carries an older fence, or comes from another execution, changes nothing. `not_before_ms` keeps the next
attempt or run of a key back until no worker of an earlier one can be at work any more: an attempt that ended in any
way but a clean finish may have a worker inside a step, and such a worker is dead by the earlier of the run's deadline
(no worker begins that could outlive it) and the longest worker timeout from now.

`transition` is a pure function: no I/O, no clock, no randomness. It returns

* the new state, which the shell writes if nobody else changed the key meanwhile (compare-and-set on `version`),
* records, which the shell writes first: they are the same item when written twice,
* actions, which the shell carries out last; each may be lost or repeated, see `actions`,
* or a refusal: why nothing changes. Redelivery, zombies and repeated calls are normal here, so a refusal is an
  answer and not an error. Its actions may be there nevertheless: a claimed run nobody began is started again.

Which command a phase takes; a missing cell changes nothing, and the refusal says why:

    idle     Admit
    waiting  Admit  Claim
    running  Admit  Bind  Finish  Expire  GiveUp
    parked   Admit  Divert

The cell Finish x parked, for one, is empty because parking ended the last attempt: that finish comes a second time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from keyturn.core import commands as ask
from keyturn.core.actions import (
    Action,
    Count,
    DivertPending,
    Emit,
    HandOn,
    Record,
    RecordAttempt,
    RecordDeadLetter,
    StartRun,
    WakeAt,
)
from keyturn.core.naming import execution_name
from keyturn.core.route import Exhaustion, Kind, Route
from keyturn.core.state import KeyState, Parked, Phase, Run, WaitsFor

NO_ROUTE: Final = "no route of this deployment fits the event's type any more"


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings that the protocol itself depends on."""

    clock_margin_ms: int = 2_000
    """Added wherever the clocks of two functions meet; covers the skew of both."""
    table_incarnation: int = 1
    """Raised when the table is restored or rebuilt: fences start over then, execution names stay taken."""


class Refusal(StrEnum):
    """Why a command changed nothing."""

    NOTHING_NEW = "nothing_new"
    WRONG_PHASE = "wrong_phase"
    SUPERSEDED = "superseded"
    OTHER_EXECUTION = "other_execution"
    TOO_EARLY = "too_early"
    NO_SLOT = "no_slot"
    OTHER_SLICE = "other_slice"


@dataclass(frozen=True, slots=True)
class Transition:
    """What a command comes to. `state` is the old one when `refusal` is set."""

    state: KeyState
    records: tuple[Record, ...] = ()
    actions: tuple[Action, ...] = ()
    refusal: Refusal | None = None


ACCEPTS: Final[Mapping[Phase, frozenset[type[ask.Command]]]] = {
    Phase.IDLE: frozenset({ask.Admit}),
    Phase.WAITING: frozenset({ask.Admit, ask.Claim}),
    Phase.RUNNING: frozenset({ask.Admit, ask.Bind, ask.Finish, ask.Expire, ask.GiveUp}),
    Phase.PARKED: frozenset({ask.Admit, ask.Divert}),
}


def transition(state: KeyState, command: ask.Command, now_ms: int, rules: Rules) -> Transition:
    """Decide what `command` changes in `state` at `now_ms`; see the module's text."""
    if type(command) not in ACCEPTS[state.phase]:
        return _refuse(state, Refusal.WRONG_PHASE)
    return _HANDLERS[type(command)](state, command, now_ms, rules)


def _admit(state: KeyState, command: ask.Admit, now_ms: int, rules: Rules) -> Transition:
    if command.tail <= state.tail:
        return _refuse(state, Refusal.NOTHING_NEW)
    admitted = replace(
        state,
        tail=command.tail,
        admitted=state.admitted + command.count,
        pending_since_ms=state.pending_since_ms or command.arrived_at_ms,
    )
    if state.phase is Phase.IDLE:
        return _go_on(admitted, command.next, now_ms, rules)
    if state.parked is not None and state.parked.diverts:
        return Transition(admitted, actions=(DivertPending(),))
    return Transition(admitted, actions=_start_again(state) if command.is_redelivery else ())


def _claim(state: KeyState, command: ask.Claim, now_ms: int, rules: Rules) -> Transition:
    if now_ms < state.not_before_ms:
        return _refuse(state, Refusal.TOO_EARLY)
    if state.run is not None and command.next.slice != state.run.slice:
        return _refuse(state, Refusal.OTHER_SLICE)
    if not command.next.has_slot and state.waits_for is WaitsFor.SLOT:
        return _refuse(state, Refusal.NO_SLOT)
    claimed = _start(replace(state, turn=0), command.next, now_ms, rules)
    is_restart = state.run is not None and claimed.state.phase is Phase.RUNNING
    if not is_restart:
        return claimed
    return replace(claimed, actions=(*claimed.actions, Emit(Count.RESTARTED)))


def _bind(state: KeyState, command: ask.Bind, _now_ms: int, _rules: Rules) -> Transition:
    if command.fence != state.fence:
        return _refuse(state, Refusal.SUPERSEDED)
    run = _run_of(state)
    if run.execution_id == command.execution_id:
        return _refuse(state, Refusal.NOTHING_NEW)
    if run.execution_id is not None:
        return _refuse(state, Refusal.OTHER_EXECUTION)
    return Transition(replace(state, run=replace(run, execution_id=command.execution_id)))


def _finish(state: KeyState, command: ask.Finish, now_ms: int, rules: Rules) -> Transition:
    if command.fence != state.fence:
        return _refuse(state, Refusal.SUPERSEDED)
    if not _proves_execution(_run_of(state), command):
        return _refuse(state, Refusal.OTHER_EXECUTION)
    if command.ending.outcome is ask.Outcome.SUCCEEDED:
        return _succeed(state, command.next, now_ms, rules)
    return _fail(state, command.ending, command.route, command.next, now_ms, rules)


def _proves_execution(run: Run, command: ask.Finish) -> bool:
    """Whether the finish comes from the execution that the attempt belongs to.

    An execution that lost its id (its fan-out failed as a whole) is known by its name alone where names are unique:
    Standard. An Express start may happen twice under one name, so there such a finish proves nothing.
    """
    if run.execution_id is None or run.execution_id == command.execution_id:
        return True
    return command.execution_id is None and run.kind is Kind.STANDARD and _is_failure(command)


def _is_failure(command: ask.Finish) -> bool:
    return command.ending.outcome is not ask.Outcome.SUCCEEDED


def _expire(state: KeyState, command: ask.Expire, now_ms: int, rules: Rules) -> Transition:
    if command.fence != state.fence:
        return _refuse(state, Refusal.SUPERSEDED)
    is_over = now_ms >= _run_of(state).deadline_ms or command.evidence is ask.Evidence.ENDED_WITHOUT_FINISH
    if not is_over:
        return _refuse(state, Refusal.TOO_EARLY)
    never_began = command.evidence is ask.Evidence.NEVER_STARTED
    ending = ask.Ending(
        ask.Outcome.OUT_OF_TIME if never_began else ask.Outcome.FAILED, clean=False, reason=command.evidence
    )
    return _fail(state, ending, command.route, command.next, now_ms, rules)


def _give_up(state: KeyState, command: ask.GiveUp, now_ms: int, rules: Rules) -> Transition:
    if command.fence != state.fence or not state.is_unstarted:
        return _refuse(state, Refusal.SUPERSEDED)
    ending = ask.Ending(ask.Outcome.FAILED, clean=False, permanent=True, reason=command.reason)
    return _fail(state, ending, command.route, command.next, now_ms, rules)


def _divert(state: KeyState, command: ask.Divert, _now_ms: int, _rules: Rules) -> Transition:
    if state.parked is None or not state.parked.diverts:
        return _refuse(state, Refusal.WRONG_PHASE)
    if command.through <= state.cursor:
        return _refuse(state, Refusal.NOTHING_NEW)
    diverted = replace(
        state,
        cursor=command.through,
        finished=state.finished + command.count,
        pending_since_ms=state.pending_since_ms if command.through < state.tail else 0,
    )
    return Transition(diverted, actions=(Emit(Count.DEAD_LETTERED, command.count),))


def _succeed(state: KeyState, following: ask.Next | None, now_ms: int, rules: Rules) -> Transition:
    run = _run_of(state)
    after = _go_on(_pass(state, following), following, now_ms, rules)
    records = (RecordAttempt(run, state.fence, ask.Outcome.SUCCEEDED, "", now_ms),) if run.attempt > 1 else ()
    return replace(after, records=records, actions=(Emit(Count.FINISHED, run.slice.count), *after.actions))


def _fail(
    state: KeyState, ending: ask.Ending, route: Route, following: ask.Next | None, now_ms: int, rules: Rules
) -> Transition:
    """End an attempt that did not succeed: try again later, or do what the route says when attempts are used up."""
    run = _run_of(state)
    quiet = replace(state, not_before_ms=_quiet_from(run, ending, route, now_ms, rules))
    record = RecordAttempt(run, state.fence, ending.outcome, ending.reason, now_ms)
    is_counted = ending.outcome is ask.Outcome.FAILED
    if is_counted and (ending.permanent or run.attempt >= route.max_attempts):
        ended = _exhaust(quiet, ending.reason, route, following, now_ms, rules)
    else:
        ended = _retry(quiet, run, route, now_ms, is_counted=is_counted)
    return replace(ended, records=(record, *ended.records), actions=(Emit(Count.FAILED), *ended.actions))


def _quiet_from(run: Run, ending: ask.Ending, route: Route, now_ms: int, rules: Rules) -> int:
    """Tell from when no worker of the ended attempt can be at work any more."""
    if ending.clean:
        return now_ms
    return max(now_ms, min(run.deadline_ms, now_ms + route.worker_timeout_s * 1000 + rules.clock_margin_ms))


def _retry(state: KeyState, run: Run, route: Route, now_ms: int, *, is_counted: bool) -> Transition:
    not_before_ms = max(state.not_before_ms, now_ms + route.backoff.delay_ms(run.attempt))
    waiting = replace(
        state,
        phase=Phase.WAITING,
        waits_for=WaitsFor.TIME,
        waiting_since_ms=now_ms,
        not_before_ms=not_before_ms,
        run=replace(run, attempt=run.attempt + 1 if is_counted else run.attempt, execution_id=None),
    )
    return Transition(waiting, actions=(WakeAt(not_before_ms), HandOn()))


def _exhaust(
    state: KeyState, reason: str, route: Route, following: ask.Next | None, now_ms: int, rules: Rules
) -> Transition:
    run = _run_of(state)
    dead_letter = RecordDeadLetter(run, reason, now_ms)
    gone = Emit(Count.DEAD_LETTERED, run.slice.count)
    match route.on_exhaustion:
        case Exhaustion.PARK:
            return _park(state, reason, now_ms)
        case Exhaustion.SKIP:
            after = _go_on(_pass(state, following), following, now_ms, rules)
            return replace(after, records=(dead_letter,), actions=(gone, *after.actions))
        case Exhaustion.FAIL_BEHIND:
            parked = _park(_pass(state, following), reason, now_ms, diverts=True)
            pending = (DivertPending(),) if parked.state.has_pending else ()
            return replace(parked, records=(dead_letter,), actions=(gone, *parked.actions, *pending))


def _park(state: KeyState, reason: str, now_ms: int, *, diverts: bool = False) -> Transition:
    parked = replace(state, phase=Phase.PARKED, parked=Parked(now_ms, reason, diverts), waits_for=None)
    return Transition(parked, actions=(Emit(Count.PARKED), *_slot_given_up(state)))


def _pass(state: KeyState, following: ask.Next | None) -> KeyState:
    """Move the cursor past the run; what follows it, if anything, is the oldest unfinished event now."""
    run = _run_of(state)
    has_more = run.slice.last < state.tail
    oldest_ms = following.slice.arrived_at_ms if following is not None else state.pending_since_ms
    return replace(
        state,
        cursor=run.slice.last,
        finished=state.finished + run.slice.count,
        run=None,
        pending_since_ms=oldest_ms if has_more else 0,
    )


def _go_on(state: KeyState, following: ask.Next | None, now_ms: int, rules: Rules) -> Transition:
    """Let a key without a run start its next one, wait for its turn, or be idle."""
    if not state.has_pending:
        idle = replace(state, phase=Phase.IDLE, waits_for=None, turn=0)
        return Transition(idle, actions=_slot_given_up(state))
    if now_ms < state.not_before_ms:
        waiting = replace(state, phase=Phase.WAITING, waits_for=WaitsFor.TIME, waiting_since_ms=now_ms, turn=0)
        return Transition(waiting, actions=(WakeAt(state.not_before_ms), *_slot_given_up(state)))
    if following is None:
        return _wait_for_slot(state, now_ms)
    return _start(state, following, now_ms, rules)


def _start(state: KeyState, following: ask.Next, now_ms: int, rules: Rules) -> Transition:
    """Claim a run: next fence, new deadline. Without a slot the key waits, without a route it is parked."""
    if following.route is None:
        return _park(replace(state, run=None), NO_ROUTE, now_ms)
    if not following.has_slot:
        return _wait_for_slot(state, now_ms)
    fence = state.fence + 1
    run = Run(
        slice=following.slice,
        attempt=state.run.attempt if state.run else 1,
        workflow=following.route.workflow,
        kind=following.route.kind,
        started_at_ms=now_ms,
        deadline_ms=now_ms + following.route.run_timeout_s * 1000,
        execution_name=execution_name(following.route.name, rules.table_incarnation, state.key, fence),
    )
    running = replace(
        state, phase=Phase.RUNNING, waits_for=None, fence=fence, turn=state.turn + 1, run=run, parked=None
    )
    return Transition(running, actions=(Emit(Count.STARTED), StartRun(run)))


def _wait_for_slot(state: KeyState, now_ms: int) -> Transition:
    # A retry waits since its event came, not since it failed: at the end of a long queue it would come minutes late.
    since_ms = state.run.slice.arrived_at_ms if state.run else now_ms
    waiting = replace(state, phase=Phase.WAITING, waits_for=WaitsFor.SLOT, waiting_since_ms=since_ms, turn=0)
    return Transition(waiting, actions=(Emit(Count.WAITING), *_slot_given_up(state)))


def _slot_given_up(state: KeyState) -> tuple[Action, ...]:
    return (HandOn(),) if state.phase is Phase.RUNNING else ()


def _refuse(state: KeyState, refusal: Refusal) -> Transition:
    """Change nothing; a claimed run that nobody began is started again, which heals a crash before its start."""
    return Transition(state, actions=_start_again(state), refusal=refusal)


def _start_again(state: KeyState) -> tuple[Action, ...]:
    return (StartRun(state.run),) if state.is_unstarted and state.run is not None else ()


def _run_of(state: KeyState) -> Run:
    assert state.run is not None, "a running key has a run"  # noqa: S101
    return state.run


_Handler = Callable[[KeyState, Any, int, Rules], Transition]

_HANDLERS: Final[Mapping[type[ask.Command], _Handler]] = {
    ask.Admit: _admit,
    ask.Claim: _claim,
    ask.Bind: _bind,
    ask.Finish: _finish,
    ask.Expire: _expire,
    ask.GiveUp: _give_up,
    ask.Divert: _divert,
}
