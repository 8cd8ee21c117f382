"""Commands of a person: hold and release, resume and skip, replay."""

from dataclasses import replace

from keyturn.core import commands as ask
from keyturn.core.actions import Count, Emit, RecordDeadLetter, RecordOperation
from keyturn.core.positions import Position
from keyturn.core.protocol.decision import Refusal, Rules, Transition, refuse
from keyturn.core.protocol.going_on import go_on, pass_events, pending_since, queue, seeking
from keyturn.core.rollout import NO_RELEASE
from keyturn.core.state import Hold, KeyState, Phase, Replay, Span, WaitsFor, passed, rewound, to_run


def hold(state: KeyState, command: ask.Hold, now_ms: int, _rules: Rules) -> Transition:
    """Let the key begin nothing new until it is released; what runs may end."""
    if state.hold is not None:
        return refuse(state, Refusal.NOTHING_NEW)
    held = replace(state, hold=Hold(now_ms, command.operator.by, command.operator.reason))
    if state.phase is Phase.WAITING:
        held = replace(held, waits_for=WaitsFor.RELEASE, held_route="", waiting_since_ms=now_ms)
    return Transition(held, records=(_operation(state, command, command.operator, now_ms),))


def release(state: KeyState, command: ask.Release, now_ms: int, _rules: Rules) -> Transition:
    """Take the key's hold away; it waits for its turn."""
    if state.hold is None:
        return refuse(state, Refusal.NOTHING_NEW)
    released = Transition(replace(state, hold=None))
    if state.waits_for is WaitsFor.RELEASE:
        released = queue(released.state, now_ms)
    return replace(released, records=(_operation(state, command, command.operator, now_ms),))


def resume(state: KeyState, command: ask.Resume, now_ms: int, _rules: Rules) -> Transition:
    """Let a parked key try its run again, from the failed step or, afresh, from the first."""
    run, generation = state.run, state.generation
    if run is None and command.is_fresh:
        return refuse(state, Refusal.NO_RUN)
    if run is not None:
        generation += command.is_fresh
        run = replace(run, attempt=1, execution_id=None, generation=generation if command.is_fresh else run.generation)
    # It takes a release anew: what a person mended may have been the one that it was parked on.
    resumed = queue(replace(state, run=run, generation=generation, parked=None, release=NO_RELEASE), now_ms)
    return replace(resumed, records=(_operation(state, command, command.operator, now_ms),))


def skip(state: KeyState, command: ask.Skip, now_ms: int, rules: Rules) -> Transition:
    """Give a parked key's run up as a dead letter, and go on behind it."""
    if not state.has_pending or (state.parked is not None and state.parked.diverts):
        return refuse(state, Refusal.NOTHING_TO_SKIP)
    failed = state.run.slice if state.run is not None else command.slice
    record = _operation(state, command, command.operator, now_ms)
    state = replace(state, parked=None, release=NO_RELEASE)
    if failed is None:
        _, through = to_run(state) or (state.cursor, state.tail)
        lost = passed(state, through, state.admitted - state.finished)
        after = go_on(pending_since(lost, None), None, now_ms, rules)
        return replace(seeking(after), records=(record,))
    over = pass_events(state, failed.last, failed.count, command.next)
    after = seeking(go_on(over, command.next, now_ms, rules))
    reason = f"skipped by {command.operator.by}: {command.operator.reason}"
    gone = Emit(Count.DEAD_LETTERED, failed.count)
    return replace(after, records=(record, RecordDeadLetter(failed, reason, now_ms)), actions=(gone, *after.actions))


def rewind(state: KeyState, command: ask.Rewind, now_ms: int, rules: Rules) -> Transition:
    """Begin a replay, or note it for when the run under way has ended."""
    if command.id == state.last_replay:
        return refuse(state, Refusal.NOTHING_NEW)
    if state.replay is not None:
        return refuse(state, Refusal.REPLAYING)
    hold_at_ms = state.hold.at_ms if state.hold else 0
    is_as_planned = state.generation == command.planned_generation and hold_at_ms == command.planned_hold_at_ms
    if not is_as_planned or not command.spans or command.spans[-1].last > state.cursor:
        return refuse(state, Refusal.CHANGED)
    generation = state.generation + command.is_new_generation
    replay = Replay(command.id, now_ms, generation if command.is_new_generation else 0, command.spans, is_noted=True)
    record = _operation(state, command, command.operator, now_ms, command.spans[0].first, command.id)
    noted = replace(state, replay=replay, last_replay=replay.id, generation=generation)
    if state.run is not None:
        return Transition(noted, records=(record,))
    begun = replace(rewound(noted, replay), pending_since_ms=state.pending_since_ms or now_ms)
    is_waiting = state.phase is Phase.WAITING
    after = queue(begun, now_ms) if is_waiting else seeking(go_on(begun, command.next, now_ms, rules))
    return replace(after, records=(record,))


def cancel_replay(state: KeyState, command: ask.CancelReplay, now_ms: int, rules: Rules) -> Transition:
    """Leave a replay where it is, and go on where the key would be without it."""
    replay = state.replay
    if replay is None or replay.id != command.id:
        return refuse(state, Refusal.NOTHING_NEW)
    record = _operation(state, command, command.operator, now_ms, replay.spans[0].first, replay.id)
    if replay.is_noted:
        return Transition(replace(state, replay=None), records=(record,))
    if state.run is not None:
        only = (Span(state.run.slice.first, state.run.slice.last),)
        if replay.spans == only:
            return refuse(state, Refusal.NOTHING_NEW)
        return Transition(replace(state, replay=replace(replay, spans=only)), records=(record,))
    returned = pending_since(replace(state, replay=None, cursor=replay.resume_at), command.next)
    if state.parked is not None and state.parked.diverts:
        return Transition(returned, records=(record,))
    # What a key without a run was parked for lay in the replay. Left parked, a skip would take an innocent event.
    after = go_on(replace(returned, parked=None), command.next, now_ms, rules)
    return replace(seeking(after), records=(record,))


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
