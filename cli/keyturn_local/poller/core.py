"""One shard's records on their way to the function, as values: no clock, no call, no thread.

A shard has as many lanes as its mapping's ParallelizationFactor. A record goes to the lane that its partition key
hashes to, so records of one key never overtake each other, while lanes run side by side. A lane holds, in order:

    busy       the batch that is at the function, or on its way to the failure destination; at most one
    cut        batches that were cut already: what is left of failed ones, halves of bisected ones
    waiting    records that belong to no batch yet

Whatever is in one of the three is *unfinished*. Records leave from the front only, and only when the function took
them or the failure destination did. The shard's resume point never lies beyond its first unfinished record.

    records -> accept -> next_work -> Invoke | GiveUp | Rest -> (the shell does it) -> settle -> next_work ...

Attempts are counted as AWS does: a batch that fails whole has used one up; a bisected one none, and neither a throttled
one; after a partial failure the rest is a new batch and starts at none (recorded from AWS: with three retries, a record
whose batch failed from it on is invoked four times more).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from keyturn_local.poller.answer import AllDone, AllFailed, Answer, FailedFrom
from keyturn_local.poller.mapping import FOREVER, Mapping
from keyturn_local.poller.wire import PAYLOAD_BYTES_MAX, payload_bytes

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 10.0
"""Waits between tries: 0.2, 0.4, 0.8 ... s. AWS doesn't document its own, which grow to about a minute."""


@dataclass(frozen=True, slots=True)
class Record:
    """A Kinesis record. `sequence` is its number, to compare by; `wire` its JSON in a Lambda event."""

    sequence: int
    sequence_number: str
    partition_key: str
    arrived_at_s: float
    gathered_at_s: float
    wire: bytes


class Doom(StrEnum):
    """Why a batch is given up: the `condition` of its failure record. (AWS documents none for the size.)"""

    RETRIES = "RetryAttemptsExhausted"
    AGE = "RecordAgeExceeded"
    SIZE = "PayloadSizeExceeded"


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one lane."""

    records: tuple[Record, ...]
    invocations: int = 0
    """Tries that count against MaximumRetryAttempts."""
    setbacks: int = 0
    """Tries in a row without success of any kind; the backoff grows with them."""
    not_before_s: float = 0.0
    doom: Doom | None = None
    function_error: str | None = None
    """Lambda's FunctionError of the last try."""

    @property
    def sequences(self) -> frozenset[int]:
        """Sequence numbers of its records."""
        return frozenset(record.sequence for record in self.records)


@dataclass(frozen=True, slots=True)
class Throttled:
    """The function never ran, or nobody knows; costs no attempt."""

    reason: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Lambda refused the payload as too large."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The failure destination has the batch, or there is none."""


@dataclass(frozen=True, slots=True)
class NotGivenUp:
    """The failure destination didn't take it; to be tried again, for nothing may vanish."""

    reason: str


Outcome = Answer | Throttled | TooLarge | GivenUp | NotGivenUp


@dataclass(frozen=True, slots=True)
class Invoke:
    """Hand this batch to the function."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Send this batch to the failure destination."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do before `until_s`; None: before something arrives or ends."""

    until_s: float | None


Work = Invoke | GiveUp | Rest


@dataclass(frozen=True, slots=True)
class Lane:
    """The unfinished records of some partition keys, in order."""

    busy: Batch | None = None
    cut: tuple[Batch, ...] = ()
    waiting: tuple[Record, ...] = ()

    @property
    def unfinished(self) -> tuple[Record, ...]:
        """All of its records, in order."""
        batches = (*((self.busy,) if self.busy else ()), *self.cut)
        return (*(record for batch in batches for record in batch.records), *self.waiting)

    @property
    def first(self) -> Record | None:
        """The first unfinished record."""
        if self.busy is not None:
            return self.busy.records[0]
        if self.cut:
            return self.cut[0].records[0]
        return self.waiting[0] if self.waiting else None


