"""The protocol, broken on purpose, one promise-bearing line at a time: the checker must notice each.

A mutation changes the product where it stands, for as long as its context lasts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final
from unittest.mock import patch

from keyturn.adapters import keys as key_items
from keyturn.adapters.duplicates import DuplicateIndex
from keyturn.adapters.executions import Executions
from keyturn.adapters.keys import KeyStore
from keyturn.adapters.log import EventLog
from keyturn.adapters.renewal import Renewal, Renewed
from keyturn.adapters.steps import Sought, StepStore, StoredResults
from keyturn.core import commands as ask
from keyturn.core import state as states
from keyturn.core import task as tasks
from keyturn.core.actions import GoOnWith, StartRun
from keyturn.core.draining import DrainingExecution
from keyturn.core.protocol import Refusal, Transition, attempts, decision, going_on, queueing, table
from keyturn.core.rollout import Rollout
from keyturn.core.route import Kind
from keyturn.core.state import KeyState, Phase, Run, passed
from keyturn.errors import Throttled
from keyturn.shell import apply as applying
from keyturn.shell import dispatch as dispatching
from keyturn.shell import work as working
from keyturn.shell.change import Change
from keyturn.shell.checkpoint import Checkpoint
from tests.simulator import workflows

Mutation = Callable[[], AbstractContextManager[Any]]

_SAVE: Final = KeyStore.save
_WRITE_STATE: Final = Change._write
_WRITE_LOG: Final = EventLog.write
_LOAD_STEPS: Final = StepStore.load
_STORE_STEP: Final = StepStore.store
_CHANGE: Final = working._change
_PERMISSION: Final = tasks.permission
_ADMIT_COMMAND: Final = dispatching._admit_command
_UNDONE: Final = dispatching._undone
_DUE: Final = states.due
_RETRY: Final = attempts._retry
_FITS: Final = DrainingExecution.fits


def _handler(command: type[ask.Command], changed: Callable[..., Transition]) -> AbstractContextManager[Any]:
    """Change how the protocol takes a command; `changed` gets the handler as it was first."""
    standing = table._HANDLERS[command]
    return patch.dict(table._HANDLERS, {command: partial(changed, standing)})


def no_version_check() -> AbstractContextManager[Any]:
    """Write a key state over whatever stands there."""

    def save(store: KeyStore, state: KeyState, records: Any = ()) -> KeyState:
        saved = replace(state, version=state.version + 1)
        store.table.put(store._encode(saved))
        store.table.put_many(records)
        return saved

    return patch.object(KeyStore, "save", save)


def start_before_the_write() -> AbstractContextManager[Any]:
    """Start the execution first, then write the claim."""

    def write(change: Change, decided: Transition) -> KeyState:
        if decided.refusal is None:
            for action in decided.actions:
                if isinstance(action, StartRun):
                    applying._start(change, decided.state, action.run)
        return _WRITE_STATE(change, decided)

    return patch.object(Change, "_write", write)


def finish_ignores_the_fence() -> AbstractContextManager[Any]:
    """Let any attempt finish the run that is under way."""
    return _handler(
        ask.Finish, lambda standing, state, command, *rest: standing(state, replace(command, fence=state.fence), *rest)
    )


def finish_without_the_executions_id() -> AbstractContextManager[Any]:
    """Let any execution finish the attempt."""
    return patch.object(attempts, "_proves_execution", lambda _run, _command: True)


def steps_ignore_the_fence() -> AbstractContextManager[Any]:
    """Let a superseded attempt's worker begin, as long as its key is running."""

    def is_current(state: KeyState, _task: tasks.Task) -> bool:
        return state.phase is Phase.RUNNING

    return _patched((tasks, "is_current", is_current), (working, "is_current", is_current))


def steps_ignore_the_execution() -> AbstractContextManager[Any]:
    """Let a second execution of an attempt work too: nothing is bound."""

    def change(bench: Any, state: KeyState, command: Any) -> KeyState | None:
        return state if isinstance(command, ask.Bind) else _CHANGE(bench, state, command)

    return patch.object(working, "_change", change)


