"""The protocol of one key, whole.

A key's events form a log. The *cursor* says up to where the key is finished, the *tail* up to where events were
admitted. A key is `idle` (cursor == tail), `waiting` (for a slot, or for a time), `running` (one attempt at one
run, which is a slice of consecutive events behind the cursor) or `parked` (a person must act). A *replay* moves the
cursor back over finished events, and forward again behind its last one; the log stays as it is.

Every attempt takes the next *fence* of its key, and belongs to the one execution that binds itself to it first; one
that the execution of the run before goes on with (see `draining`) belongs to that from its claim on. Whatever carries
an older fence, or comes from another execution, changes nothing. `not_before_ms` keeps the next attempt or run of a
key back until no worker of an earlier one can be at work any more: an attempt that ended in any way but a clean finish
may have a worker inside a step, and such a worker is dead by the earlier of the run's deadline (no worker begins that
could outlive it) and the longest worker timeout from now.

`transition` is a pure function: no I/O, no clock, no randomness. It returns

* the new state, which the shell writes if nobody else changed the key meanwhile (compare-and-set on `version`),
* records, which the shell writes first: they are the same item when written twice,
* actions, which the shell carries out last; each may be lost or repeated, see `actions`,
* or a refusal: why nothing changes. Redelivery, zombies and repeated calls are normal here, so a refusal is an
  answer and not an error. Its actions may be there nevertheless: a claimed run nobody began is started again, or
  handed to the execution that it is bound to.

Which command a phase takes; a missing cell changes nothing, and the refusal says why:

    idle     Admit  Hold  Release  Rewind                Postpone
    waiting  Admit  Hold  Release  Rewind  CancelReplay  Postpone  Claim  Park  Retime
    running  Admit  Hold  Release  Rewind  CancelReplay            Bind  Extend  Finish  Expire  GiveUp  Retime
    parked   Admit  Hold  Release          CancelReplay  Postpone  Divert  Resume  Skip

The cell Finish x parked, for one, is empty because parking ended the last attempt: that finish comes a second time. The
cell Rewind x parked is empty because a person must first say what becomes of the run that failed. The cell
CancelReplay x idle is empty because a key with a replay has something to run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from keyturn.core import commands as ask
from keyturn.core.actions import (
    Action,
    Count,
    CountAttempt,
    DivertPending,
    Emit,
    GoOnWith,
    HandOn,
    Record,
    RecordAttempt,
    RecordDeadLetter,
    RecordOperation,
    SeekSlot,
    StartRun,
    WakeAt,
)
from keyturn.core.draining import DrainingExecution
from keyturn.core.naming import execution_name
from keyturn.core.positions import Position
from keyturn.core.rollout import NO_RELEASE
from keyturn.core.route import Exhaustion, Route
from keyturn.core.state import (
    Hold,
    KeyState,
    Parked,
    Phase,
    Replay,
    Run,
    Slice,
    Span,
    WaitsFor,
    passed,
    rewound,
    to_run,
)
from keyturn.limits import LAMBDA_S_MAX

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
    HELD = "held"
    REPLAYING = "replaying"
    """One replay of a key at a time."""
    CHANGED = "changed"
    """The key is not as it was when this was planned."""
    NOTHING_TO_SKIP = "nothing_to_skip"
    NO_RUN = "no_run"
    """There is no run whose finished steps could be done again."""


@dataclass(frozen=True, slots=True)
class Transition:
    """What a command comes to. `state` is the old one when `refusal` is set."""

    state: KeyState
    records: tuple[Record, ...] = ()
    actions: tuple[Action, ...] = ()
    refusal: Refusal | None = None


_ALWAYS: Final = frozenset({ask.Admit, ask.Hold, ask.Release})

ACCEPTS: Final[Mapping[Phase, frozenset[type[ask.Command]]]] = {
    Phase.IDLE: _ALWAYS | {ask.Rewind, ask.Postpone},
    Phase.WAITING: _ALWAYS | {ask.Rewind, ask.CancelReplay, ask.Postpone, ask.Claim, ask.Park, ask.Retime},
    Phase.RUNNING: _ALWAYS
    | {ask.Rewind, ask.CancelReplay, ask.Bind, ask.Extend, ask.Finish, ask.Expire, ask.GiveUp, ask.Retime},
    Phase.PARKED: _ALWAYS | {ask.CancelReplay, ask.Postpone, ask.Divert, ask.Resume, ask.Skip},
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
    following = command.next
    if state.run is not None and following.slice != state.run.slice:
        return _refuse(state, Refusal.OTHER_SLICE)
    is_held = following.is_held or state.hold is not None
    if state.hold is not None or (is_held and state.held_route == following.slice.route):
        return _refuse(state, Refusal.HELD)
    if now_ms < state.not_before_ms:
        # Out of the queue of a route that was released, too early or not: it is emptied once.
        was_held = state.waits_for is WaitsFor.RELEASE
        return _wait_for_time(state, now_ms) if was_held else _refuse(state, Refusal.TOO_EARLY)
    if not is_held and not following.has_slot and state.waits_for is WaitsFor.SLOT:
        return _refuse(state, Refusal.NO_SLOT)
    claimed = _start(replace(state, turn=0), following, now_ms, rules)
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
        return _superseded(state, command)
    run = _run_of(state)
    if not _proves_execution(run, command):
        return _refuse(state, Refusal.OTHER_EXECUTION)
    if command.ending.outcome is ask.Outcome.SUCCEEDED:
        ended = _succeed(state, command.next, now_ms, rules)
    else:
        ended = _fail(state, command.ending, command.route, command.next, now_ms, rules)
    if command.execution_name not in {"", run.execution_name}:
        ended = replace(ended, records=tuple(_ran_in(record, command.execution_name) for record in ended.records))
    return _going_on(ended, command, now_ms)


def _superseded(state: KeyState, command: ask.Finish) -> Transition:
    """Refuse the finish of an attempt that is over.

    If the one behind it is bound to the execution that asks, that never got it, or it wouldn't ask again: now it does.
    """
    run, execution = _run_of(state), _goes_on(command)
    is_next = state.fence == command.fence + 1
    if execution is None or not is_next or run.execution_id != execution.id:
        return _refuse(state, Refusal.SUPERSEDED)
    return Transition(state, actions=(GoOnWith(run, execution),), refusal=Refusal.SUPERSEDED)


def _going_on(ended: Transition, command: ask.Finish, now_ms: int) -> Transition:
    """Bind the run that a finish has claimed to the execution that reports, if that may go on with it."""
    state, run, execution = ended.state, ended.state.run, _goes_on(command)
    is_claimed = state.fence != command.fence
    if run is None or execution is None or not is_claimed or not execution.fits(state, run, now_ms):
        return ended
    bound = replace(run, execution_id=execution.id)
    actions = tuple(GoOnWith(bound, execution) if isinstance(action, StartRun) else action for action in ended.actions)
    return replace(ended, state=replace(state, run=bound), actions=actions)


def _goes_on(command: ask.Finish) -> DrainingExecution | None:
    """Return the execution that may go on, if its workers were told of it by the same id."""
    execution = command.execution
    return execution if execution is not None and execution.id == command.execution_id else None


def _ran_in(record: Record, execution_name: str) -> Record:
    return replace(record, ran_in=execution_name) if isinstance(record, RecordAttempt) else record


def _proves_execution(run: Run, command: ask.Finish) -> bool:
    """Whether the finish comes from the execution that the attempt belongs to.

    An execution that lost its id (its fan-out failed as a whole, and its definition doesn't drain) is known by its name
    alone where names are unique: Standard. An Express start may happen twice under one name, so there such a finish
    proves nothing. A nested one is started by a Standard execution, which reports that it failed, and by nobody else.
    """
    if run.execution_id is None or run.execution_id == command.execution_id:
        return True
    return command.execution_id is None and run.kind.has_history and _is_failure(command)


def _is_failure(command: ask.Finish) -> bool:
    return command.ending.outcome is not ask.Outcome.SUCCEEDED


def _expire(state: KeyState, command: ask.Expire, now_ms: int, rules: Rules) -> Transition:
    if command.fence != state.fence:
        return _refuse(state, Refusal.SUPERSEDED)
    is_over = now_ms >= _run_of(state).deadline_ms or command.evidence is ask.Evidence.ENDED_WITHOUT_FINISH
    if not is_over:
        return _refuse(state, Refusal.TOO_EARLY)
    ending = ask.ending_of(command.evidence)
    if ending.outcome is ask.Outcome.FAILED and command.excuse is not None:
        ending = replace(ending, outcome=command.excuse)
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
    diverted = passed(state, command.through, command.count)
    diverted = replace(diverted, pending_since_ms=state.pending_since_ms if diverted.has_pending else 0)
    return Transition(diverted, actions=(Emit(Count.DEAD_LETTERED, command.count),))


def _extend(state: KeyState, command: ask.Extend, now_ms: int, _rules: Rules) -> Transition:
    run = _run_of(state)
    if command.fence != state.fence:
        return _refuse(state, Refusal.SUPERSEDED)
    if run.execution_id != command.execution_id:
        return _refuse(state, Refusal.OTHER_EXECUTION)
    if command.deadline_ms <= run.deadline_ms:
        return _refuse(state, Refusal.NOTHING_NEW)
    return Transition(replace(state, run=replace(run, deadline_ms=command.deadline_ms, heartbeat_at_ms=now_ms)))


def _postpone(state: KeyState, command: ask.Postpone, _now_ms: int, _rules: Rules) -> Transition:
    if command.fence != state.fence:
        return _refuse(state, Refusal.SUPERSEDED)
    if command.until_ms <= state.not_before_ms:
        return _refuse(state, Refusal.NOTHING_NEW)
    later = replace(state, not_before_ms=command.until_ms)
    if state.waits_for is not WaitsFor.SLOT:
        return Transition(later, actions=(WakeAt(command.until_ms),) if state.waits_for is WaitsFor.TIME else ())
    return Transition(replace(later, waits_for=WaitsFor.TIME), actions=(WakeAt(command.until_ms),))


def _retime(state: KeyState, command: ask.Retime, now_ms: int, rules: Rules) -> Transition:
    run = state.run
    # Not before the workers have ended that may be at work: a deploy may have made them shorter since. That of a run
    # that was passed nobody remembers.
    longest_s = run.worker_timeout_s if run is not None else LAMBDA_S_MAX
    latest_ms = max(command.latest_ms, now_ms + longest_s * 1000 + rules.clock_margin_ms)
    if state.phase is Phase.RUNNING and run is not None and run.deadline_ms > latest_ms:
        sooner = replace(run, started_at_ms=min(run.started_at_ms, now_ms), deadline_ms=latest_ms)
        return Transition(replace(state, run=sooner))
    if state.waits_for is WaitsFor.TIME and state.not_before_ms > latest_ms:
        return Transition(replace(state, not_before_ms=latest_ms), actions=(WakeAt(latest_ms),))
    if state.waits_for is WaitsFor.SLOT and state.waiting_since_ms > latest_ms:
        return Transition(replace(state, waiting_since_ms=now_ms))
    return _refuse(state, Refusal.NOTHING_NEW)


def _park_waiting(state: KeyState, command: ask.Park, now_ms: int, _rules: Rules) -> Transition:
    return _park(replace(state, held_route=""), command.reason, now_ms)


def _hold(state: KeyState, command: ask.Hold, now_ms: int, _rules: Rules) -> Transition:
    if state.hold is not None:
        return _refuse(state, Refusal.NOTHING_NEW)
    held = replace(state, hold=Hold(now_ms, command.operator.by, command.operator.reason))
    if state.phase is Phase.WAITING:
        held = replace(held, waits_for=WaitsFor.RELEASE, held_route="", waiting_since_ms=now_ms)
    return Transition(held, records=(_operation(state, command, command.operator, now_ms),))


def _release(state: KeyState, command: ask.Release, now_ms: int, _rules: Rules) -> Transition:
    if state.hold is None:
        return _refuse(state, Refusal.NOTHING_NEW)
    released = Transition(replace(state, hold=None))
    if state.waits_for is WaitsFor.RELEASE:
        released = _queue(released.state, now_ms)
    return replace(released, records=(_operation(state, command, command.operator, now_ms),))


def _resume(state: KeyState, command: ask.Resume, now_ms: int, _rules: Rules) -> Transition:
    run, generation = state.run, state.generation
    if run is None and command.is_fresh:
        return _refuse(state, Refusal.NO_RUN)
    if run is not None:
        generation += command.is_fresh
        run = replace(run, attempt=1, execution_id=None, generation=generation if command.is_fresh else run.generation)
    # It takes a release anew: what a person mended may have been the one that it was parked on.
    resumed = _queue(replace(state, run=run, generation=generation, parked=None, release=NO_RELEASE), now_ms)
    return replace(resumed, records=(_operation(state, command, command.operator, now_ms),))


def _skip(state: KeyState, command: ask.Skip, now_ms: int, rules: Rules) -> Transition:
    if not state.has_pending or (state.parked is not None and state.parked.diverts):
        return _refuse(state, Refusal.NOTHING_TO_SKIP)
    failed = state.run.slice if state.run is not None else command.slice
    record = _operation(state, command, command.operator, now_ms)
    state = replace(state, parked=None, release=NO_RELEASE)
    if failed is None:
        _, through = to_run(state) or (state.cursor, state.tail)
        lost = passed(state, through, state.admitted - state.finished)
        after = _go_on(_pending_since(lost, None), None, now_ms, rules)
        return replace(_seeking(after), records=(record,))
    over = _pass(state, failed.last, failed.count, command.next)
    after = _seeking(_go_on(over, command.next, now_ms, rules))
    reason = f"skipped by {command.operator.by}: {command.operator.reason}"
    gone = Emit(Count.DEAD_LETTERED, failed.count)
    return replace(after, records=(record, RecordDeadLetter(failed, reason, now_ms)), actions=(gone, *after.actions))


def _rewind(state: KeyState, command: ask.Rewind, now_ms: int, rules: Rules) -> Transition:
    if command.id == state.last_replay:
        return _refuse(state, Refusal.NOTHING_NEW)
    if state.replay is not None:
        return _refuse(state, Refusal.REPLAYING)
    hold_at_ms = state.hold.at_ms if state.hold else 0
    is_as_planned = state.generation == command.planned_generation and hold_at_ms == command.planned_hold_at_ms
    if not is_as_planned or not command.spans or command.spans[-1].last > state.cursor:
        return _refuse(state, Refusal.CHANGED)
    generation = state.generation + command.is_new_generation
    replay = Replay(command.id, now_ms, generation if command.is_new_generation else 0, command.spans, is_noted=True)
    record = _operation(state, command, command.operator, now_ms, command.spans[0].first, command.id)
    noted = replace(state, replay=replay, last_replay=replay.id, generation=generation)
    if state.run is not None:
        return Transition(noted, records=(record,))
    begun = replace(rewound(noted, replay), pending_since_ms=state.pending_since_ms or now_ms)
    is_waiting = state.phase is Phase.WAITING
    after = _queue(begun, now_ms) if is_waiting else _seeking(_go_on(begun, command.next, now_ms, rules))
    return replace(after, records=(record,))


def _cancel_replay(state: KeyState, command: ask.CancelReplay, now_ms: int, rules: Rules) -> Transition:
    replay = state.replay
    if replay is None or replay.id != command.id:
        return _refuse(state, Refusal.NOTHING_NEW)
    record = _operation(state, command, command.operator, now_ms, replay.spans[0].first, replay.id)
    if replay.is_noted:
        return Transition(replace(state, replay=None), records=(record,))
    if state.run is not None:
        only = (Span(state.run.slice.first, state.run.slice.last),)
        if replay.spans == only:
            return _refuse(state, Refusal.NOTHING_NEW)
        return Transition(replace(state, replay=replace(replay, spans=only)), records=(record,))
    returned = _pending_since(replace(state, replay=None, cursor=replay.resume_at), command.next)
    if state.parked is not None and state.parked.diverts:
        return Transition(returned, records=(record,))
    # What a key without a run was parked for lay in the replay. Left parked, a skip would take an innocent event.
    after = _go_on(replace(returned, parked=None), command.next, now_ms, rules)
    return replace(_seeking(after), records=(record,))


def _operation(
    state: KeyState,
    command: ask.Command,
    operator: ask.Operator,
    now_ms: int,
    position: Position | None = None,
    replay: str = "",
) -> RecordOperation:
    about = position or (state.run.slice.first if state.run else state.cursor)
    name = type(command).__name__
    if isinstance(command, ask.Resume) and command.is_fresh:
        name = "ResumeFresh"
    return RecordOperation(name, operator.by, operator.reason, now_ms, state.fence, about, replay)


def _succeed(state: KeyState, following: ask.Next | None, now_ms: int, rules: Rules) -> Transition:
    run = _run_of(state)
    after = _go_on(_pass_run(state, following), following, now_ms, rules)
    record = RecordAttempt(run, state.fence, ask.Outcome.SUCCEEDED, "", now_ms, state.release)
    actions = (Emit(Count.FINISHED, run.slice.count), *after.actions, *_counted(state, has_succeeded=True))
    return replace(after, records=(record,) if run.attempt > 1 else (), actions=actions)


def _fail(
    state: KeyState, ending: ask.Ending, route: Route, following: ask.Next | None, now_ms: int, rules: Rules
) -> Transition:
    """End an attempt that did not succeed: try again later, or do what the route says when attempts are used up."""
    run = _run_of(state)
    quiet = replace(state, not_before_ms=_quiet_from(run, ending, route, now_ms, rules))
    record = RecordAttempt(run, state.fence, ending.outcome, ending.reason, now_ms, state.release)
    is_counted = ending.outcome is ask.Outcome.FAILED
    if is_counted and (ending.permanent or run.attempt >= route.max_attempts):
        ended = _exhaust(quiet, ending.reason, route, following, now_ms, rules)
    else:
        ended = _retry(quiet, run, route, now_ms, is_counted=is_counted)
    counted = _counted(state, has_succeeded=False) if is_counted else ()
    return replace(ended, records=(record, *ended.records), actions=(Emit(Count.FAILED), *ended.actions, *counted))


def _counted(state: KeyState, *, has_succeeded: bool) -> tuple[Action, ...]:
    return (CountAttempt(state.release, has_succeeded),) if state.release != NO_RELEASE else ()


def _quiet_from(run: Run, ending: ask.Ending, route: Route, now_ms: int, rules: Rules) -> int:
    """Tell from when no worker of the ended attempt can be at work any more."""
    if ending.clean:
        return now_ms
    longest_s = max(run.worker_timeout_s, route.worker_timeout_s)
    return max(now_ms, min(run.deadline_ms, now_ms + longest_s * 1000 + rules.clock_margin_ms))


def _retry(state: KeyState, run: Run, route: Route, now_ms: int, *, is_counted: bool) -> Transition:
    not_before_ms = max(state.not_before_ms, now_ms + route.backoff.delay_ms(run.attempt))
    again = replace(
        state,
        not_before_ms=not_before_ms,
        run=replace(
            run,
            attempt=run.attempt + 1 if is_counted else run.attempt,
            execution_id=None,
            heartbeat_at_ms=0,
            excused_at_ms=0 if is_counted else now_ms,
        ),
    )
    return _wait_for_release(again, None, now_ms) if state.hold is not None else _wait_for_time(again, now_ms)


def _exhaust(
    state: KeyState, reason: str, route: Route, following: ask.Next | None, now_ms: int, rules: Rules
) -> Transition:
    run = _run_of(state)
    dead_letter = RecordDeadLetter(run.slice, reason, now_ms)
    gone = Emit(Count.DEAD_LETTERED, run.slice.count)
    match route.on_exhaustion:
        case Exhaustion.PARK:
            return _park(state, reason, now_ms)
        case Exhaustion.SKIP:
            after = _go_on(_pass_run(state, following), following, now_ms, rules)
            return replace(after, records=(dead_letter,), actions=(gone, *after.actions))
        case Exhaustion.FAIL_BEHIND:
            parked = _park(_pass_run(state, following), reason, now_ms, diverts=True)
            pending = (DivertPending(),) if parked.state.has_pending else ()
            return replace(parked, records=(dead_letter,), actions=(gone, *parked.actions, *pending))


def _park(state: KeyState, reason: str, now_ms: int, *, diverts: bool = False) -> Transition:
    parked = replace(state, phase=Phase.PARKED, parked=Parked(now_ms, reason, diverts), waits_for=None, turn=0)
    return Transition(parked, actions=(Emit(Count.PARKED), *_slot_given_up(state)))


def _pass_run(state: KeyState, following: ask.Next | None) -> KeyState:
    run = _run_of(state)
    return _pass(state, run.slice.last, run.slice.count, following)


def _pass(state: KeyState, through: Position, count: int, following: ask.Next | None) -> KeyState:
    """Move the cursor past what is done; what follows it, if anything, is the oldest unfinished event now."""
    return _pending_since(passed(state, through, count), following)


def _pending_since(state: KeyState, following: ask.Next | None) -> KeyState:
    since_ms = following.slice.arrived_at_ms if following is not None else state.pending_since_ms
    if state.replay is not None:
        since_ms = max(since_ms, state.replay.at_ms)  # an event that is run again arrived long ago
    return replace(state, pending_since_ms=since_ms if state.has_pending else 0)


def _go_on(state: KeyState, following: ask.Next | None, now_ms: int, rules: Rules) -> Transition:
    """Let a key without a run start its next one, wait for its turn, or be idle."""
    if not state.has_pending:
        return _rest(state)
    if state.hold is not None or (following is not None and following.is_held):
        return _wait_for_release(state, following, now_ms)
    if now_ms < state.not_before_ms:
        return _wait_for_time(state, now_ms)
    if following is None:
        return _wait_for_slot(state, now_ms)
    return _start(state, following, now_ms, rules)


def _rest(state: KeyState) -> Transition:
    """Let a key be idle. What was admitted and never came up in a slice isn't in the log any more: told once.

    More may have been finished than was counted as admitted: an event whose dispatcher died before it admitted it, and
    which was admitted with a later one.
    """
    missing = max(0, state.admitted - state.finished)
    idle = replace(
        state,
        phase=Phase.IDLE,
        waits_for=None,
        held_route="",
        turn=0,
        release=NO_RELEASE,
        admitted=max(state.admitted, state.finished),
        finished=state.finished + missing,
        missing=state.missing + missing,
    )
    told = (Emit(Count.MISSING, missing),) if missing else ()
    return Transition(idle, actions=(*_slot_given_up(state), *told))


def _queue(state: KeyState, now_ms: int) -> Transition:
    """Let a key that had no slot wait for its turn, by what it waits for next."""
    if not state.has_pending:
        return _rest(state)
    if state.hold is not None:
        return _wait_for_release(state, None, now_ms)
    if now_ms < state.not_before_ms:
        return _wait_for_time(state, now_ms)
    return _seeking(_wait_for_slot(state, now_ms))


def _seeking(after: Transition) -> Transition:
    """Have a slot looked for, since no run ended here that could hand its own on."""
    if after.state.waits_for is not WaitsFor.SLOT:
        return after
    return replace(after, actions=(*after.actions, SeekSlot()))


def _start(state: KeyState, following: ask.Next, now_ms: int, rules: Rules) -> Transition:
    """Claim a run: next fence, new deadline. Without a slot the key waits, without a route it is parked."""
    if following.route is None:
        return _park(_without_run(state), NO_ROUTE, now_ms)
    if state.hold is not None or following.is_held:
        return _wait_for_release(state, following, now_ms)
    if not following.has_slot:
        return _wait_for_slot(state, now_ms)
    fence, release = state.fence + 1, following.rollout.next_of(state)
    # Attempts that a release failed at that was rolled back aren't held against its successor.
    is_moved = state.release not in {release, NO_RELEASE}
    run = Run(
        slice=following.slice,
        attempt=state.run.attempt if state.run and not is_moved else 1,
        workflow=following.route.workflow,
        kind=following.route.kind,
        started_at_ms=now_ms,
        deadline_ms=now_ms + following.route.run_timeout_s * 1000,
        execution_name=execution_name(following.route.name, rules.table_incarnation, state.key, fence),
        generation=_generation(state, following.slice),
        worker_timeout_s=max(following.route.worker_timeout_s, following.rollout.worker_timeout_s(release)),
    )
    running = replace(
        state,
        phase=Phase.RUNNING,
        waits_for=None,
        held_route="",
        fence=fence,
        turn=state.turn + 1,
        turn_since_ms=state.turn_since_ms if state.turn else now_ms,
        release=release,
        run=run,
        parked=None,
    )
    return Transition(running, actions=(Emit(Count.STARTED), StartRun(run)))


def _without_run(state: KeyState) -> KeyState:
    """Drop a run that no route takes: another one may take its events by a slice of its own."""
    run, without = state.run, replace(state, run=None, held_route="")
    if run is None or run.slice.last < state.dropped_through:
        return without
    return replace(without, dropped_through=run.slice.last, dropped_generation=run.generation)


def _generation(state: KeyState, cut: Slice) -> int:
    """Tell which stored step results count for the next run: a retry keeps its run's, as does what is cut anew."""
    if state.run is not None:
        return state.run.generation
    if state.replay is not None and state.is_replaying:
        return state.replay.generation
    return state.dropped_generation if state.is_cut_anew(cut) else 0


def _wait_for_release(state: KeyState, following: ask.Next | None, now_ms: int) -> Transition:
    route = following.slice.route if following is not None and state.hold is None else ""
    held = replace(
        state,
        phase=Phase.WAITING,
        waits_for=WaitsFor.RELEASE,
        held_route=route,
        waiting_since_ms=now_ms,
        turn=0,
    )
    return Transition(held, actions=(Emit(Count.HELD), *_slot_given_up(state)))


def _wait_for_time(state: KeyState, now_ms: int) -> Transition:
    waiting = replace(
        state, phase=Phase.WAITING, waits_for=WaitsFor.TIME, held_route="", waiting_since_ms=now_ms, turn=0
    )
    return Transition(waiting, actions=(WakeAt(state.not_before_ms), *_slot_given_up(state)))


def _wait_for_slot(state: KeyState, now_ms: int) -> Transition:
    since_ms = state.run.waits_since_ms if state.run else now_ms
    waiting = replace(
        state, phase=Phase.WAITING, waits_for=WaitsFor.SLOT, held_route="", waiting_since_ms=since_ms, turn=0
    )
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
    ask.Extend: _extend,
    ask.Postpone: _postpone,
    ask.Retime: _retime,
    ask.Park: _park_waiting,
    ask.Hold: _hold,
    ask.Release: _release,
    ask.Resume: _resume,
    ask.Skip: _skip,
    ask.Rewind: _rewind,
    ask.CancelReplay: _cancel_replay,
}
