"""The one mutable item of a key, as a value.

All times are epoch milliseconds of the clock of whoever made the change; all positions sort as text.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from typing import Final

from keyturn.core.positions import Position, predecessor
from keyturn.core.route import Kind

START: Final = Position("")
"""The cursor and the tail of a key that has no event yet; sorts before every position."""


class Phase(StrEnum):
    """What a key is doing."""

    IDLE = "idle"
    WAITING = "waiting"
    RUNNING = "running"
    PARKED = "parked"


class WaitsFor(StrEnum):
    """Why a waiting key waits."""

    SLOT = "slot"
    """As many runs are in flight as allowed."""
    TIME = "time"
    """Its next attempt or run may start at `not_before_ms`, no sooner."""
    RELEASE = "release"
    """The key, or the route of what it would run, is held."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Consecutive events of one key and one route, read from the log: what one run works on."""

    first: Position
    last: Position
    count: int
    route: str
    arrived_at_ms: int
    """When the stream took the first of them."""
    flow_id: str
    """Of the first of them: what the log lines about the run carry."""


@dataclass(frozen=True, slots=True)
class Run:
    """The slice in work and the attempt at it. It outlives a failed attempt, so that a retry keeps its slice."""

    slice: Slice
    attempt: int
    """Number of the attempt that is under way, or of the next one while the key waits; from 1."""
    workflow: str
    kind: Kind
    started_at_ms: int
    deadline_ms: int
    execution_name: str
    execution_id: str | None = None
    """The one execution that this attempt belongs to; None until its first worker begins, where it has its own."""
    generation: int = 0
    """Stored step results of this generation or a later one count as done, and new ones are stored under it."""
    heartbeat_at_ms: int = 0
    """When a worker last extended the deadline; 0 if none did."""
    worker_timeout_s: int = 0
    """How long a worker of this attempt may take at most, by what was deployed or released when it was claimed: a
    deploy may have made that shorter since."""
    excused_at_ms: int = 0
    """When an attempt ended that used none up, if the last one did."""

    @property
    def waits_since_ms(self) -> int:
        """Since when it waits for a slot, as others that wait for one see it.

        Since its event came, not since it failed: at the end of a long queue a retry would come minutes late. But what
        is tried for as long as it takes would stand before all others for as long.
        """
        return max(self.slice.arrived_at_ms, self.excused_at_ms)

    @property
    def machine(self) -> str:
        """Name of its state machine, without the stack's."""
        return f"{self.workflow}-{self.kind}"

    @property
    def timeout_ms(self) -> int:
        """How long the attempt may take, from its start or from a worker's heartbeat."""
        return self.deadline_ms - max(self.started_at_ms, self.heartbeat_at_ms)


@dataclass(frozen=True, slots=True)
class Parked:
    """Why a key waits for a person, and since when."""

    at_ms: int
    reason: str
    diverts: bool = False
    """Whatever queues behind the failed run is dead-lettered too (policy fail-behind)."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Who keeps a key from starting runs, since when, and why."""

    at_ms: int
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a key's log, both ends included."""

    first: Position
    last: Position


@dataclass(frozen=True, slots=True)
class Replay:
    """Finished events that are run once more; what is new queues behind them."""

    id: str
    at_ms: int
    generation: int
    """Step results of this generation or a later one count as done; with 0, any does."""
    spans: tuple[Span, ...]
    """What is left to run, in log order."""
    resume_at: Position = START
    """Where the cursor goes when no span is left; not known yet while the replay is only noted."""
    is_noted: bool = False
    """Asked for while a run had the key: it begins when that run has passed."""


@dataclass(frozen=True, slots=True)
class HandedOn:
    """To whom a key offered its slot, and the execution that its attempt ran in, when the attempt of `fence` ended."""

    key: str
    fence: int


@dataclass(frozen=True, slots=True)
class Quantum:
    """How long a busy key may hold its slot while others wait for one: so many runs in a row, or so long."""

    runs: int
    ms: int


