"""The dispatcher's work: a batch of stream records becomes log entries, quarantine, and claimed runs.

The order of the writes is what makes a crash between any two of them harmless:
log entries with their identities -> archive -> key states (admit, claim) -> executions. A redelivery finds each
half-way state and goes on from there; what it finds done it leaves alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Final

from keyturn.adapters import telemetry
from keyturn.adapters.duplicates import Identified
from keyturn.adapters.records import count_records, read_records
from keyturn.core import commands as ask
from keyturn.core.event import Admissible, Reason, Rejection
from keyturn.core.positions import Position, sequence_number_of
from keyturn.core.sorting import Duplicate, Sorted, sort_events, split_old
from keyturn.core.state import KeyState, Phase
from keyturn.errors import StoreError, Throttled
from keyturn.shell.apply import apply
from keyturn.shell.change import Change
from keyturn.shell.log_entries import as_archived, as_entry
from keyturn.shell.platform import Platform
from keyturn.shell.side_by_side import leave
from keyturn.shell.time_budget import HasTime
from keyturn.shell.waking import wake_at

_HANDS: Final = 8
_LOOK_FOR_SLOTS_MS: Final = 2_000

_STARTS_AT_ONCE: Final = 400
"""Runs that a batch starts at most; its other keys wait for the watchdog. Half of the smallest burst that AWS takes
of Standard starts, 800 in most regions (Step Functions Developer Guide, "Service quotas")."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What a batch holds of one key, with the state it was sorted by."""

    state: KeyState
    sorted: Sorted
    redelivered: Sequence[Admissible]
    late: Sequence[Admissible]

    @property
    def is_claiming(self) -> bool:
        """Whether admitting it will want a slot."""
        return self.state.phase is Phase.IDLE and self.sorted.tail is not None and self.sorted.tail > self.state.tail

    @property
    def sequence_numbers(self) -> list[str]:
        events = [*self.sorted.new, *self.sorted.old, *(duplicate.event for duplicate in self.sorted.duplicates)]
        return [sequence_number_of(event.position) for event in events]


def dispatch(platform: Platform, batch: Mapping[str, Any], has_time: HasTime) -> dict[str, Any]:
    """Take a batch of a Kinesis event source mapping in; answer with the lowest record that is not dealt with.

    `has_time` says whether the invocation may begin something more; what isn't begun is for a redelivery.
    """
    settings = platform.settings
    records = read_records(
        batch,
        platform.routes,
        epoch=settings.stream_epoch,
        accepts_aggregated=settings.accepts_aggregated_records,
    )
    count_records(batch)
    try:
        undone = _take_in(platform, records, has_time)
    except StoreError as error:
        telemetry.logger().warning("whole batch left for a redelivery", extra={"reason": str(error)})
        undone = min((sequence_number_of(record.position) for record in records), key=int, default=None)
    return {"batchItemFailures": [{"itemIdentifier": undone}] if undone else []}


def _take_in(platform: Platform, records: Sequence[Admissible | Rejection], has_time: HasTime) -> str | None:
    """Take records in; return the lowest sequence number left undone. Raises StoreError when log or archive fail."""
    rejections = [record for record in records if isinstance(record, Rejection)]
    events = [record for record in records if isinstance(record, Admissible)]
    works, left = _sort(platform, events)
    _write_log(platform, works)
    late = [_as_late(event) for work in works for event in work.late]
    jobs = [_quarantine_job(platform, rejection) for rejection in (*rejections, *late)]
    jobs += _duplicate_jobs(platform, works)
    jobs += _admit_jobs(platform, works)
    undone = platform.process.side_by_side(_HANDS, lambda job: _undone(job, has_time), jobs)
    return min((number for numbers in (left, *undone) for number in numbers), key=int, default=None)


def _sort(platform: Platform, events: Sequence[Admissible]) -> tuple[list[_Work], list[str]]:
    """Sort events by key and kind; tell besides the sequence numbers that are left undone.

    Those are of keys whose state can't be read: they hold up what comes behind them in their shard, and no other key of
    the batch.
    """
    by_key: dict[str, list[Admissible]] = {}
    for event in events:
        by_key.setdefault(event.key, []).append(event)
    readable, unreadable = platform.keys.load_readable(by_key)
    for error in unreadable:
        telemetry.logger().warning("left for a redelivery", extra={"reason": str(error)})
    states = {state.key: state for state in readable}
    first_positions = _first_positions(platform, states, [event for event in events if event.key in states])
    in_order = {key: sort_events(state, by_key[key], first_positions) for key, state in states.items()}
    in_log = platform.log.present((event.key, event.position) for found in in_order.values() for event in found.old)
    works = [_Work(states[key], found, *split_old(found.old, in_log)) for key, found in in_order.items()]
    return works, [sequence_number_of(event.position) for event in events if event.key not in states]


def _first_positions(
    platform: Platform, states: Mapping[str, KeyState], events: Sequence[Admissible]
) -> dict[tuple[str, str], Position]:
    """Tell where known identities came first: those that stand for an event that is in the log, or will be by this.

    Log entry and identity are written in one call, but not as one: whoever wrote it may have died with half of it done.
    """
    known = platform.duplicates.first_positions(map(_identified, events))
    to_write = {(event.key, event.position) for event in events if event.position > states[event.key].tail}
    elsewhere = {(key, first) for (key, _), first in known.items()} - to_write
    in_log = platform.log.present(elsewhere) if elsewhere else set()
    return {(key, name): first for (key, name), first in known.items() if (key, first) in in_log | to_write}


