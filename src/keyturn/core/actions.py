"""What a transition asks the world to do.

Actions come back as data, so that the shell carries them out after the new state is written, never in the middle of
the decision. Each may be carried out twice, or be lost in a crash: the next redelivery, repeated finish or watchdog
pass asks for it again.
"""

from dataclasses import dataclass
from enum import StrEnum

from keyturn.core.draining import DrainingExecution
from keyturn.core.positions import Position
from keyturn.core.state import Run, Slice


@dataclass(frozen=True, slots=True)
class StartRun:
    """Start the execution of the claimed attempt, which is bound to none; a taken name counts as started."""

    run: Run


@dataclass(frozen=True, slots=True)
class GoOnWith:
    """Hand the claimed attempt to the execution that has ended a run: it is bound to that, so nobody else may do it."""

    run: Run
    execution: DrainingExecution


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send the key to the watchdog when it may go on; the index is the truth, this the alarm clock."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class HandOn:
    """The key gave its slot up: another waiting key may have it."""


@dataclass(frozen=True, slots=True)
class SeekSlot:
    """The key waits for a slot now, without having given one up: have the watchdog look for a free one."""


@dataclass(frozen=True, slots=True)
class DivertPending:
    """Dead-letter what queues behind a run that failed for good."""


class Count(StrEnum):
    """What is counted, by the metric's name."""

    STARTED = "Started"
    FINISHED = "Finished"
    FAILED = "Failed"
    RESTARTED = "Restarted"
    WAITING = "Waiting"
    HELD = "Held"
    PARKED = "Parked"
    MISSING = "EventsMissing"
    DEAD_LETTERED = "DeadLettered"


@dataclass(frozen=True, slots=True)
class Emit:
    """Count something once the state is written."""

    count: Count
    value: int = 1


@dataclass(frozen=True, slots=True)
class CountAttempt:
    """An attempt on a release ended: count it, if that release is a canary."""

    release: int
    has_succeeded: bool


Action = StartRun | GoOnWith | WakeAt | HandOn | SeekSlot | DivertPending | Emit | CountAttempt


@dataclass(frozen=True, slots=True)
class RecordAttempt:
    """Store how an attempt ended. A clean first success needs no record: its times stand in its events and steps."""

    run: Run
    fence: int
    outcome: str
    reason: str
    ended_at_ms: int
    release: int = 0
    ran_in: str = ""
    """The execution that it ran in, where that went on from an earlier run; empty where it had its own."""


@dataclass(frozen=True, slots=True)
class RecordDeadLetter:
    """Store that a slice's events were given up."""

    slice: Slice
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class RecordOperation:
    """Store what a person asked of the key."""

    command: str
    by: str
    reason: str
    at_ms: int
    fence: int
    position: Position
    """What it was about: the first event of the run or replay, else where the cursor stood."""
    replay: str = ""


Record = RecordAttempt | RecordDeadLetter | RecordOperation
"""Written in one transaction with the state that makes them true."""