def steps_begin_too_late() -> AbstractContextManager[Any]:
    """Let a worker begin that may outlive its run's deadline."""

    def permission(state: KeyState, task: tasks.Task, _ends_by_ms: int, _margin_ms: int) -> tasks.Permission:
        return _PERMISSION(state, task, 0, 0)

    return patch.object(working, "permission", permission)


def no_not_before() -> AbstractContextManager[Any]:
    """Start the next attempt at once, whoever may still be at work."""
    return patch.object(attempts, "_quiet_from", lambda _run, _ending, _route, now_ms, _rules: now_ms)


def resume_without_not_before() -> AbstractContextManager[Any]:
    """Let a person's resume or skip forget that a worker may still be at work."""

    def at_once(standing: Callable[..., Transition], state: KeyState, *rest: Any) -> Transition:
        return standing(replace(state, not_before_ms=0), *rest)

    @contextmanager
    def both() -> Iterator[None]:
        with _handler(ask.Resume, at_once), _handler(ask.Skip, at_once):
            yield

    return both()


def retry_an_ambiguous_error() -> AbstractContextManager[Any]:
    """Try a step again at once though its Lambda may still be at work."""
    retry = {"ErrorEquals": ["States.Timeout", "Lambda.Unknown"], "MaxAttempts": 2}
    return patch.object(workflows, "RETRIES", [*workflows.RETRIES, retry])


def slice_from_the_batch() -> AbstractContextManager[Any]:
    """Run what the batch in hand begins with, not what the log has next."""

    def command(change: Change, work: Any, has_slot: Callable[[], bool], state: KeyState) -> ask.Command:
        made = _ADMIT_COMMAND(change, work, has_slot, state)
        in_hand = [event for event in work.sorted.new if event.position > state.cursor]
        if not isinstance(made, ask.Admit) or made.next is None or not in_hand:
            return made
        first = in_hand[0]
        route = change.platform.routes.for_type(first.type) if hasattr(first, "type") else made.next.route
        one = replace(made.next.slice, first=first.position, last=first.position, count=1)
        return replace(made, next=replace(made.next, slice=one, route=route))

    return patch.object(dispatching, "_admit_command", command)


def results_by_the_slice() -> AbstractContextManager[Any]:
    """Keep step results under the first position of a run's slice."""
    firsts: dict[str, Any] = {}

    def load(store: StepStore, sought: Sought) -> Any:
        firsts[sought.key] = sought.positions[0]
        state, stored = _LOAD_STEPS(store, replace(sought, positions=sought.positions[:1]))
        return state, dict.fromkeys(sought.positions, *stored.values()) if stored else {}

    def keep(store: StepStore, key: str, made: StoredResults) -> Any:
        first = replace(made.last, position=firsts.get(key, made.last.position))
        return dict.fromkeys(made.by_position, _STORE_STEP(store, key, replace(made, results=(first,))))

    return _patched((StepStore, "load", load), (StepStore, "store", keep))


def results_are_forgotten() -> AbstractContextManager[Any]:
    """Do finished steps again."""

    def load(store: StepStore, sought: Sought) -> Any:
        return _LOAD_STEPS(store, sought)[0], {}

    return patch.object(StepStore, "load", load)


def what_was_done_is_lost_with_a_failure() -> AbstractContextManager[Any]:
    """Store a run's results only when all of them are there."""
    save = Checkpoint.save

    def only_at_the_end(done: Checkpoint) -> None:
        if sys.exc_info()[0] is None:
            save(done)

    return patch.object(Checkpoint, "save", only_at_the_end)


def admit_past_a_failed_write() -> AbstractContextManager[Any]:
    """Admit events though some of them could not be written."""

    def write(log: EventLog, *arguments: Any) -> None:
        try:
            _WRITE_LOG(log, *arguments)
        except Throttled:
            return

    return patch.object(EventLog, "write", write)


def identities_are_written_apart() -> AbstractContextManager[Any]:
    """Remember which events were sent in a call of its own, behind the log's."""

    def write(log: EventLog, entries: Any, now_ms: int, beside: Any = ()) -> None:
        _WRITE_LOG(log, entries, now_ms)
        log.table.put_many(beside)

    return patch.object(EventLog, "write", write)


