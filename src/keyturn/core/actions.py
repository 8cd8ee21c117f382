"""What a transition asks the world to do.

Actions come back as data, so that the shell carries them out after the new state is written, never in the middle of
the decision. Each may be carried out twice, or be lost in a crash: the next redelivery, repeated finish or watchdog
pass asks for it again.
"""

from dataclasses import dataclass
from enum import StrEnum

from keyturn.core.state import Run


@dataclass(frozen=True, slots=True)
class StartRun:
    """Start the execution of the claimed attempt; a taken name counts as started."""

    run: Run


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send the key to the watchdog when it may go on; the index is the truth, this the alarm clock."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class HandOn:
    """The key gave its slot up: another waiting key may have it."""


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
    PARKED = "Parked"
    DEAD_LETTERED = "DeadLettered"


@dataclass(frozen=True, slots=True)
class Emit:
    """Count something once the state is written."""

    count: Count
    value: int = 1


Action = StartRun | WakeAt | HandOn | DivertPending | Emit


@dataclass(frozen=True, slots=True)
class RecordAttempt:
    """Store how an attempt ended. A clean first success needs no record: its times stand in its events and steps."""

    run: Run
    fence: int
    outcome: str
    reason: str
    ended_at_ms: int


@dataclass(frozen=True, slots=True)
class RecordDeadLetter:
    """Store that a run's events were given up."""

    run: Run
    reason: str
    at_ms: int


Record = RecordAttempt | RecordDeadLetter
"""Written before the state that makes them true; written twice they are the same item, so a crash is harmless."""
