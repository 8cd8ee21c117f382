"""Commands on a key's place in line: events that join, a run that is claimed, times that are moved."""

from dataclasses import replace

from keyturn.core import commands as ask
from keyturn.core.actions import Count, DivertPending, Emit, WakeAt
from keyturn.core.protocol.decision import Refusal, Rules, Transition, refuse, start_again
from keyturn.core.protocol.going_on import go_on, going_on_with, park, start, wait_for_time
from keyturn.core.state import KeyState, Phase, WaitsFor, passed
from keyturn.limits import LAMBDA_S_MAX


def admit(state: KeyState, command: ask.Admit, now_ms: int, rules: Rules) -> Transition:
    """Let events join the key's log: an idle key goes on with them, any other comes to them later."""
    if command.tail <= state.tail:
        return refuse(state, Refusal.NOTHING_NEW)
    admitted = replace(
        state,
        tail=command.tail,
        admitted=state.admitted + command.count,
        pending_since_ms=state.pending_since_ms or command.arrived_at_ms,
    )
    if state.phase is Phase.IDLE:
        return go_on(admitted, command.next, now_ms, rules)
    if state.parked is not None and state.parked.diverts:
        return Transition(admitted, actions=(DivertPending(),))
    return Transition(admitted, actions=start_again(state) if command.is_redelivery else ())


def claim(state: KeyState, command: ask.Claim, now_ms: int, rules: Rules) -> Transition:
    """Take the next attempt at the key's run, or at a new run, if nothing keeps it back."""
    following = command.next
    if state.run is not None and following.slice != state.run.slice:
        return refuse(state, Refusal.OTHER_SLICE)
    is_held = following.is_held or state.hold is not None
    if state.hold is not None or (is_held and state.held_route == following.slice.route):
        return refuse(state, Refusal.HELD)
    if now_ms < state.not_before_ms:
        # Out of the queue of a route that was released, too early or not: it is emptied once.
        was_held = state.waits_for is WaitsFor.RELEASE
        return wait_for_time(state, now_ms) if was_held else refuse(state, Refusal.TOO_EARLY)
    if not is_held and not following.has_slot and state.waits_for is WaitsFor.SLOT:
        return refuse(state, Refusal.NO_SLOT)
    claimed = start(replace(state, turn=0), following, now_ms, rules)
    if claimed.state.phase is not Phase.RUNNING:
        return claimed
    claimed = going_on_with(claimed, command.execution, now_ms)
    is_restart = state.run is not None
    return replace(claimed, actions=(*claimed.actions, Emit(Count.RESTARTED))) if is_restart else claimed


def postpone(state: KeyState, command: ask.Postpone, _now_ms: int, _rules: Rules) -> Transition:
    """Keep the next attempt or run back until a later time."""
    if command.fence != state.fence:
        return refuse(state, Refusal.SUPERSEDED)
    if command.until_ms <= state.not_before_ms:
        return refuse(state, Refusal.NOTHING_NEW)
    later = replace(state, not_before_ms=command.until_ms)
    if state.waits_for is not WaitsFor.SLOT:
        return Transition(later, actions=(WakeAt(command.until_ms),) if state.waits_for is WaitsFor.TIME else ())
    return Transition(replace(later, waits_for=WaitsFor.TIME), actions=(WakeAt(command.until_ms),))


def retime(state: KeyState, command: ask.Retime, now_ms: int, rules: Rules) -> Transition:
    """Bring back what a clock that was ahead has put off too far."""
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
    return refuse(state, Refusal.NOTHING_NEW)


def park_waiting(state: KeyState, command: ask.Park, now_ms: int, _rules: Rules) -> Transition:
    """Park a key that waits, for what only a person can mend."""
    return park(replace(state, held_route=""), command.reason, now_ms)


def divert(state: KeyState, command: ask.Divert, _now_ms: int, _rules: Rules) -> Transition:
    """Pass events of a key that fails what is behind a failed run; they are dead letters already."""
    if state.parked is None or not state.parked.diverts:
        return refuse(state, Refusal.WRONG_PHASE)
    if command.through <= state.cursor:
        return refuse(state, Refusal.NOTHING_NEW)
    diverted = passed(state, command.through, command.count)
    diverted = replace(diverted, pending_since_ms=state.pending_since_ms if diverted.has_pending else 0)
    return Transition(diverted, actions=(Emit(Count.DEAD_LETTERED, command.count),))