def counts_are_left_crooked() -> AbstractContextManager[Any]:
    """Leave out of the count what was admitted behind a dispatcher that died."""
    rest = going_on._rest

    def crooked(state: KeyState) -> Transition:
        after = rest(state)
        return replace(after, state=replace(after.state, admitted=state.admitted))

    return patch.object(going_on, "_rest", crooked)


def late_is_a_duplicate() -> AbstractContextManager[Any]:
    """Drop an event that comes after later ones of its key."""
    return patch.object(dispatching, "split_old", lambda old, _in_log: (list(old), []))


def late_is_never_looked_for() -> AbstractContextManager[Any]:
    """Take whatever is at or below the tail for late."""
    return patch.object(dispatching, "split_old", lambda old, _in_log: ([], list(old)))


def resends_are_not_known() -> AbstractContextManager[Any]:
    """Forget which events a producer has sent before."""
    return patch.object(DuplicateIndex, "first_positions", lambda _index, _events: {})


def nothing_is_left_undone() -> AbstractContextManager[Any]:
    """Acknowledge a batch whatever became of it."""

    def undone(job: Any, has_time: Any) -> tuple[()]:
        _UNDONE(job, has_time)
        return ()

    return patch.object(dispatching, "_undone", undone)


def redelivery_is_admitted_again() -> AbstractContextManager[Any]:
    """Count events again that were admitted before."""

    def admit(standing: Callable[..., Transition], state: KeyState, command: ask.Admit, *rest: Any) -> Transition:
        count = command.count + command.is_redelivery
        later = replace(command, count=count, tail=command.tail)
        if command.is_redelivery and command.tail == state.tail:
            return Transition(replace(state, admitted=state.admitted + 1))
        return standing(state, later, *rest)

    return _handler(ask.Admit, admit)


def no_daily_renewal() -> AbstractContextManager[Any]:
    """Let what is unfinished expire like everything else."""
    return patch.object(Renewal, "_renew", lambda *_arguments: Renewed(renewed=1))


def waiting_keys_are_not_in_the_index() -> AbstractContextManager[Any]:
    """Let nobody find a key that waits."""

    def due(state: KeyState, rounding_ms: int) -> Any:
        return None if state.phase is Phase.WAITING else _DUE(state, rounding_ms)

    return patch.object(key_items, "due", due)


def a_retry_keeps_its_fence() -> AbstractContextManager[Any]:
    """Give the next attempt the fence of the one before."""

    def retry(state: KeyState, *arguments: Any, **named: Any) -> Transition:
        again = _RETRY(state, *arguments, **named)
        return replace(again, state=replace(again.state, fence=state.fence - 1))

    return patch.object(attempts, "_retry", retry)


def a_failure_passes_the_run() -> AbstractContextManager[Any]:
    """Move the cursor past a run whose attempts are used up, and record nothing."""

    def exhaust(state: KeyState, _reason: str, _route: Any, following: Any, now_ms: int, rules: Any) -> Transition:
        return going_on.go_on(going_on.pass_run(state, following), following, now_ms, rules)

    return patch.object(attempts, "_exhaust", exhaust)


def two_runs_at_once() -> AbstractContextManager[Any]:
    """Let an Admit start what is next though a run is under way."""

    def admit(standing: Callable[..., Transition], state: KeyState, command: ask.Admit, *rest: Any) -> Transition:
        if state.phase is Phase.RUNNING and state.run is not None and command.tail > state.tail:
            skipped = passed(state, state.run.slice.last, state.run.slice.count)
            return standing(replace(skipped, phase=Phase.IDLE, turn=0), command, *rest)
        return standing(state, command, *rest)

    return _handler(ask.Admit, admit)


def names_start_over() -> AbstractContextManager[Any]:
    """Start every attempt of a key under one execution name."""
    standing = Executions.start

    def start(executions: Executions, run: Any, *rest: Any) -> None:
        name, _, _ = run.execution_name.rpartition("-")
        standing(executions, replace(run, execution_name=f"{name}-0"), *rest)

    return patch.object(Executions, "start", start)


def hold_is_ignored_by_claims() -> AbstractContextManager[Any]:
    """Start runs of a held key."""

    def claim(standing: Callable[..., Transition], state: KeyState, command: ask.Claim, *rest: Any) -> Transition:
        after = standing(replace(state, hold=None), command, *rest)
        return replace(after, state=replace(after.state, hold=state.hold))

    return _handler(ask.Claim, claim)


