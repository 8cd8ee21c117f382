"""One run: its slice, its attempts, its steps, and what Step Functions still knows of its executions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Final

from keyturn.adapters.executions import Executions
from keyturn.adapters.steps import StoredResults
from keyturn.core.naming import key_hash
from keyturn.core.route import Kind
from keyturn.core.state import START, KeyState, Phase
from keyturn.errors import StoreError
from keyturn_cli.errors import NotFound
from keyturn_cli.looking.key_items import Attempt, Event, KeyItems, Step, Stretch
from keyturn_cli.looking.positions import is_position, read_position
from keyturn_cli.looking.stack import StackReader
from keyturn_cli.looking.story import with_current
from keyturn_cli.looking.wording import command, one_line, quoted

_RESULTS_SEARCHED: Final = 5_000
_DESCRIBED: Final = 10
"""Executions of a run that Step Functions is asked about, the last ones: it answers 15 a second."""


@dataclass(frozen=True, slots=True)
class RunStory:
    """What is known of a run."""

    state: KeyState
    events: tuple[Event, ...]
    route: str
    workflow: str
    """Empty when this checkout has no such route."""
    kind: Kind | None
    attempts: tuple[Attempt, ...]
    steps: tuple[Step, ...]
    statuses: Mapping[str, str]
    """What Step Functions says, by execution name: of Standard executions only, 90 days long."""
    now_ms: int

    @property
    def is_current(self) -> bool:
        """Whether it is what the key works on, will try again, or is parked at."""
        run = self.state.run
        return run is not None and run.slice.first == self.events[0].position


def read_run(reader: StackReader, key: str, which: str = "") -> RunStory:
    """Read the run that `which` names: a position in it or an execution; else the last one. Raises NotFound."""
    state, items = reader.known(key), KeyItems(reader.table, key)
    position = _position_of(reader, state, items, which)
    events = _slice_at(state, items, position)
    stretch = Stretch.through(events[0].position, events[-1].position)
    steps = items.steps(stretch)
    recorded = [attempt for attempt in items.attempts(stretch) if attempt.first == events[0].position]
    at_it = state.phase is Phase.RUNNING and state.run is not None and state.run.slice.first == events[0].position
    route = _route_of(reader, state, events, recorded)
    attempts = _with_clean(reader, key, route, events, with_current(recorded, state) if at_it else recorded, steps)
    known = reader.routes.named(route)
    workflow, kind = (known.workflow, known.kind) if known else ("", None)
    if state.run is not None and state.run.slice.first == events[0].position:
        workflow, kind = state.run.workflow, state.run.kind
    return RunStory(
        state=state,
        events=tuple(events),
        route=route,
        workflow=workflow,
        kind=kind,
        attempts=tuple(attempts),
        steps=tuple(steps),
        statuses=_statuses(reader, f"{workflow}-{kind}", attempts) if kind and kind.has_history else {},
        now_ms=reader.clock(),
    )


def _position_of(reader: StackReader, state: KeyState, items: KeyItems, which: str) -> str:
    if is_position(which):
        return read_position(which, int(reader.settings["STREAM_EPOCH"]))
    if which:
        return _position_of_execution(state, items, which)
    if state.run is not None:
        return state.run.slice.first
    if state.cursor == START:
        raise NotFound(f"key {quoted(state.key)} has not run anything yet: see {command('key', state.key)}")
    return _last_position(state, items)


def _last_position(state: KeyState, items: KeyItems) -> str:
    """Where the last run of a key without one was: a replay has its cursor before what is to run, where no event is."""
    replay = state.replay
    if replay is None or not state.is_replaying or items.events(state.cursor, state.cursor):
        return state.cursor
    return _position_with_fence(items, state.fence) or replay.resume_at


def _position_with_fence(items: KeyItems, fence: int) -> str | None:
    """Where an attempt stored a result; None if none of the latest has its fence."""
    results = islice(items.results_backwards("~"), _RESULTS_SEARCHED)
    return next((stored.last.position for stored in results if stored.fence == fence), None)


def _position_of_execution(state: KeyState, items: KeyItems, name: str) -> str:
    if state.run is not None and state.run.execution_name == name:
        return state.run.slice.first
    before, _, fence = name.rpartition("-")
    if not (before.endswith(f"-{key_hash(state.key)}") and fence.isascii() and fence.isdigit()):
        raise NotFound(f"{quoted(name)} is neither a position nor an execution of key {quoted(state.key)}")
    recorded = items.attempt_of(name)
    if recorded is not None:
        return recorded.first
    found = _position_with_fence(items, int(fence))
    if found is None:
        raise NotFound(
            f"no run of key {quoted(state.key)} with execution {one_line(name)} is recorded: name its position instead,"
            f" see {command('key', state.key)}"
        )
    return found


def _slice_at(state: KeyState, items: KeyItems, position: str) -> list[Event]:
    """The events of the run that worked on a position last. Raises NotFound when none has."""
    run = state.run
    if run is not None and run.slice.first <= position <= run.slice.last:
        return items.events(run.slice.first, run.slice.last)
    events = items.events(position, position)
    if not events:
        raise NotFound(
            f"key {quoted(state.key)} has no event at {position} any more, if it ever had: finished ones leave the log"
            f" when their time to live ends; see {command('key', state.key)}"
        )
    recorded = [one for one in items.attempts(Stretch.through(position, position)) if one.covers(position)]
    if recorded:
        last = max(recorded, key=lambda attempt: attempt.fence)
        return items.events(last.first, last.last)
    steps = items.steps(Stretch.through(position, position))
    if steps:
        return _neighbours(items, position, max(step.fence for step in steps))
    if position > state.cursor:
        raise NotFound(f"the event at {position} of key {quoted(state.key)} has not run yet: it waits for its turn")
    return events


def _neighbours(items: KeyItems, position: str, fence: int) -> list[Event]:
    """The events that one attempt worked on together, known by their results' fence."""
    at_it = [stored for stored in items.results(Stretch.through(position, position)) if stored.fence == fence]
    behind = _with_fence(items.results_onwards(position), fence)
    last = max([*at_it, *behind], key=lambda stored: stored.last.position)
    before = _with_fence(items.results_backwards(last.last.position), fence)
    first = min(one.position for stored in [*at_it, *before] for one in stored.results)
    return items.events(first, last.last.position)


