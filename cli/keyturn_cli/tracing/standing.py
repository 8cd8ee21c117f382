"""Says where an event stands, by the state of its key."""

from __future__ import annotations

from keyturn.core.positions import Position
from keyturn.core.state import KeyState, Phase, Run, WaitsFor
from keyturn_cli.looking.fates import is_finished, run_of
from keyturn_cli.looking.times import clock
from keyturn_cli.tracing.story import Wait


def standing(state: KeyState, position: Position, dead_letter_reason: str | None) -> str:
    """Say in a sentence where the event stands."""
    if is_finished(state, position):
        return "Done." if dead_letter_reason is None else f"Given up, a dead letter: {dead_letter_reason}"
    if position > state.tail:
        return "Written to the log, not admitted yet."
    replay = state.replay
    is_again = replay is not None and state.is_replaying and position <= replay.resume_at
    again = f"To be run again by replay {replay.id}. " if replay is not None and is_again else ""
    run = run_of(state, position)
    if run is not None:
        return again + _of_run(state, run)
    return f"{again}{_ahead(state)}"


def waits_now(state: KeyState, position: Position) -> tuple[Wait, str]:
    """What an event that isn't finished waits for now, and the detail of it."""
    if position > state.tail:
        return Wait.UNADMITTED, ""
    run = run_of(state, position)
    is_another_first = state.run is not None and run is None
    match state.phase:
        case Phase.PARKED:
            return Wait.PARKED, ""
        case _ if is_another_first:
            return Wait.EARLIER, ""
        case Phase.RUNNING if run is not None:
            return (Wait.IN_WORK if run.execution_id else Wait.START), ""
        case _:
            return _waits_for(state)


def _waits_for(state: KeyState) -> tuple[Wait, str]:
    match state.waits_for:
        case WaitsFor.TIME:
            return Wait.RETRY, ""
        case WaitsFor.RELEASE:
            return Wait.HELD, f"with route {state.held_route}" if state.held_route else ""
        case _:
            return Wait.SLOT, ""


def _of_run(state: KeyState, run: Run) -> str:
    match state.phase:
        case Phase.RUNNING:
            return f"Running: attempt {run.attempt}, until {clock(run.deadline_ms)} at the latest."
        case Phase.PARKED:
            return _parked(state)
        case _:
            return f"Attempt {run.attempt} {_waits(state)}"


def _ahead(state: KeyState) -> str:
    """Say what the key is doing, of which an event that isn't being run waits its turn."""
    match state.phase:
        case Phase.RUNNING:
            return "Waits for earlier events of its key, at which a run is under way."
        case Phase.PARKED:
            return f"Waits behind its key. {_parked(state)}"
        case _:
            return f"Its key {_waits(state)}"


def _parked(state: KeyState) -> str:
    parked = state.parked
    return f"Parked since {clock(parked.at_ms)}: {parked.reason}" if parked is not None else "Parked."


def _waits(state: KeyState) -> str:
    match state.waits_for:
        case WaitsFor.TIME:
            return f"waits until {clock(state.not_before_ms)}."
        case WaitsFor.RELEASE if state.hold is not None:
            hold = state.hold
            return f"is held since {clock(hold.at_ms)} by {hold.by}: {hold.reason}"
        case WaitsFor.RELEASE:
            return f"is held with its route {state.held_route!r}."
        case _:
            return "waits for a slot."
