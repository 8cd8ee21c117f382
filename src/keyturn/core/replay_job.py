"""A replay as a whole: what was asked, by whom, and how far it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from keyturn.core.commands import Operator
from keyturn.core.replay_plan import OPEN, Fate, Outcome, Selection, Tally


class JobState(StrEnum):
    """How far a replay is."""

    PLANNING = "planning"
    PLANNED = "planned"
    APPLYING = "applying"
    DONE = "done"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


ACTIVE: Final = frozenset({JobState.PLANNING, JobState.APPLYING, JobState.CANCELLING})
"""Something is to be done in the cloud."""


_PAUSE_S_MAX: Final = 15


class Source(StrEnum):
    """Where the keys of the selected events are found."""

    KEYS = "keys"
    """They were named."""
    DEAD_LETTERS = "dead-letters"
    STREAM = "stream"
    SCAN = "scan"
    """The whole table is read."""
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class Act:
    """Who did something, when and why."""

    by: str
    reason: str
    at_ms: int

    @property
    def operator(self) -> Operator:
        """As commands carry it."""
        return Operator(self.by, self.reason)


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """One replay."""

    id: str
    state: JobState
    source: Source
    selection: Selection
    asked: Act
    is_new_generation: bool = False
    rate: int = 10
    """Keys a second that are rewound."""
    applied: Act | None = None
    cancelled: Act | None = None
    is_searching: bool = False
    """Planning, and its source is not read to the end."""
    cursor: str = ""
    """Where the work goes on: in the source, or behind which key of the plan."""
    searched: int = 0
    """Items or records of the source that were looked at."""
    found: int = 0
    """Keys that may have selected events."""
    tally: Tally = field(default_factory=Tally)
    counts: Mapping[Fate, int] = field(default_factory=dict)
    """Keys by what became of them, as the last whole pass over the plan saw it."""
    passing: Mapping[Fate, int] = field(default_factory=dict)
    """The same of the pass that is under way, so far."""
    quiet_passes: int = 0
    """Passes in a row in which nothing happened."""
    executions: int = 0
    """Executions of the replay workflow that were started for it."""
    busy_until_ms: int = 0
    """Somebody is at work on it until then at the latest; 0 when nobody is."""
    revision: int = 0
    """Counts its writes; compare-and-set compares it."""
    updated_at_ms: int = 0

    @property
    def execution_name(self) -> str:
        """Name of the execution that was started last."""
        return f"{self.id}-{self.executions}"

    def begun(self, state: JobState) -> "ReplayJob":
        """Enter a state whose work begins at the first key. Whoever is at work on the job stays so until it notices."""
        return replace(self, state=state, cursor="", passing={}, counts={}, quiet_passes=0)


def pass_ended(job: ReplayJob) -> ReplayJob:
    """End a pass over all keys of the plan: another one follows unless nothing is left to wait for."""
    quiet_passes = job.quiet_passes + 1 if job.passing == job.counts else 0
    ended = replace(job, counts=job.passing, passing={}, cursor="", quiet_passes=quiet_passes)
    if any(job.passing.get(fate) for fate in OPEN):
        return ended
    return replace(ended, state=JobState.CANCELLED if job.state is JobState.CANCELLING else JobState.DONE)


def pause_s(job: ReplayJob) -> int:
    """How long to wait before the next pass, in seconds: longer the longer nothing happens."""
    return int(min(_PAUSE_S_MAX, 2 ** min(job.quiet_passes, 10)))


def choose_source(
    selection: Selection, now_ms: int, *, stream_since_ms: int, log_retention_ms: int, has_archive: bool
) -> Source | None:
    """Choose where to find the selected events: by an index where there is one. The stream has its records since then.

    None when some of them have left the log, and nothing else has them.
    """
    is_given_up = selection.outcome in {Outcome.SKIPPED, Outcome.DEAD_LETTERED}
    # What was given up and is open is renewed, with its event: it doesn't leave the log.
    if not is_given_up and 0 < selection.from_ms < now_ms - log_retention_ms:
        past_the_stream = Source.ARCHIVE if has_archive else None
        return Source.STREAM if selection.from_ms > stream_since_ms else past_the_stream
    if selection.named_keys:
        return Source.KEYS
    if is_given_up:
        return Source.DEAD_LETTERS
    if selection.from_ms > stream_since_ms:
        return Source.STREAM
    return Source.SCAN