@dataclass(frozen=True, slots=True)
class KeyState:
    """The state of one key. `version` counts its writes and is what compare-and-set compares."""

    key: str
    version: int = 0
    phase: Phase = Phase.IDLE
    cursor: Position = START
    tail: Position = START
    admitted: int = 0
    finished: int = 0
    fence: int = 0
    generation: int = 0
    """The highest generation of step results that was ever asked for."""
    turn: int = 0
    """Runs in a row since the key got its slot."""
    turn_since_ms: int = 0
    """When it got it; says nothing while `turn` is 0."""
    run: Run | None = None
    waits_for: WaitsFor | None = None
    waiting_since_ms: int = 0
    not_before_ms: int = 0
    pending_since_ms: int = 0
    """Arrival of the oldest unfinished event; 0 when there is none."""
    parked: Parked | None = None
    hold: Hold | None = None
    held_route: str = ""
    """The held route that a key waits for; empty when the hold is its own."""
    replay: Replay | None = None
    missing: int = 0
    """Admitted events that the log didn't hold when their turn came, later ones being there."""
    release: int = 0
    """The release that its runs take until it is idle; 0 while it has taken none."""
    last_replay: str = ""
    """The replay that was asked for last, by its id: asking for it again changes nothing. Of those before it, the
    records of operations tell."""
    dropped_through: Position = START
    """The last event of a run that was dropped because no route took it any more: runs up to there are cut anew."""
    dropped_generation: int = 0
    """Of that run's step results: what is cut anew goes on with them."""
    handed_on: HandedOn | None = None
    """Of the last attempt that gave its slot to another key: where the execution that asks again finds what was claimed
    for it."""

    @property
    def is_replaying(self) -> bool:
        """Whether the cursor was moved back and has not returned."""
        return self.replay is not None and not self.replay.is_noted

    def is_cut_anew(self, cut: Slice) -> bool:
        """Whether some of a slice's events were in a run that was dropped, whose results may lie behind the slice."""
        return cut.first <= self.dropped_through

    def goes_forward(self, run: Run) -> bool:
        """Whether a run of the key is of no replay, and none of its events was in a run of other events before."""
        return not self.is_replaying and not self.is_cut_anew(run.slice)

    @property
    def has_pending(self) -> bool:
        """Whether admitted events wait behind the cursor."""
        return self.cursor < self.tail

    def has_had_its_turn(self, quantum: Quantum, now_ms: int) -> bool:
        """Whether the key held its slot as long as it may while others wait."""
        return self.turn >= quantum.runs or now_ms - self.turn_since_ms >= quantum.ms

    @property
    def is_unstarted(self) -> bool:
        """Whether an attempt is claimed that no worker has begun: starting its execution (again) is right."""
        return self.phase is Phase.RUNNING and self.run is not None and self.run.execution_id is None


class Queue(StrEnum):
    """The families of index buckets: why a key that isn't idle is in the index."""

    RUNNING = "running"
    RETRY = "retry"
    WAITING = "waiting"
    PARKED = "parked"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Due:
    """Where a key stands in the index: its queue, and the time it sorts by there."""

    queue: Queue
    at_ms: int
    route: str = ""
    """Keys that wait for a held route have a queue for each route, so that its release finds them."""

    @property
    def family(self) -> str:
        """The queue's name, without its number."""
        return queue_name(self.queue, self.route)


def queue_name(queue: Queue, route: str = "") -> str:
    """Name the family of index buckets of a queue."""
    return f"{queue.value}:{route}" if route else queue.value


def due(state: KeyState, rounding_ms: int) -> Due | None:
    """Derive the index entry of a key; None for an idle one that isn't held, which isn't in the index.

    A running key's deadline is rounded up to `rounding_ms`, so that a busy key's next run usually leaves the entry
    unchanged: DynamoDB writes an index entry only when it changes.
    """
    match state.phase:
        case Phase.IDLE:
            return Due(Queue.HELD, state.hold.at_ms) if state.hold else None
        case Phase.RUNNING:
            return Due(Queue.RUNNING, _round_up(_run_of(state).deadline_ms, rounding_ms))
        case Phase.WAITING:
            return _due_waiting(state)
        case Phase.PARKED:
            parked = _parked_of(state)
            if parked.diverts and state.has_pending:
                return Due(Queue.RETRY, parked.at_ms)
            return Due(Queue.PARKED, parked.at_ms)


def _due_waiting(state: KeyState) -> Due:
    match state.waits_for:
        case WaitsFor.TIME:
            return Due(Queue.RETRY, state.not_before_ms)
        case WaitsFor.RELEASE:
            return Due(Queue.HELD, state.waiting_since_ms, state.held_route)
        case _:
            return Due(Queue.WAITING, state.waiting_since_ms)


