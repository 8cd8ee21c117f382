"""Planning a replay: find the keys that may have selected events, then work out what is to be done with each.

Each function does one piece and returns the job as it is afterwards. A piece that is done twice, since its job wasn't
written, writes the same.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Final, TypeVar

from keyturn.adapters.archive import Archived
from keyturn.adapters.index import Entry
from keyturn.adapters.log import place_of
from keyturn.adapters.open_items import Kind
from keyturn.adapters.records import places_in
from keyturn.adapters.stream_reader import Mark
from keyturn.core.positions import Position
from keyturn.core.replay_job import JobState, ReplayJob, Source
from keyturn.core.replay_plan import END, Fate, Heading, Outcome, PlannedKey, Tally, plan_key
from keyturn.core.state import KeyState
from keyturn.errors import Throttled, Unreadable
from keyturn.shell.platform import Platform
from keyturn.shell.replay_versions import RouteVersions
from keyturn.shell.restore import from_stream, restore
from keyturn.shell.side_by_side import for_a_while

_KEYS_A_PIECE: Final = 100
_LETTERS_A_PIECE: Final = 1_000
_CALLS_A_PIECE: Final = 10
_RECORDS_A_PIECE: Final = 10_000
_READING_MS: Final = 5_000
"""Behind that no piece begins to read more: one that the replayer's timeout cuts off begins anew. A shard gives 2 MB a
second, so each call waits for what the one before it took (GetRecords API reference), and keys may have long logs."""
_HANDS: Final = 8
_SKIPPED: Final = "skipped by "

_T = TypeVar("_T")

Places = Iterable[tuple[str, Position]]


def plan_on(platform: Platform, versions: RouteVersions, job: ReplayJob) -> ReplayJob:
    """Do the next piece of a job's planning."""
    if job.is_searching:
        return _SEARCHES[job.source](platform, job)
    return _plan_keys(platform, versions, job)


def _plan_keys(platform: Platform, versions: RouteVersions, job: ReplayJob) -> ReplayJob:
    found = platform.replays.keys(job.id, job.cursor, _KEYS_A_PIECE)
    readable, _ = platform.keys.load_readable(planned.key for _, planned in found)
    states = {state.key: state for state in readable}
    planned = for_a_while(
        platform,
        _HANDS,
        lambda one: _plan_readable(platform, versions, job, one, states.get(one.key)),
        [key for _, key in found],
        _READING_MS,
    )
    platform.replays.write_keys(job, planned)
    tally = job.tally
    for one in planned:
        tally = tally.plus(one.tally)
    if len(planned) < _KEYS_A_PIECE and len(planned) == len(found):
        return replace(job, tally=tally, state=JobState.PLANNED, cursor="")
    return replace(job, tally=tally, cursor=found[len(planned) - 1][0])


def _plan_readable(
    platform: Platform, versions: RouteVersions, job: ReplayJob, found: PlannedKey, state: KeyState | None
) -> PlannedKey:
    """Plan one key; one of which something can't be read is refused, and holds up no other."""
    try:
        return _plan(platform, versions, job, found, state or platform.keys.load(found.key))
    except Unreadable as error:
        return replace(found, fate=Fate.REFUSED, tally=Tally(refused=1), why=str(error))


def _plan(
    platform: Platform, versions: RouteVersions, job: ReplayJob, found: PlannedKey, state: KeyState
) -> PlannedKey:
    log = platform.log.headings(found.key, found.low, found.high)
    chosen = [event for event in log if job.selection.takes(event, _route_name(platform, event))]
    if job.selection.outcome is not Outcome.ANY and chosen:
        chosen = _by_outcome(platform, found.key, chosen, job.selection.outcome)
    positions = {event.position for event in chosen}
    stored = platform.past_steps.stored(found.key, min(positions), max(positions)) if positions else {}
    planned, chunks = plan_key(
        found, state, log, positions, stored, versions.of_type, is_new_generation=job.is_new_generation
    )
    platform.replays.write_spans(job, found.key, chunks)
    return planned


def _route_name(platform: Platform, event: Heading) -> str:
    route = platform.routes.for_type(event.type)
    return route.name if route else ""


def _by_outcome(platform: Platform, key: str, events: list[Heading], outcome: Outcome) -> list[Heading]:
    if outcome is Outcome.RETRIED:
        slices = platform.outcomes.retried(key, events[0].position, events[-1].position)
        return [event for event in events if any(one.first <= event.position <= one.last for one in slices)]
    reasons = platform.outcomes.dead_letters_of(key, events)
    return [event for event in events if _is_given_up(reasons.get(event.position), outcome)]


def _is_given_up(reason: str | None, outcome: Outcome) -> bool:
    return reason is not None and (outcome is Outcome.DEAD_LETTERED or reason.startswith(_SKIPPED))


