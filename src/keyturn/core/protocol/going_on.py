"""What a key does when nothing of it runs: it starts its next run, waits for its turn, rests, or is parked."""

from dataclasses import replace
from typing import Final

from keyturn.core import commands as ask
from keyturn.core.actions import Action, Count, Emit, GoOnWith, HandOn, SeekSlot, StartRun, WakeAt
from keyturn.core.draining import DrainingExecution
from keyturn.core.naming import execution_name
from keyturn.core.positions import Position
from keyturn.core.protocol.decision import Rules, Transition, run_of
from keyturn.core.rollout import NO_RELEASE
from keyturn.core.state import KeyState, Parked, Phase, Run, Slice, WaitsFor, passed

NO_ROUTE: Final = "no route of this deployment fits the event's type any more"


def pass_run(state: KeyState, following: ask.Next | None) -> KeyState:
    """Move the cursor past the key's run."""
    run = run_of(state)
    return pass_events(state, run.slice.last, run.slice.count, following)


def pass_events(state: KeyState, through: Position, count: int, following: ask.Next | None) -> KeyState:
    """Move the cursor past what is done; what follows it, if anything, is the oldest unfinished event now."""
    return pending_since(passed(state, through, count), following)


def pending_since(state: KeyState, following: ask.Next | None) -> KeyState:
    """Note since when the oldest unfinished event waits."""
    since_ms = following.slice.arrived_at_ms if following is not None else state.pending_since_ms
    if state.replay is not None:
        since_ms = max(since_ms, state.replay.at_ms)  # an event that is run again arrived long ago
    return replace(state, pending_since_ms=since_ms if state.has_pending else 0)


def go_on(state: KeyState, following: ask.Next | None, now_ms: int, rules: Rules) -> Transition:
    """Let a key without a run start its next one, wait for its turn, or be idle."""
    if not state.has_pending:
        return _rest(state)
    if state.hold is not None or (following is not None and following.is_held):
        return wait_for_release(state, following, now_ms)
    if now_ms < state.not_before_ms:
        return wait_for_time(state, now_ms)
    if following is None:
        return _wait_for_slot(state, now_ms)
    return start(state, following, now_ms, rules)


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


def queue(state: KeyState, now_ms: int) -> Transition:
    """Let a key that had no slot wait for its turn, by what it waits for next."""
    if not state.has_pending:
        return _rest(state)
    if state.hold is not None:
        return wait_for_release(state, None, now_ms)
    if now_ms < state.not_before_ms:
        return wait_for_time(state, now_ms)
    return seeking(_wait_for_slot(state, now_ms))


def seeking(after: Transition) -> Transition:
    """Have a slot looked for, since no run ended here that could hand its own on."""
    if after.state.waits_for is not WaitsFor.SLOT:
        return after
    return replace(after, actions=(*after.actions, SeekSlot()))


def start(state: KeyState, following: ask.Next, now_ms: int, rules: Rules) -> Transition:
    """Claim a run: next fence, new deadline. Without a slot the key waits, without a route it is parked."""
    if following.route is None:
        return park(_without_run(state), NO_ROUTE, now_ms)
    if state.hold is not None or following.is_held:
        return wait_for_release(state, following, now_ms)
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


def going_on_with(claimed: Transition, execution: DrainingExecution | None, now_ms: int) -> Transition:
    """Bind the run that was just claimed to an execution that has ended another one, if that may go on with it."""
    state, run = claimed.state, claimed.state.run
    if run is None or execution is None or not execution.fits(state, run, now_ms):
        return claimed
    bound = replace(run, execution_id=execution.id)
    actions = tuple(GoOnWith(bound, execution) if isinstance(one, StartRun) else one for one in claimed.actions)
    return replace(claimed, state=replace(state, run=bound), actions=actions)


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


def wait_for_release(state: KeyState, following: ask.Next | None, now_ms: int) -> Transition:
    """Wait until nothing holds the key or its next route."""
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


def wait_for_time(state: KeyState, now_ms: int) -> Transition:
    """Wait until no earlier worker can be at work, and the backoff is over."""
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


def park(state: KeyState, reason: str, now_ms: int, *, diverts: bool = False) -> Transition:
    """Stop the key until a person looks."""
    parked = replace(state, phase=Phase.PARKED, parked=Parked(now_ms, reason, diverts), waits_for=None, turn=0)
    return Transition(parked, actions=(Emit(Count.PARKED), *_slot_given_up(state)))


def _slot_given_up(state: KeyState) -> tuple[Action, ...]:
    return (HandOn(),) if state.phase is Phase.RUNNING else ()