@dataclass(frozen=True, slots=True)
class Shard:
    """What is known of one shard."""

    lanes: tuple[Lane, ...]
    last: Record | None = None
    """The last record that was fetched."""
    drained: bool = False
    """Nothing more will come: the shard is closed and was read to its end."""

    @property
    def idle(self) -> bool:
        """Whether nothing is unfinished."""
        return all(lane.first is None for lane in self.lanes)

    @property
    def finished(self) -> bool:
        """Whether its children may begin."""
        return self.drained and self.idle


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where to read on after a restart: after this sequence number, or at it."""

    sequence_number: str
    inclusive: bool


def new_shard(mapping: Mapping) -> Shard:
    """A shard of which nothing was read yet."""
    return Shard(lanes=(Lane(),) * mapping.parallelization_factor)


def accept(shard: Shard, records: Iterable[Record]) -> Shard:
    """Take over fetched records. What was fetched before is passed over, so that a repeated read does no harm."""
    last = shard.last
    arrived: list[list[Record]] = [[] for _ in shard.lanes]
    for record in records:
        if last is None or record.sequence > last.sequence:
            arrived[lane_of(record.partition_key, len(shard.lanes))].append(record)
            last = record
    lanes = tuple(
        replace(lane, waiting=(*lane.waiting, *new)) if new else lane
        for lane, new in zip(shard.lanes, arrived, strict=True)
    )
    return replace(shard, lanes=lanes, last=last)


def lane_of(partition_key: str, lanes: int) -> int:
    """The lane of a key; the same in every process, for a restart must not reorder."""
    return zlib.crc32(partition_key.encode()) % lanes


def next_work(lane: Lane, mapping: Mapping, now_s: float) -> tuple[Lane, Work]:
    """What to do for this lane now. An Invoke or a GiveUp is busy from here on, until it is settled."""
    if lane.busy is not None:
        return lane, Rest(None)
    if not lane.cut:
        lane = _cut(lane, mapping, now_s)
    if not lane.cut:
        return lane, Rest(lane.waiting[0].gathered_at_s + mapping.batching_window_s if lane.waiting else None)
    lane = _part_from_the_old(lane, mapping, now_s)
    head = lane.cut[0]
    if is_ahead(head.not_before_s, now_s, BACKOFF_MAX_S):
        return lane, Rest(head.not_before_s)
    return replace(lane, busy=head, cut=lane.cut[1:]), (Invoke(head) if head.doom is None else GiveUp(head))


def is_ahead(at_s: float, now_s: float, longest_s: float) -> bool:
    """Whether a time is to be waited for. One further ahead than the longest wait is of a clock that was set back."""
    return now_s < at_s <= now_s + longest_s


def settle(lane: Lane, outcome: Outcome, mapping: Mapping, now_s: float) -> Lane:
    """The busy batch came back with `outcome`."""
    assert lane.busy is not None, "only a busy lane can be settled"  # noqa: S101  a bug of ours, not a user's
    return replace(lane, busy=None, cut=(*_left_of(lane.busy, outcome, mapping, now_s), *lane.cut))


def resume_point(shard: Shard) -> ResumePoint | None:
    """Where a restart reads on: at the first unfinished record, or after the last one. None: nothing was read."""
    unfinished = [lane.first for lane in shard.lanes if lane.first is not None]
    if unfinished:
        return ResumePoint(min(unfinished, key=lambda record: record.sequence).sequence_number, inclusive=True)
    return ResumePoint(shard.last.sequence_number, inclusive=False) if shard.last is not None else None


def buffered(shard: Shard) -> tuple[int, int]:
    """Unfinished records that aren't at the function yet, and their bytes: what limits fetching."""
    held = [
        record for lane in shard.lanes for record in (*(r for batch in lane.cut for r in batch.records), *lane.waiting)
    ]
    return len(held), sum(len(record.wire) for record in held)