def goes_on_with_any_run() -> AbstractContextManager[Any]:
    """Let an execution go on with runs of other workflows, kinds and releases than its own."""

    def fits(execution: DrainingExecution, state: KeyState, run: Run, now_ms: int) -> bool:
        own = replace(run, kind=Kind.EXPRESS)
        return _FITS(replace(execution, machine=own.machine, release=state.release), state, own, now_ms)

    return patch.object(DrainingExecution, "fits", fits)


def goes_on_without_time() -> AbstractContextManager[Any]:
    """Let an execution go on with its key's runs until it is cut off."""

    def fits(execution: DrainingExecution, state: KeyState, run: Run, _now_ms: int) -> bool:
        return _FITS(execution, state, run, 0)

    return patch.object(DrainingExecution, "fits", fits)


def runs_are_handed_to_whoever_asks() -> AbstractContextManager[Any]:
    """Hand the run behind a finish that comes again to the execution that asks, whichever it was claimed for."""

    def superseded(state: KeyState, command: ask.Finish) -> Transition:
        run, execution = state.run, command.execution
        is_next = state.fence == command.fence + 1
        if run is None or run.execution_id is None or execution is None or not is_next:
            return decision.refuse(state, Refusal.SUPERSEDED)
        return Transition(state, actions=(GoOnWith(run, execution),), refusal=Refusal.SUPERSEDED)

    return patch.object(attempts, "_superseded", superseded)


def late_calls_claim_for_their_execution() -> AbstractContextManager[Any]:
    """Claim the key that was offered a slot for whoever asks again, though that may have gone on long since."""
    standing = applying._rejoin_or_claim

    def claim(claiming: Change, found: KeyState) -> ask.Command | None:
        command = standing(claiming, found)
        return replace(command, execution=claiming.hand_over.to) if isinstance(command, ask.Claim) else command

    return patch.object(applying, "_rejoin_or_claim", claim)


def bound_runs_are_started_again() -> AbstractContextManager[Any]:
    """Start a claimed run again that belongs to an execution already."""

    def start_again(state: KeyState) -> tuple[StartRun, ...]:
        return (StartRun(state.run),) if state.phase is Phase.RUNNING and state.run is not None else ()

    return _patched((decision, "start_again", start_again), (queueing, "start_again", start_again))


def keys_follow_the_rollout() -> AbstractContextManager[Any]:
    """Let a key take whatever release is right for it now, whatever it began with."""
    return patch.object(Rollout, "next_of", lambda rollout, state: rollout.chosen_for(state.key))


@contextmanager
def _patched(*places: tuple[Any, str, Any]) -> Iterator[None]:
    target, name, value = places[0]
    with patch.object(target, name, value):
        if places[1:]:
            with _patched(*places[1:]):
                yield
        else:
            yield


MUTATIONS: Final[Mapping[str, Mutation]] = {
    mutation.__name__: mutation
    for mutation in (
        no_version_check,
        start_before_the_write,
        finish_ignores_the_fence,
        finish_without_the_executions_id,
        steps_ignore_the_fence,
        steps_ignore_the_execution,
        steps_begin_too_late,
        no_not_before,
        resume_without_not_before,
        retry_an_ambiguous_error,
        slice_from_the_batch,
        results_by_the_slice,
        results_are_forgotten,
        what_was_done_is_lost_with_a_failure,
        admit_past_a_failed_write,
        identities_are_written_apart,
        counts_are_left_crooked,
        late_is_a_duplicate,
        late_is_never_looked_for,
        resends_are_not_known,
        nothing_is_left_undone,
        redelivery_is_admitted_again,
        no_daily_renewal,
        waiting_keys_are_not_in_the_index,
        a_retry_keeps_its_fence,
        a_failure_passes_the_run,
        two_runs_at_once,
        names_start_over,
        hold_is_ignored_by_claims,
        goes_on_with_any_run,
        goes_on_without_time,
        runs_are_handed_to_whoever_asks,
        late_calls_claim_for_their_execution,
        bound_runs_are_started_again,
        keys_follow_the_rollout,
    )
}
"""By name."""