def _with_fence(results: Iterable[StoredResults], fence: int) -> Iterator[StoredResults]:
    """Yield what stands side by side as long as something at a place has the fence."""
    for _, group in groupby(results, key=lambda stored: stored.last.position):
        found = [stored for stored in group if stored.fence == fence]
        if not found:
            return
        yield from found


def _route_of(reader: StackReader, state: KeyState, events: Sequence[Event], recorded: Sequence[Attempt]) -> str:
    run = state.run
    if run is not None and run.slice.first == events[0].position:
        return run.slice.route
    if recorded:
        return recorded[-1].route
    route = reader.routes.for_type(events[0].type)
    return route.name if route else ""


def _with_clean(
    reader: StackReader,
    key: str,
    route: str,
    events: Sequence[Event],
    attempts: Sequence[Attempt],
    steps: Sequence[Step],
) -> list[Attempt]:
    """Attempts, with those that simply succeeded: they leave no record, only their steps' results."""
    told = {attempt.fence for attempt in attempts}
    clean = [
        _clean(reader, key, route, events, fence, [step for step in steps if step.fence == fence])
        for fence in {step.fence for step in steps} - told
    ]
    return sorted([*attempts, *clean], key=lambda attempt: attempt.fence)


def _clean(
    reader: StackReader, key: str, route: str, events: Sequence[Event], fence: int, steps: Sequence[Step]
) -> Attempt:
    return Attempt(
        first=events[0].position,
        last=events[-1].position,
        count=len(events),
        fence=fence,
        number=steps[0].attempt,
        outcome="succeeded",
        reason="",
        route=route,
        execution_name=reader.execution_name(route, key, fence) if route else "",
        execution_id=steps[0].execution_id,
        started_at_ms=min(step.began_at_ms for step in steps),
        ended_at_ms=max(step.ended_at_ms for step in steps),
        generation=max(step.generation for step in steps),
    )


def _statuses(reader: StackReader, machine: str, attempts: Sequence[Attempt]) -> dict[str, str]:
    executions = Executions(reader.client("stepfunctions"), reader.settings["STATE_MACHINE_PREFIX"])
    names = [attempt.execution_name for attempt in attempts[-_DESCRIBED:] if attempt.execution_name]
    try:
        found = {name: executions.status(machine, name) for name in names}
    except StoreError as error:  # who may not ask Step Functions may still read the rest
        return {names[-1]: f"can't be asked: {one_line(str(error))}"}
    return {name: status or "not known to AWS any more" for name, status in found.items()}
