"""The story of one event, as values. All times are epoch milliseconds by the clock of whoever wrote them down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from keyturn.core.commands import Outcome
from keyturn_cli.looking.parts import EVIDENCE

SUCCEEDED: Final = Outcome.SUCCEEDED.value


class What(StrEnum):
    """What happened at a moment; of two at the same time, the one that stands first here came first."""

    PRODUCED = "produced"
    PUT = "put"
    DUPLICATE = "duplicate"
    ADMITTED = "admitted"
    QUARANTINED = "quarantined"
    EARLIER_DONE = "earlier event done"
    OPERATION = "operation"
    ATTEMPT_BEGAN = "attempt began"
    STEP_BEGAN = "step began"
    STEP_ENDED = "step ended"
    STEP_FAILED = "step failed"
    ATTEMPT_ENDED = "attempt ended"
    PARKED = "parked"
    HELD = "held"
    RELEASED = "released"
    DEAD_LETTERED = "dead-lettered"
    DONE = "done"
    NOW = "now"
    """When the story was told of an event that isn't finished: nothing happened."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to the event."""

    at_ms: int
    what: What
    text: str
    source: str
    """Where it is written down."""
    fence: int = 0
    """Of the attempt that it belongs to; 0 if it belongs to none."""
    name: str = ""
    """Of the step, of the operator's command, or of the attempt's outcome."""

    @property
    def order(self) -> tuple[int, int]:
        """What moments are sorted by."""
        return self.at_ms, _PLACES[self.what]


_PLACES = {what: place for place, what in enumerate(What)}


class Wait(StrEnum):
    """What an event's time went into, between two moments."""

    STREAM = "on the way to the stream"
    QUEUE = "queue"
    EARLIER = "waiting for earlier events of the key"
    UNADMITTED = "in the log, not admitted"
    SLOT = "waiting for a slot"
    UNSTARTED = "waiting, start and cold start"
    """When the attempt began isn't written down."""
    START = "start and cold start"
    IN_WORK = "attempt under way"
    STEP = "step"
    BETWEEN = "between steps"
    TRY = "try of step"
    """It failed: when it began isn't written down."""
    STEP_RETRY = "retry of step"
    NO_RESULT = "a step that left no result"
    STORED = "steps that were done before"
    ENDING = "end of the run"
    RETRY = "retry (backoff)"
    PARKED = "parked"
    HELD = "held"
    AFTER = "nothing under way"


@dataclass(frozen=True, slots=True)
class Gap:
    """The time between moments, by what it went into."""

    begins_ms: int
    ends_ms: int
    wait: Wait
    detail: str = ""
    """Which steps, for example."""
    is_open: bool = False
    """Whether it isn't over: it ends with the telling."""

    @property
    def length_ms(self) -> int:
        """How long it is."""
        return self.ends_ms - self.begins_ms

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"{self.wait.value} {self.detail}".rstrip() + (", until now" if self.is_open else "")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at the run that the event was part of. What isn't written down is None, or empty."""

    fence: int
    number: int
    began_ms: int | None = None
    ended_ms: int | None = None
    outcome: str = ""
    reason: str = ""
    evidence: str = ""
    """How it was found dead, if it never reported."""
    generation: int = 0
    first: str = ""
    """Position of the run's first event: its log lines carry that one's flow id."""
    began_by: str = ""
    """Where its beginning is written down; `ended_by` the same for its end."""
    ended_by: str = ""

    @property
    def why(self) -> str:
        """Why it failed, in words; empty if it didn't, or if nobody knows."""
        return EVIDENCE.get(self.evidence, self.reason)


@dataclass(frozen=True, slots=True)
class Step:
    """A stored step result of the event, without the result."""

    name: str
    generation: int
    fence: int
    attempt: int
    began_ms: int
    ended_ms: int


@dataclass(frozen=True, slots=True)
class Line:
    """One log line of one function."""

    at_ms: int
    service: str
    level: str
    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What it carries besides, without what every line of the function has."""

    def get(self, name: str) -> str:
        """A field as text; empty if the line hasn't got it."""
        return str(self.fields.get(name, ""))

    @property
    def fence(self) -> int:
        """The fence that it is about; 0 if none."""
        value = self.fields.get("fence")
        return value if isinstance(value, int) else 0


@dataclass(frozen=True, slots=True)
class Subject:
    """The event that a story is about; nothing of its data."""

    key: str
    position: str
    flow_id: str = ""
    id: str = ""
    source: str = ""
    type: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of what happened to an event."""

    subject: Subject
    standing: str
    """Where it stands now, in a sentence."""
    moments: tuple[Moment, ...]
    gaps: tuple[Gap, ...]
    attempts: tuple[Attempt, ...] = ()
    steps: tuple[Step, ...] = ()
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader should know of what isn't there."""

    @property
    def longest(self) -> Gap | None:
        """The longest gap of those that Keyturn can answer for: from the stream to the event's end."""
        ours = [gap for gap in self.gaps if gap.wait not in {Wait.STREAM, Wait.AFTER}]
        return max(ours, key=lambda gap: gap.length_ms, default=None)
