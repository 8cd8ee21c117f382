"""The one mutable item of a key, as a value.

All times are epoch milliseconds of the clock of whoever made the change; all positions sort as text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

from keyturn.core.positions import Position
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
    """The one execution that this attempt belongs to; None until its first worker begins."""


@dataclass(frozen=True, slots=True)
class Parked:
    """Why a key waits for a person, and since when."""

    at_ms: int
    reason: str
    diverts: bool = False
    """Whatever queues behind the failed run is dead-lettered too (policy fail-behind)."""


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
    turn: int = 0
    """Runs in a row since the key got its slot."""
    run: Run | None = None
    waits_for: WaitsFor | None = None
    waiting_since_ms: int = 0
    not_before_ms: int = 0
    pending_since_ms: int = 0
    """Arrival of the oldest unfinished event; 0 when there is none."""
    parked: Parked | None = None

    @property
    def has_pending(self) -> bool:
        """Whether admitted events wait behind the cursor."""
        return self.cursor < self.tail

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


@dataclass(frozen=True, slots=True)
class Due:
    """Where a key stands in the index: its queue, and the time it sorts by there."""

    queue: Queue
    at_ms: int


def due(state: KeyState, rounding_ms: int) -> Due | None:
    """Derive the index entry of a key; None for an idle one, which isn't in the index.

    A running key's deadline is rounded up to `rounding_ms`, so that a busy key's next run usually leaves the entry
    unchanged: DynamoDB writes an index entry only when it changes.
    """
    match state.phase:
        case Phase.IDLE:
            return None
        case Phase.RUNNING:
            return Due(Queue.RUNNING, _round_up(_run_of(state).deadline_ms, rounding_ms))
        case Phase.WAITING:
            if state.waits_for is WaitsFor.TIME:
                return Due(Queue.RETRY, state.not_before_ms)
            return Due(Queue.WAITING, state.waiting_since_ms)
        case Phase.PARKED:
            parked = _parked_of(state)
            if parked.diverts and state.has_pending:
                return Due(Queue.RETRY, parked.at_ms)
            return Due(Queue.PARKED, parked.at_ms)


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
        (state.phase is not Phase.RUNNING or state.run is not None, "running without a run"),
        ((state.phase is Phase.WAITING) == (state.waits_for is not None), "waits_for disagrees with the phase"),
        ((state.phase is Phase.PARKED) == (state.parked is not None), "parked disagrees with the phase"),
        (state.run is None or state.cursor < state.run.slice.first, "the run begins at or before the cursor"),
        (state.run is None or state.run.slice.last <= state.tail, "the run ends past the tail"),
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
