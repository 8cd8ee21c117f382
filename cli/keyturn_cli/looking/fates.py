"""What became of each event of a key, read off the key's state and its dead letters. Pure."""

from __future__ import annotations

from enum import StrEnum

from keyturn.core.state import KeyState, Phase


class Fate(StrEnum):
    """How an event stands."""

    DONE = "done"
    RUNNING = "running"
    RETRYING = "to be tried again"
    PARKED = "parked"
    WAITING = "waiting"
    REPLAYING = "to be replayed"
    DEAD_LETTERED = "dead-lettered"
    NOT_ADMITTED = "not admitted"
    """In the log, behind the key's tail: its dispatcher died, or is about to admit it."""


def fate(state: KeyState, position: str, *, is_dead_lettered: bool) -> Fate:
    """How an event of the log stands."""
    if position > state.tail:
        return Fate.NOT_ADMITTED
    run = state.run
    if run is not None and run.slice.first <= position <= run.slice.last:
        return {Phase.RUNNING: Fate.RUNNING, Phase.PARKED: Fate.PARKED}.get(state.phase, Fate.RETRYING)
    if _is_replayed(state, position):
        return Fate.REPLAYING
    if is_dead_lettered:
        return Fate.DEAD_LETTERED
    return Fate.DONE if position <= _finished_through(state) else Fate.WAITING


def _finished_through(state: KeyState) -> str:
    """The last finished position; during a replay that is where the cursor returns to."""
    replay = state.replay
    return replay.resume_at if replay is not None and not replay.is_noted else state.cursor


def _is_replayed(state: KeyState, position: str) -> bool:
    replay = state.replay
    if replay is None or (position <= state.cursor and not replay.is_noted):
        return False
    return any(span.first <= position <= span.last for span in replay.spans)
