"""Which events a replay runs again, and what that will come to: worked out before anything is changed."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, Self

from keyturn.core.positions import Position
from keyturn.core.route import Kind, Route, type_fits
from keyturn.core.state import START, KeyState, Phase, Span
from keyturn.core.workflow_shape import WorkflowShape

CHUNK_SPANS_MAX: Final = 32
"""Spans that one rewind carries: they stand in the key's state, which every run writes."""

END: Final = Position("~")
"""Sorts after every position."""


class Outcome(StrEnum):
    """What became of an event the first time."""

    ANY = "any"
    SKIPPED = "skipped"
    """A person skipped it: a dead letter that says so."""
    DEAD_LETTERED = "dead-lettered"
    """It was given up, by a person or by its route's policy: there is an open dead letter of it."""
    RETRIED = "retried"
    """An attempt at its run failed or was given up: there is an attempt record that says so."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A logged event without its content."""

    position: Position
    type: str
    flow_id: str
    arrived_at_ms: int


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be run again; what is left out selects everything. Times are of arrival, both ends included."""

    named_keys: int = 0
    """How many keys were named; 0 for all keys."""
    from_position: Position = START
    to_position: Position = END
    from_ms: int = 0
    to_ms: int = 0
    """0 for no end."""
    type: str = ""
    """A type, or a pattern with one `*`."""
    flow_id: str = ""
    route: str = ""
    outcome: Outcome = Outcome.ANY

    def takes(self, event: Heading, route: str) -> bool:
        """Tell whether an event is selected; its outcome, which the log doesn't tell, is left out of account."""
        return (
            self.from_position <= event.position <= self.to_position
            and self.from_ms <= event.arrived_at_ms
            and not (self.to_ms and event.arrived_at_ms > self.to_ms)
            and not (self.type and not type_fits(self.type, event.type))
            and self.flow_id in {"", event.flow_id}
            and self.route in {"", route}
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """What a plan comes to. Each is a sum over its keys, `longest_runs` the largest of them."""

    keys: int = 0
    events: int = 0
    spans: int = 0
    runs: int = 0
    steps_to_run: int = 0
    steps_to_skip: int = 0
    """Finished before, and not done again."""
    invocations: int = 0
    """Of workers and of the sequencer; a step that is skipped is asked for too."""
    transitions: int = 0
    """Of Standard workflows."""
    express_runs: int = 0
    worked_ms: int = 0
    """How long the events with results took, from their first step's beginning to their last one's end."""
    timed_events: int = 0
    unfinished: int = 0
    """Selected, and not finished yet: they run anyway."""
    restored: int = 0
    """Events whose log item had expired, put back from the stream or the archive."""
    parked: int = 0
    replaying: int = 0
    held: int = 0
    refused: int = 0
    longest_runs: int = 0

    def plus(self, other: Self) -> Self:
        """Add two tallies up."""
        sums = {one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)}
        return type(self)(**sums | {"longest_runs": max(self.longest_runs, other.longest_runs)})

    def as_item(self) -> dict[str, int]:
        """Write what isn't zero."""
        return {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name)}

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Self:
        """Read it back; fields of a later format are passed over."""
        return cls(**{one.name: item.get(one.name, 0) for one in fields(cls)})


class Fate(StrEnum):
    """How far a replay is with one key."""

    FOUND = "found"
    """It may have selected events; not looked at yet."""
    NOTHING = "nothing"
    PLANNED = "planned"
    APPLIED = "applied"
    DONE = "done"
    PARKED = "parked"
    """Its replay stopped at a run that failed for good; it goes on when a person resumes or skips that."""
    REFUSED = "refused"
    CANCELLED = "cancelled"


OPEN: Final = frozenset({Fate.PLANNED, Fate.APPLIED})


@dataclass(frozen=True, slots=True)
class PlannedKey:
    """What a replay is to do with one key, and how far it is with it."""

    key: str
    fate: Fate = Fate.FOUND
    low: Position = START
    high: Position = END
    """Between these its selected events are."""
    spans: tuple[Span, ...] = ()
    """Of its first rewind."""
    chunks: int = 1
    """Rewinds that all its spans take, one after the other."""
    chunk: int = 0
    """The rewind that is due or under way, from 0."""
    version: int = 0
    cursor: Position = START
    generation: int = 0
    hold_at_ms: int = 0
    """The key's, when it was planned."""
    types: tuple[str, ...] = ()
    routes: str = ""
    """Fingerprint of the routes of those types."""
    tally: Tally = field(default_factory=Tally)
    why: str = ""
    """What stands in the way, or what became of it."""


@dataclass(frozen=True, slots=True)
class Version:
    """A route with its workflow, as they are deployed now."""

    route: Route
    shape: WorkflowShape
    fingerprint: str


VersionOf = Callable[[str], Version | None]
"""The version of the route that takes an event type; None when no route does."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The step results that one event has, and the time from the first one's beginning to the last one's end."""

    steps: frozenset[str] = frozenset()
    took_ms: int = 0


def finished_through(state: KeyState) -> Position:
    """Tell up to where a key is finished; a replay that is under way has moved its cursor back."""
    return state.replay.resume_at if state.replay is not None and state.is_replaying else state.cursor