def note(platform: Platform, job: ReplayJob, places: Places) -> int:
    """Note keys that may have selected events, with where; return how many are new."""
    bounds: dict[str, tuple[Position, Position]] = {}
    for key, position in places:
        low, high = bounds.get(key, (position, position))
        bounds[key] = (min(low, position), max(high, position))
    known = platform.replays.named(job.id, bounds)
    found = [
        PlannedKey(key, Fate.FOUND, min(low, known[key].low), max(high, known[key].high))
        if key in known
        else PlannedKey(key, Fate.FOUND, low, high)
        for key, (low, high) in bounds.items()
    ]
    platform.replays.write_keys(job, found)
    return len(bounds) - len(known)


def _searched(
    platform: Platform, job: ReplayJob, places: Places, count: int, cursor: str, *, is_over: bool, restored: int = 0
) -> ReplayJob:
    new = 0 if job.selection.named_keys else note(platform, job, places)
    return replace(
        job,
        searched=job.searched + count,
        found=job.found + new,
        tally=job.tally.plus(Tally(restored=restored)),
        cursor="" if is_over else cursor,
        is_searching=not is_over,
    )


def _scan(platform: Platform, job: ReplayJob) -> ReplayJob:
    page = platform.log.scan(job.selection, job.cursor)
    return _searched(platform, job, map(place_of, page.items), page.scanned, page.after, is_over=not page.after)


def _read_dead_letters(platform: Platform, job: ReplayJob) -> ReplayJob:
    """Read some open dead letters; the cursor is the last one's place in the index.

    By the index, not by the days of a retention: what is open is renewed, so its event may have arrived long before.
    """
    listed = platform.open_items.listed(Kind.DEAD_LETTER, _entry_at(job.cursor))
    entries = list(islice(listed, _LETTERS_A_PIECE))
    first = _day(job.selection.from_ms) if job.selection.from_ms else ""
    last = _day(job.selection.to_ms) if job.selection.to_ms else END
    chosen = [(entry.pk, entry.sk) for entry in entries if first <= entry.pk.rpartition("#")[2] <= last]
    letters = platform.outcomes.open_dead_letters(chosen)
    places = [(key, place) for key, place, reason in letters if _is_given_up(reason, job.selection.outcome)]
    cursor = json.dumps(astuple(entries[-1])) if entries else ""
    return _searched(platform, job, places, len(entries), cursor, is_over=len(entries) < _LETTERS_A_PIECE)


def _entry_at(cursor: str) -> Entry | None:
    """Read a place in the index; None for the beginning, and for a day, which an earlier version went on from."""
    return Entry(*json.loads(cursor)) if cursor.startswith("[") else None


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def _some(platform: Platform, calls: Iterator[_T], records_of: Callable[[_T], int]) -> tuple[list[_T], bool]:
    """Take what one piece of work has time for; tell besides whether that was all.

    What was read before a call that is throttled counts: else a busy shard's first calls would be made again and again.
    """
    began_ms, records = platform.clock(), 0
    taken: list[_T] = []
    try:
        for found in calls:
            taken.append(found)
            records += records_of(found)
            is_late = platform.clock() - began_ms >= _READING_MS
            if is_late or len(taken) == _CALLS_A_PIECE or records >= _RECORDS_A_PIECE:
                return taken, False
    except Throttled:
        if not taken:
            raise
        return taken, False
    return taken, True


def _read_stream(platform: Platform, job: ReplayJob) -> ReplayJob:
    until_ms = job.selection.to_ms or job.asked.at_ms
    calls = platform.stream_reader.read(job.selection.from_ms, until_ms, Mark.parse(job.cursor))
    count, mark, places = 0, Mark(), list[tuple[str, Position]]()
    pieces, is_over = _some(platform, calls, lambda call: len(call[0]))
    restored = 0
    for records, behind in pieces:
        count, mark = count + len(records), behind
        places += places_in(records, epoch=platform.settings.stream_epoch)
        restored += restore(platform, job, _named(platform, job, from_stream(platform, records)))
    return _searched(platform, job, places, count, str(mark), is_over=is_over, restored=restored)


def _read_archive(platform: Platform, job: ReplayJob) -> ReplayJob:
    """Read some objects of the archive; the cursor is the name of the last one."""
    until_ms = job.selection.to_ms or job.asked.at_ms
    objects = platform.archive.objects(job.selection.from_ms, until_ms, job.cursor)
    pieces, is_over = _some(platform, objects, lambda found: len(found[1]))
    events = _named(platform, job, (event for _, found in pieces for event in found))
    restored = restore(platform, job, events)
    places = [(event.key, event.position) for event in events]
    count, cursor = sum(len(found) for _, found in pieces), pieces[-1][0] if pieces else ""
    return _searched(platform, job, places, count, cursor, is_over=is_over, restored=restored)


def _named(platform: Platform, job: ReplayJob, events: Iterable[Archived]) -> list[Archived]:
    """Leave out the events of keys that weren't named, if any were."""
    found = list(events)
    if not job.selection.named_keys:
        return found
    named = platform.replays.named(job.id, {event.key for event in found})
    return [event for event in found if event.key in named]


_SEARCHES: Final = {
    Source.SCAN: _scan,
    Source.DEAD_LETTERS: _read_dead_letters,
    Source.STREAM: _read_stream,
    Source.ARCHIVE: _read_archive,
}
