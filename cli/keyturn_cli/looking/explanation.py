"""A key's state in words: what it does and why, and what a person can do about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.core.protocol import NO_ROUTE
from keyturn.core.state import KeyState, Parked, Phase, Replay, Run, WaitsFor
from keyturn_cli.looking.times import moment, since
from keyturn_cli.looking.wording import command, counted, one_line

WHY = "--reason WHY"


@dataclass(frozen=True, slots=True)
class Advice:
    """Something that a person can do now."""

    what: str
    command: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a key is where it is."""

    headline: str
    """Follows the key's name: "is parked since ...: ..."."""
    notes: tuple[str, ...]
    advice: tuple[Advice, ...]


def explain(state: KeyState, now_ms: int) -> Explanation:
    """Put a key's state into words."""
    notes = [*_notes_on_hold(state, now_ms), *_notes_on_replay(state, now_ms), *_notes_on_pending(state, now_ms)]
    return Explanation(_headline(state, now_ms), tuple(notes), tuple(_advice(state)))


def since_ms(state: KeyState) -> int:
    """Since when a key is in its phase; 0 where that isn't known."""
    if state.parked is not None:
        return state.parked.at_ms
    if state.phase is Phase.RUNNING and state.run is not None:
        return state.run.started_at_ms
    if state.phase is Phase.WAITING:
        return state.waiting_since_ms
    return state.hold.at_ms if state.hold is not None else 0


def pending(state: KeyState) -> int:
    """How many admitted events aren't finished. What a replay runs again counts as finished."""
    return state.admitted - state.finished


def reason(state: KeyState, now_ms: int) -> str:
    """What a key waits for, or why it is parked, in a few words."""
    match state.phase:
        case Phase.PARKED:
            return one_line(_parked(state).reason)
        case Phase.RUNNING:
            return _running(state, now_ms)
        case Phase.WAITING:
            return _waiting(state, now_ms)
        case Phase.IDLE:
            return f"held by {state.hold.by}: {one_line(state.hold.reason)}" if state.hold else "nothing to do"


def _headline(state: KeyState, now_ms: int) -> str:
    at_ms = since_ms(state)
    begun = f" since {moment(at_ms, now_ms)}" if at_ms else ""
    match state.phase:
        case Phase.IDLE if state.hold is not None:
            return f"is idle, and held{begun}: nothing that comes for it starts until it is released"
        case Phase.IDLE:
            finished = "its event is" if state.admitted == 1 else f"all its {state.admitted:,} events are"
            return f"is idle: {finished} finished"
        case _:
            return f"is {state.phase.value}{begun}: {reason(state, now_ms)}"


def _running(state: KeyState, now_ms: int) -> str:
    run = _run(state)
    if run.deadline_ms <= now_ms:
        return f"attempt {run.attempt} is past its deadline ({since(run.deadline_ms, now_ms)}); the watchdog ends it"
    if run.execution_id is None:
        return f"attempt {run.attempt} is claimed, no worker of it has begun yet"
    return f"attempt {run.attempt}, to end {since(run.deadline_ms, now_ms)} at the latest"


def _waiting(state: KeyState, now_ms: int) -> str:
    match state.waits_for:
        case WaitsFor.TIME if state.run is not None:
            return f"attempt {state.run.attempt} may begin {_when(state.not_before_ms, now_ms)}"
        case WaitsFor.TIME:
            return f"its next run may begin {_when(state.not_before_ms, now_ms)}, when no earlier try can be at work"
        case WaitsFor.RELEASE if state.held_route:
            return f"its route {state.held_route} is held"
        case WaitsFor.RELEASE:
            return f"held by {state.hold.by}: {one_line(state.hold.reason)}" if state.hold else "held"
        case _:
            return "for a slot: as many runs are in flight as allowed"


def _when(at_ms: int, now_ms: int) -> str:
    return since(at_ms, now_ms) if at_ms > now_ms else "as soon as the watchdog comes by"


def _notes_on_hold(state: KeyState, now_ms: int) -> list[str]:
    if state.hold is None:
        return []
    hold = f"held by {state.hold.by} since {moment(state.hold.at_ms, now_ms)}: {one_line(state.hold.reason)}"
    return [f"{hold}; the run under way goes on, nothing starts after it" if state.phase is Phase.RUNNING else hold]


def _notes_on_replay(state: KeyState, now_ms: int) -> list[str]:
    replay = state.replay
    if replay is None:
        return []
    asked = f"replay {replay.id}, asked for {since(replay.at_ms, now_ms)}"
    if replay.is_noted:
        return [f"{asked}, begins when the run that has the key has passed"]
    left = counted(len(replay.spans), "stretch", "stretches")
    return [f"{asked}, runs finished events again: {left} of the log left; {_results_used(replay)}"]


def _results_used(replay: Replay) -> str:
    if replay.generation:
        return f"steps without a result of generation {replay.generation} are done again; new events wait behind"
    return "steps that are done aren't done again; new events wait behind"


def _notes_on_pending(state: KeyState, now_ms: int) -> list[str]:
    behind = pending(state) - (state.run.slice.count if state.run is not None and not state.is_replaying else 0)
    notes = []
    if state.parked is not None and state.parked.reason == NO_ROUTE:
        notes.append("deploy a route that takes the event, then resume the key")
    if state.parked is not None and state.parked.diverts:
        notes.append("its route's policy is fail-behind: whatever comes for it becomes a dead letter")
    elif behind > 0 and state.run is not None:
        notes.append(f"{counted(behind, 'later event')} of it {'waits' if behind == 1 else 'wait'} behind that run")
    if state.pending_since_ms and not state.is_replaying:
        notes.append(f"its oldest unfinished event arrived {moment(state.pending_since_ms, now_ms)}")
    return notes


def _advice(state: KeyState) -> list[Advice]:
    found = _advice_on_parked(state, state.parked) if state.parked is not None else []
    if state.hold is not None:
        found.append(Advice("end its hold", command("release", state.key, WHY)))
    if state.held_route:
        found.append(Advice("see who holds its route", "keyturn status"))
    if state.run is not None:
        found.append(Advice("see its run", command("run", state.key)))
    return found


def _advice_on_parked(state: KeyState, parked: Parked) -> list[Advice]:
    if parked.diverts:
        return [Advice("end the diverting, let new events run", command("resume", state.key, WHY))]
    found = [Advice("try it again; steps that are done stay done", command("resume", state.key, WHY))]
    if state.run is not None:
        found.append(Advice("try it again from its first step", command("resume", state.key, "--fresh", WHY)))
    found.append(Advice("give the failed run up, go on behind it", command("skip", state.key, WHY)))
    return found


def _parked(state: KeyState) -> Parked:
    assert state.parked is not None, "a parked key says why"  # noqa: S101
    return state.parked


def _run(state: KeyState) -> Run:
    assert state.run is not None, "a running key has a run"  # noqa: S101
    return state.run