def spans_of(log: Iterable[Position], chosen: Collection[Position]) -> tuple[Span, ...]:
    """Join chosen events that are neighbours in the log to spans: they hold all chosen events and no other."""
    spans: list[Span] = []
    is_open = False
    for position in log:
        if position not in chosen:
            is_open = False
        elif is_open:
            spans[-1] = Span(spans[-1].first, position)
        else:
            spans.append(Span(position, position))
            is_open = True
    return tuple(spans)


def chunks_of(spans: Sequence[Span]) -> list[tuple[Span, ...]]:
    """Cut spans into what one rewind carries."""
    return [tuple(spans[start : start + CHUNK_SPANS_MAX]) for start in range(0, len(spans), CHUNK_SPANS_MAX)]


def fingerprint_of(types: Iterable[str], version_of: VersionOf) -> str:
    """Name the versions of the routes of these types together."""
    told = [f"{name} {version.fingerprint if (version := version_of(name)) else ''}" for name in sorted(set(types))]
    return sha256("\n".join(told).encode()).hexdigest()


def plan_key(
    found: PlannedKey,
    state: KeyState,
    log: Sequence[Heading],
    chosen: Collection[Position],
    stored: Mapping[Position, Stored],
    version_of: VersionOf,
    *,
    is_new_generation: bool,
) -> tuple[PlannedKey, list[tuple[Span, ...]]]:
    """Plan one key; return it with the spans of each of its rewinds.

    `log` is its log from the first through the last chosen event at least. What isn't finished is counted only.
    """
    through = finished_through(state)
    events = [event for event in log if event.position in chosen and event.position <= through]
    unfinished = sum(position > through for position in chosen)
    types = sorted({event.type for event in events})
    unroutable = [name for name in types if version_of(name) is None]
    if not events or unroutable:
        why = f"no route takes {unroutable[0]!r} any more" if unroutable else ""
        fate = Fate.REFUSED if unroutable else Fate.NOTHING
        tally = Tally(unfinished=unfinished, refused=bool(unroutable))
        return PlannedKey(found.key, fate, found.low, found.high, tally=tally, why=why), []
    spans = spans_of((event.position for event in log), {event.position for event in events})
    cut = chunks_of(spans)
    runs = list(_runs(events, spans, version_of))
    counted = [_tally_of_run(run, stored, version, is_new_generation=is_new_generation) for run, version in runs]
    total = Tally(keys=1, spans=len(spans), unfinished=unfinished, longest_runs=len(runs))
    for one in counted:
        total = total.plus(one)
    return PlannedKey(
        key=found.key,
        fate=Fate.PLANNED,
        low=found.low,
        high=found.high,
        spans=cut[0],
        chunks=len(cut),
        version=state.version,
        cursor=state.cursor,
        generation=state.generation,
        hold_at_ms=state.hold.at_ms if state.hold else 0,
        types=tuple(types),
        routes=fingerprint_of(types, version_of),
        tally=total.plus(_in_the_way(state)),
        why=_warning(state),
    ), cut


def _runs(
    events: Iterable[Heading], spans: Sequence[Span], version_of: VersionOf
) -> Iterator[tuple[list[Heading], Version]]:
    """Group events as runs will: one route, one span, as many as a batch allows (by count; bytes aren't known)."""
    ends = {span.last for span in spans}
    run: list[Heading] = []
    of: Version | None = None
    is_full = True
    for event in events:
        version = version_of(event.type)
        assert version is not None, "plan_key refuses what no route takes"  # noqa: S101
        if is_full or of is None or version.route != of.route:
            if run and of is not None:
                yield run, of
            run, of = [], version
        run.append(event)
        is_full = event.position in ends or len(run) >= of.route.batch.events
    if run and of is not None:
        yield run, of


def _tally_of_run(
    run: Sequence[Heading], stored: Mapping[Position, Stored], version: Version, *, is_new_generation: bool
) -> Tally:
    shape, items, to_run, to_skip, worked_ms, timed = version.shape, 0, 0, 0, 0, 0
    for event in run:
        results = stored.get(event.position, Stored())
        expected = shape.expected(results.steps)
        items = max(items, len(expected) - len(shape.steps))
        kept = frozenset[str]() if is_new_generation else expected & results.steps
        to_run, to_skip = to_run + len(expected) - len(kept), to_skip + len(kept)
        worked_ms, timed = worked_ms + results.took_ms, timed + bool(results.steps)
    kind = version.route.kind
    return Tally(
        events=len(run),
        runs=1,
        steps_to_run=to_run,
        steps_to_skip=to_skip,
        invocations=len(shape.steps) + items + 1,
        transitions=shape.transitions(items) if kind is Kind.STANDARD else int(kind is Kind.NESTED),
        express_runs=kind is not Kind.STANDARD,
        worked_ms=worked_ms,
        timed_events=timed,
    )


def _in_the_way(state: KeyState) -> Tally:
    return Tally(
        parked=state.phase is Phase.PARKED,
        replaying=state.replay is not None,
        held=state.hold is not None,
    )


def _warning(state: KeyState) -> str:
    if state.phase is Phase.PARKED:
        return "is parked: resume or skip it first"
    if state.replay is not None:
        return "a replay of it is under way: wait for it, or cancel it"
    return "is held: its replay begins when it is released" if state.hold is not None else ""