def to_run(state: KeyState) -> tuple[Position, Position] | None:
    """Tell where the next run's slice is to be cut: behind the first position, through the second.

    None when nothing is pending. During a replay it is the rest of a span: a slice never crosses its end.
    """
    if not state.has_pending:
        return None
    if state.replay is not None and not state.replay.is_noted:
        return state.cursor, state.replay.spans[0].last
    return state.cursor, state.tail


def passed(state: KeyState, through: Position, count: int) -> KeyState:
    """Move the cursor past `count` events up to `through`, or to where a replay goes on, begins or returns.

    The run is over; times and phase are the protocol's business.
    """
    over = replace(state, run=None, cursor=through)
    replay = state.replay
    if replay is None:
        return replace(over, finished=state.finished + count)
    if replay.is_noted:
        return rewound(replace(over, finished=state.finished + count), replay)
    spans = tuple(span for span in replay.spans if span.last > through)
    if not spans:
        return replace(over, replay=None, cursor=replay.resume_at)
    return replace(over, replay=replace(replay, spans=spans), cursor=max(through, predecessor(spans[0].first)))


def rewound(state: KeyState, replay: Replay) -> KeyState:
    """Move the cursor back to where a replay begins, remembering where it stood."""
    begun = replace(replay, resume_at=state.cursor, is_noted=False)
    return replace(state, replay=begun, cursor=predecessor(begun.spans[0].first))


def key_digest(key: str) -> bytes:
    """SHA-256 of a key: spreads keys over index buckets, payload prefixes and execution names."""
    return sha256(key.encode()).digest()


def bucket_of(key: str, buckets: int) -> int:
    """Number of the index bucket of a key, 0 to `buckets` - 1."""
    return int.from_bytes(key_digest(key)[:4]) % buckets


def violations(state: KeyState) -> list[str]:
    """List what in a state contradicts the model; empty for every state that the protocol makes."""
    checks: list[tuple[bool, str]] = [
        (state.cursor <= state.tail, "cursor is past the tail"),
        (state.finished <= state.admitted or state.cursor > START, "finished without admitted"),
        (state.phase is not Phase.IDLE or not state.has_pending, "idle with pending events (a lost wake-up)"),
        (state.phase is not Phase.IDLE or state.run is None, "idle with a run"),
        (state.phase is not Phase.IDLE or state.release == 0, "idle on a release"),
        (state.phase is not Phase.RUNNING or state.run is not None, "running without a run"),
        ((state.phase is Phase.WAITING) == (state.waits_for is not None), "waits_for disagrees with the phase"),
        ((state.phase is Phase.PARKED) == (state.parked is not None), "parked disagrees with the phase"),
        (state.run is None or state.cursor < state.run.slice.first, "the run begins at or before the cursor"),
        (state.run is None or state.run.slice.last <= state.tail, "the run ends past the tail"),
        (state.phase is not Phase.WAITING or state.has_pending, "waiting with nothing pending"),
        (state.hold is None or state.waits_for in {None, WaitsFor.RELEASE}, "held, and waits for something else"),
        (
            state.waits_for is not WaitsFor.RELEASE or state.hold is not None or bool(state.held_route),
            "waits for a release, and nothing is held",
        ),
        (not state.held_route or state.waits_for is WaitsFor.RELEASE, "waits for a held route without waiting"),
        (not state.held_route or state.hold is None, "waits for a held route, and is held itself"),
        (state.replay is None or bool(state.replay.spans), "a replay with nothing left to run"),
        (state.replay is None or state.has_pending, "a replay with nothing pending"),
        (state.has_pending == (state.pending_since_ms > 0), "pending_since disagrees with the cursor"),
    ]
    return [message for holds, message in checks if not holds]


def _run_of(state: KeyState) -> Run:
    assert state.run is not None, "a running key has a run"  # noqa: S101
    return state.run


def _parked_of(state: KeyState) -> Parked:
    assert state.parked is not None, "a parked key says why"  # noqa: S101
    return state.parked


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


Clock = Callable[[], int]
"""Tells the time in epoch milliseconds. The shell passes the real one; tests pass their own."""