def _cut(lane: Lane, mapping: Mapping, now_s: float) -> Lane:
    """Cut a batch off the waiting records, if there is a full one or the window is over."""
    if not lane.waiting:
        return lane
    count = _fitting(lane.waiting, mapping.batch_size)
    if count == 0:
        return Lane(cut=(Batch(lane.waiting[:1], doom=Doom.SIZE),), waiting=lane.waiting[1:])
    full = count == mapping.batch_size or count < len(lane.waiting)
    window_ends_s = lane.waiting[0].gathered_at_s + mapping.batching_window_s
    if not full and is_ahead(window_ends_s, now_s, mapping.batching_window_s):
        return lane
    return Lane(cut=(Batch(lane.waiting[:count]),), waiting=lane.waiting[count:])


def _fitting(records: Sequence[Record], batch_size: int) -> int:
    """How many of the first records make a batch of legal size and payload."""
    total = 0
    for count, record in enumerate(records[:batch_size]):
        total += len(record.wire)
        if payload_bytes(count + 1, total) > PAYLOAD_BYTES_MAX:
            return count
    return min(len(records), batch_size)


def _part_from_the_old(lane: Lane, mapping: Mapping, now_s: float) -> Lane:
    """Doom the records at the front of the next batch that grew too old; only those, the rest goes on."""
    head = lane.cut[0]
    if mapping.record_age_max_s == FOREVER or head.doom is not None:
        return lane
    young = [at for at, record in enumerate(head.records) if now_s - record.arrived_at_s <= mapping.record_age_max_s]
    old = young[0] if young else len(head.records)
    if old == 0:
        return lane
    parts = [replace(head, records=head.records[:old], doom=Doom.AGE, not_before_s=0.0)]
    if young:
        parts.append(replace(head, records=head.records[old:]))
    return replace(lane, cut=(*parts, *lane.cut[1:]))


def _left_of(batch: Batch, outcome: Outcome, mapping: Mapping, now_s: float) -> tuple[Batch, ...]:
    """What of a batch is still unfinished after this outcome, as batches in order."""
    match outcome:
        case AllDone() | GivenUp():
            left: tuple[Batch, ...] = ()
        case FailedFrom(sequence):
            left = (_from_failed(batch, sequence, mapping, now_s),)
        case AllFailed(_, function_error) if mapping.bisect_on_error and len(batch.records) > 1:
            # each half is a batch of its own, and waits no longer for having been halved often
            left = _halves(replace(_later(replace(batch, setbacks=0), now_s), function_error=function_error))
        case AllFailed(_, function_error):
            left = (_tried(batch, function_error, mapping, now_s),)
        case TooLarge():
            left = _halves(batch) if len(batch.records) > 1 else (replace(batch, doom=Doom.SIZE),)
        case Throttled() | NotGivenUp():
            left = (_later(batch, now_s),)
    return left


def _from_failed(batch: Batch, sequence: int, mapping: Mapping, now_s: float) -> Batch:
    """The part that comes again. It is a new batch if anything before it succeeded, else the same one once more."""
    rest = tuple(record for record in batch.records if record.sequence >= sequence)
    if len(rest) == len(batch.records):
        return _tried(batch, None, mapping, now_s)
    return Batch(rest, setbacks=1, not_before_s=now_s + BACKOFF_FIRST_S)


def _halves(batch: Batch) -> tuple[Batch, ...]:
    middle = len(batch.records) // 2
    return (replace(batch, records=batch.records[:middle]), replace(batch, records=batch.records[middle:]))


def _tried(batch: Batch, function_error: str | None, mapping: Mapping, now_s: float) -> Batch:
    """The batch after a try that counts."""
    tried = replace(_later(batch, now_s), invocations=batch.invocations + 1, function_error=function_error)
    exhausted = mapping.retries_max != FOREVER and tried.invocations > mapping.retries_max
    return replace(tried, doom=Doom.RETRIES, not_before_s=0.0) if exhausted else tried


def _later(batch: Batch, now_s: float) -> Batch:
    wait_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(batch.setbacks, 10))
    return replace(batch, setbacks=batch.setbacks + 1, not_before_s=now_s + wait_s)
