"""Commands on the attempt under way: which execution it belongs to, how long it may take, how it ends."""

from dataclasses import replace

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
)
from keyturn.core.draining import DrainingExecution
from keyturn.core.protocol.decision import Refusal, Rules, Transition, refuse, run_of
from keyturn.core.protocol.going_on import go_on, going_on_with, park, pass_run, wait_for_release, wait_for_time
from keyturn.core.rollout import NO_RELEASE
from keyturn.core.route import Exhaustion, Route
from keyturn.core.state import HandedOn, KeyState, Run


def bind(state: KeyState, command: ask.Bind, _now_ms: int, _rules: Rules) -> Transition:
    """Give the attempt to the one execution that asks first."""
    if command.fence != state.fence:
        return refuse(state, Refusal.SUPERSEDED)
    run = run_of(state)
    if run.execution_id == command.execution_id:
        return refuse(state, Refusal.NOTHING_NEW)
    if run.execution_id is not None:
        return refuse(state, Refusal.OTHER_EXECUTION)
    return Transition(replace(state, run=replace(run, execution_id=command.execution_id)))


def extend(state: KeyState, command: ask.Extend, now_ms: int, _rules: Rules) -> Transition:
    """Move the deadline of the attempt that a worker's heartbeat proves to be alive."""
    run = run_of(state)
    if command.fence != state.fence:
        return refuse(state, Refusal.SUPERSEDED)
    if run.execution_id != command.execution_id:
        return refuse(state, Refusal.OTHER_EXECUTION)
    if command.deadline_ms <= run.deadline_ms:
        return refuse(state, Refusal.NOTHING_NEW)
    return Transition(replace(state, run=replace(run, deadline_ms=command.deadline_ms, heartbeat_at_ms=now_ms)))


def finish(state: KeyState, command: ask.Finish, now_ms: int, rules: Rules) -> Transition:
    """End the attempt as its execution reports."""
    if command.fence != state.fence:
        return _superseded(state, command)
    run = run_of(state)
    if not _proves_execution(run, command):
        return refuse(state, Refusal.OTHER_EXECUTION)
    if command.ending.outcome is ask.Outcome.SUCCEEDED:
        ended = _succeed(state, command.next, now_ms, rules)
    else:
        ended = _fail(state, command.ending, command.route, command.next, now_ms, rules)
    if command.execution_name not in {"", run.execution_name}:
        ended = replace(ended, records=tuple(_ran_in(record, command.execution_name) for record in ended.records))
    if ended.state.fence != command.fence:
        ended = going_on_with(ended, _goes_on(command), now_ms)
    return _handing_on(ended, command)


def _superseded(state: KeyState, command: ask.Finish) -> Transition:
    """Refuse the finish of an attempt that is over.

    If the one behind it is bound to the execution that asks, that never got it, or it wouldn't ask again: now it does.
    """
    run, execution = run_of(state), _goes_on(command)
    is_next = state.fence == command.fence + 1
    if execution is None or not is_next or run.execution_id != execution.id:
        return refuse(state, Refusal.SUPERSEDED)
    return Transition(state, actions=(GoOnWith(run, execution),), refusal=Refusal.SUPERSEDED)


def _handing_on(ended: Transition, command: ask.Finish) -> Transition:
    """Note to whom the slot is offered, and the execution with it: if its answer is lost, it asks again here.

    An older note stays until there is another one: its execution may be about to ask, and tells it by its fence.
    """
    if not command.heir or HandOn() not in ended.actions:
        return ended
    return replace(ended, state=replace(ended.state, handed_on=HandedOn(command.heir, command.fence)))


def rejoin(state: KeyState, command: ask.Rejoin, _now_ms: int, _rules: Rules) -> Transition:
    """Hand the run over once more that is bound to the execution that asks: it never got it, or it wouldn't ask."""
    run = run_of(state)
    if run.execution_id != command.execution.id:
        return Transition(state, refusal=Refusal.OTHER_EXECUTION)
    return Transition(state, actions=(GoOnWith(run, command.execution),), refusal=Refusal.NOTHING_NEW)


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


def expire(state: KeyState, command: ask.Expire, now_ms: int, rules: Rules) -> Transition:
    """End an attempt whose time is over, or whose execution ended without a report."""
    if command.fence != state.fence:
        return refuse(state, Refusal.SUPERSEDED)
    is_over = now_ms >= run_of(state).deadline_ms or command.evidence is ask.Evidence.ENDED_WITHOUT_FINISH
    if not is_over:
        return refuse(state, Refusal.TOO_EARLY)
    ending = ask.ending_of(command.evidence)
    if ending.outcome is ask.Outcome.FAILED and command.excuse is not None:
        ending = replace(ending, outcome=command.excuse)
    return _fail(state, ending, command.route, command.next, now_ms, rules)


def give_up(state: KeyState, command: ask.GiveUp, now_ms: int, rules: Rules) -> Transition:
    """End an attempt that could never begin."""
    if command.fence != state.fence or not state.is_unstarted:
        return refuse(state, Refusal.SUPERSEDED)
    ending = ask.Ending(ask.Outcome.FAILED, clean=False, permanent=True, reason=command.reason)
    return _fail(state, ending, command.route, command.next, now_ms, rules)


def _succeed(state: KeyState, following: ask.Next | None, now_ms: int, rules: Rules) -> Transition:
    run = run_of(state)
    after = go_on(pass_run(state, following), following, now_ms, rules)
    record = RecordAttempt(run, state.fence, ask.Outcome.SUCCEEDED, "", now_ms, state.release)
    actions = (Emit(Count.FINISHED, run.slice.count), *after.actions, *_counted(state, has_succeeded=True))
    return replace(after, records=(record,) if run.attempt > 1 else (), actions=actions)


def _fail(
    state: KeyState, ending: ask.Ending, route: Route, following: ask.Next | None, now_ms: int, rules: Rules
) -> Transition:
    """End an attempt that did not succeed: try again later, or do what the route says when attempts are used up."""
    run = run_of(state)
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
    return wait_for_release(again, None, now_ms) if state.hold is not None else wait_for_time(again, now_ms)


def _exhaust(
    state: KeyState, reason: str, route: Route, following: ask.Next | None, now_ms: int, rules: Rules
) -> Transition:
    run = run_of(state)
    dead_letter = RecordDeadLetter(run.slice, reason, now_ms)
    gone = Emit(Count.DEAD_LETTERED, run.slice.count)
    match route.on_exhaustion:
        case Exhaustion.PARK:
            return park(state, reason, now_ms)
        case Exhaustion.SKIP:
            after = go_on(pass_run(state, following), following, now_ms, rules)
            return replace(after, records=(dead_letter,), actions=(gone, *after.actions))
        case Exhaustion.FAIL_BEHIND:
            parked = park(pass_run(state, following), reason, now_ms, diverts=True)
            pending = (DivertPending(),) if parked.state.has_pending else ()
            return replace(parked, records=(dead_letter,), actions=(gone, *parked.actions, *pending))
