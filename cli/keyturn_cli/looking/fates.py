"""What became of each event of a key, read off the key's state and its dead letters. Pure."""

from __future__ import annotations

from enum import StrEnum

from keyturn.core.replay_plan import finished_through
from keyturn.core.state import KeyState, Phase, Run


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
    if run_of(state, position) is not None:
        return {Phase.RUNNING: Fate.RUNNING, Phase.PARKED: Fate.PARKED}.get(state.phase, Fate.RETRYING)
    if _is_to_be_replayed(state, position):
        return Fate.REPLAYING
    if is_dead_lettered:
        return Fate.DEAD_LETTERED
    return Fate.DONE if is_finished(state, position) else Fate.WAITING


def run_of(state: KeyState, position: str) -> Run | None:
    """The run in work, if an event is part of it."""
    run = state.run
    return run if run is not None and run.slice.first <= position <= run.slice.last else None


def is_finished(state: KeyState, position: str) -> bool:
    """Whether nothing is left to do for an event: it is done, or it was given up. One of a noted replay is so far."""
    if position <= state.cursor:
        return True
    return position <= finished_through(state) and not _is_in_replay(state, position)


def _is_to_be_replayed(state: KeyState, position: str) -> bool:
    return _is_in_replay(state, position) and (position > state.cursor or not state.is_replaying)


def _is_in_replay(state: KeyState, position: str) -> bool:
    replay = state.replay
    return replay is not None and any(span.first <= position <= span.last for span in replay.spans)