def _write_log(platform: Platform, works: Sequence[_Work]) -> None:
    new = [event for work in works for event in work.sorted.new]
    now_ms = platform.clock()
    entries = ((event.key, as_entry(platform, as_archived(event))) for event in new)
    platform.log.write(entries, now_ms, platform.duplicates.items(map(_identified, new), now_ms))
    _archive(platform, new)


def _archive(platform: Platform, events: Sequence[Admissible]) -> None:
    """Archive what is about to be admitted: when that fails, the whole batch comes again."""
    for shard in sorted({event.shard for event in events}):
        platform.archive.write(shard, (as_archived(event) for event in events if event.shard == shard))


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to do for some records, apart from all other jobs."""

    do: Callable[[], None]
    sequence_numbers: Sequence[str]


def _undone(job: _Job, has_time: HasTime) -> Sequence[str]:
    """Do a job; return the sequence numbers of what it leaves for a redelivery."""
    if not has_time():
        return job.sequence_numbers
    try:
        job.do()
    except StoreError as error:
        telemetry.logger().warning("left for a redelivery", extra={"reason": str(error)})
        return job.sequence_numbers
    return ()


def _duplicate_jobs(platform: Platform, works: Sequence[_Work]) -> list[_Job]:
    """Note what came again: each by itself, since a producer may send a whole batch again."""
    return [
        _Job(partial(_note_duplicate, platform, duplicate), [sequence_number_of(duplicate.event.position)])
        for work in works
        for duplicate in work.sorted.duplicates
    ]


def _note_duplicate(platform: Platform, duplicate: Duplicate) -> None:
    if platform.duplicates.record(_identified(duplicate.event), duplicate.first, platform.clock()):
        telemetry.count("Duplicates")
        telemetry.logger().info(
            "duplicate", extra=_event_fields(platform, duplicate.event) | {"first": duplicate.first}
        )


def _admit_jobs(platform: Platform, works: Sequence[_Work]) -> list[_Job]:
    """Deal the free slots out in stream order; keys that get none will wait."""
    claiming = [work.state.key for work in works if work.is_claiming]
    slots = _take_slots(platform, len(claiming))
    lucky = frozenset(claiming[:slots])
    return [
        _Job(partial(_admit, platform, work, _slot_of(platform, work, lucky)), work.sequence_numbers)
        for work in works
        if work.sorted.tail is not None or work.redelivered
    ]


def _slot_of(platform: Platform, work: _Work, lucky: frozenset[str]) -> Callable[[], bool]:
    """Return what tells whether a key has a slot. One that wasn't idle was dealt none: it asks should it be by now."""
    if work.is_claiming:
        return lambda: work.state.key in lucky
    return cache(lambda: _take_slots(platform, 1) == 1)


def _take_slots(platform: Platform, wanted: int) -> int:
    """Take slots for keys, and have the watchdog look for those that there aren't.

    There are none where that can't be told: one busy item may not keep records from being taken in.
    """
    try:
        slots = platform.capacity.take(wanted, platform.clock(), _STARTS_AT_ONCE)
    except Throttled as error:
        leave(error)
        slots = 0
    if slots < wanted:
        wake_at(platform, "", platform.clock() + _LOOK_FOR_SLOTS_MS)
    return slots


def _admit(platform: Platform, work: _Work, has_slot: Callable[[], bool]) -> None:
    change = Change(platform, work.state.key)
    apply(change, partial(_admit_command, change, work, has_slot), work.state)
    if work.sorted.new:
        telemetry.count("Admitted", len(work.sorted.new))


def _admit_command(change: Change, work: _Work, has_slot: Callable[[], bool], state: KeyState) -> ask.Command:
    tail = max(work.sorted.tail or state.tail, state.tail)
    new = [event for event in work.sorted.new if event.position > state.tail]
    # Without a slot the key will wait for one whatever it would run, unless that is held: who claims it then reads it.
    is_beginning = state.phase is Phase.IDLE and tail > state.tail
    is_read = is_beginning and (has_slot() or change.platform.controls.holds_anything())
    following = change.next_of(replace(state, tail=tail), has_slot) if is_read else None
    first = new[0].arrived_at_ms if new else change.platform.clock()
    return ask.Admit(
        tail=tail,
        count=len(new),
        arrived_at_ms=following.slice.arrived_at_ms if following else first,
        next=following,
        is_redelivery=bool(work.redelivered),
    )


def _quarantine_job(platform: Platform, rejection: Rejection) -> _Job:
    return _Job(partial(_quarantine, platform, rejection), [sequence_number_of(rejection.position)])


def _quarantine(platform: Platform, rejection: Rejection) -> None:
    if platform.quarantine.put(rejection, platform.clock()):
        telemetry.count("Quarantined")
        telemetry.logger().warning(
            "quarantined",
            extra={"shard": rejection.shard, "position": rejection.position, "reason": rejection.reason.value},
        )


def _as_late(event: Admissible) -> Rejection:
    return Rejection(
        shard=event.shard,
        position=event.position,
        key=event.key,
        reason=Reason.LATE,
        detail="came after later events of its key: the event source had set it aside, or it ran and has left the log",
        raw=event.raw,
        arrived_at_ms=event.arrived_at_ms,
    )


def _identified(event: Admissible) -> Identified:
    return Identified(event.key, event.identity, event.position)


def _event_fields(platform: Platform, event: Admissible) -> dict[str, object]:
    route = platform.routes.named_or_missing(event.route)
    return {
        "flow_id": event.flow_id,
        "key": telemetry.loggable(event.key, is_personal=route.personal_key),
        "position": event.position,
    }
