"""The index against the key states that it is derived from, and keys that nobody seems to come for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keyturn.adapters.controls import PARTITION
from keyturn.adapters.index import INDEX_NAME, DueIndex
from keyturn.adapters.keys import STATE, decode_state
from keyturn.adapters.table import Item, decode_item
from keyturn.core.state import Due, Queue, due, violations
from keyturn.errors import Unreadable
from keyturn_cli.doctor.examination import Examination
from keyturn_cli.doctor.finding import Finding, failed, listed, ok, seconds

ENTRIES_MAX: Final = 20_000
"""Index entries that are read unless --thorough: about 2 MB."""
A_BUCKET_MAX: Final = 25
"""Keys of one bucket that are compared unless --thorough."""
OVERDUE_MS: Final = 2 * 60_000
UNSERVED_MS: Final = 60_000
_ROUNDING_MS_MAX: Final = 300_000
"""The most that a running key's deadline is rounded up by, whatever IndexRoundingSeconds was then."""
_LOOKS: Final = 3
_LOOK_EVERY_S: Final = 1.0
_MENDING: Final = "see the findings on the watchdog: it mends this within a minute when it comes; look at its log"


@dataclass(frozen=True, slots=True)
class Entry:
    """An index entry."""

    pk: str
    sk: str
    bucket: str
    at_ms: int

    @property
    def queue(self) -> str:
        """The family of its bucket."""
        return self.bucket.rpartition("#")[0]

    @property
    def number(self) -> int:
        """The number of its bucket."""
        return int(self.bucket.rpartition("#")[2])


def check_index(examined: Examination) -> Iterator[Finding]:
    """What the index says, against the states; then what has stood in it for too long."""
    entries, is_whole = _entries(examined)
    yield _consistent(examined, entries, is_whole)
    yield _within_buckets(examined, entries)
    yield _held_for_a_reason(examined, entries)
    yield _overdue(examined)
    yield _served(examined)
    if examined.options.is_thorough:
        yield _none_missing(examined)


def _entries(examined: Examination) -> tuple[list[Entry], bool]:
    """The index's entries, the first ones unless --thorough: it holds keys that are at work, not all there are."""
    found: list[Entry] = []
    for item in _scan(examined, {"IndexName": INDEX_NAME}):
        found.append(Entry(item["pk"], item["sk"], item["due_bucket"], item["due_at"]))
        if len(found) >= ENTRIES_MAX and not examined.options.is_thorough:
            return found, False
    return found, True


def _consistent(examined: Examination, entries: Sequence[Entry], is_whole: bool) -> Finding:
    name = "index agrees with key states"
    chosen = entries if examined.options.is_thorough else list(_some_of_each_bucket(entries))
    items = examined.table.get_many((entry.pk, entry.sk) for entry in chosen)
    wrong = [trouble for item in items.values() for trouble in disagreements(item)]
    if wrong:
        return failed(
            name,
            f"{len(wrong)} entries contradict what they stand for: {listed(wrong)}",
            "somebody wrote to the state table by hand, or this is a bug: hold the keys, and restore their states",
        )
    of = f"of {len(entries)}" if is_whole else f"of the first {len(entries)}"
    return ok(name, f"{len(items)} {of} entries compared with what they stand for")


def _some_of_each_bucket(entries: Sequence[Entry]) -> Iterator[Entry]:
    taken: Counter[str] = Counter()
    for entry in entries:
        if taken[entry.bucket] < A_BUCKET_MAX:
            taken[entry.bucket] += 1
            yield entry


def disagreements(item: Item) -> Iterator[str]:
    """Say what is wrong with an indexed item, read as one, so that no change can come between state and entry."""
    if not str(item["pk"]).startswith("key#"):
        yield from _not_open(item)
        return
    key = str(item["pk"]).removeprefix("key#")
    try:
        state = decode_state(key, item)
    except Unreadable:
        yield f"{key!r} is in the index without a key state"
        return
    yield from (f"{key!r} is {trouble}" for trouble in violations(state))
    wanted = due(state, rounding_ms=1)  # the setting may have been another one when the entry was written
    if not _fits(wanted, item):
        stands = f"{item.get('due_bucket', 'nowhere')} at {item.get('due_at', '-')}"
        yield f"{key!r} stands in {stands}, it is {state.phase} ({wanted.family if wanted else 'no entry'})"


def _not_open(item: Item) -> Iterator[str]:
    """Quarantined records and dead letters stand in the index until they are redriven or discarded."""
    kind = str(item["pk"]).partition("#")[0]
    if "closed" in item or str(item.get("due_bucket", "")).partition("#")[0] != kind:
        yield f"{item['pk']}/{item['sk']} stands in {item.get('due_bucket', 'nowhere')}, it isn't open there"


def _fits(wanted: Due | None, item: Item) -> bool:
    """Whether an item has the entry that it must have; a number beyond the setting is a finding of its own."""
    if wanted is None:
        return "due_bucket" not in item
    late_ms = int(item.get("due_at", -1)) - wanted.at_ms
    is_on_time = 0 <= late_ms < _ROUNDING_MS_MAX if wanted.queue is Queue.RUNNING else late_ms == 0
    return is_on_time and str(item.get("due_bucket", "")).rpartition("#")[0] == wanted.family


def _within_buckets(examined: Examination, entries: Iterable[Entry]) -> Finding:
    name = "index within its buckets"
    buckets = examined.settings.index_buckets
    beyond = Counter(entry.bucket for entry in entries if entry.number >= buckets)
    if beyond:
        return failed(
            name,
            f"{sum(beyond.values())} keys stand in {listed(beyond)}, where nobody looks: IndexBuckets is {buckets}",
            "deploy with the former IndexBuckets; lower it when nothing is in flight, waiting, parked or held",
        )
    return ok(name, f"none beyond the {buckets} that IndexBuckets says")


def _held_for_a_reason(examined: Examination, entries: Iterable[Entry]) -> Finding:
    name = "keys wait for held routes only"
    waiting = Counter(entry.queue.partition(":")[2] for entry in entries if entry.queue.startswith(f"{Queue.HELD}:"))
    arguments = {"KeyConditionExpression": "pk = :pk", "ConsistentRead": True}
    controls = list(examined.table.query(arguments, {"pk": PARTITION}))
    left = {route: count for route, count in waiting.items() if not any(_keeps(control, route) for control in controls)}
    if left:
        told = listed(f"{count} for {route}" for route, count in left.items())
        return failed(
            name,
            f"keys wait for the release of routes that aren't held: {told}",
            f"hold and release them once more: keyturn hold --route {next(iter(left))}, then keyturn release",
        )
    return ok(name, f"{sum(waiting.values())} keys wait for held routes" if waiting else "none waits")


def _keeps(control: Item, route: str) -> bool:
    """Whether a control gives keys a reason to wait: a hold, a release that is still under way, an open breaker."""
    match str(control["sk"]).partition("#"):
        case ("hold", _, name) if name in {"everything", f"route#{route}"}:
            return bool(control.get("is_held")) or control.get("status") in {"held", "releasing"}
        case ("ramp", _, name):
            return name == route
        case ("breaker", _, _):
            return control.get("phase") != "closed"
    return False


def _overdue(examined: Examination) -> Finding:
    name = "nothing is overdue"
    now_ms = examined.clock()
    index = _index(examined)
    late = [
        entry
        for queue in (Queue.RUNNING, Queue.RETRY)
        for entry in index.overdue(queue, now_ms - OVERDUE_MS, A_BUCKET_MAX)
    ]
    if late:
        longest_ms = now_ms - min(entry.at_ms for entry in late)
        keys = listed(repr(entry.key) for entry in late)
        return failed(name, f"{len(late)} keys or more, the longest for {seconds(longest_ms)}: {keys}", _MENDING)
    return ok(name, f"no key has been due for {seconds(OVERDUE_MS)}")


def _served(examined: Examination) -> Finding:
    """Looks more than once: between two runs of a busy stack a slot is free for a moment."""
    name = "free slots are taken"
    index, most = _index(examined), examined.settings.max_in_flight_runs
    longest: set[str] = set()
    for look in range(_LOOKS):
        if look:
            examined.sleep(_LOOK_EVERY_S)
        since_ms = examined.clock() - UNSERVED_MS
        kept = {entry.key for entry in index.heads(Queue.WAITING) if entry.at_ms < since_ms}
        longest = kept if not look else longest & kept
        running = index.count(Queue.RUNNING)
        if not longest or running >= most:
            return ok(name, f"{running} runs in flight, {most} allowed")
    keys = listed(map(repr, longest))
    return failed(
        name, f"{running} of {most} runs in flight, and {keys} wait longer than {seconds(UNSERVED_MS)}", _MENDING
    )


def _none_missing(examined: Examination) -> Finding:
    """No lost wake-up: every key state of the table, read as one item with its entry."""
    name = "no key is forgotten"
    looked = 0
    wrong: list[str] = []
    filtered = {
        "FilterExpression": "sk = :state",
        "ExpressionAttributeValues": {":state": {"S": STATE}},
    }
    for item in _scan(examined, filtered):
        if str(item["pk"]).startswith("key#"):
            looked += 1
            wrong += disagreements(item)
    if wrong:
        return failed(
            name,
            f"{len(wrong)} of {looked:,} keys: {listed(wrong)}",
            "put an event for such a key into the stream: admitting it wakes the key; if that doesn't, this is a bug",
        )
    return ok(name, f"all {looked:,} key states are in the index as they must be")


def _scan(examined: Examination, arguments: Mapping[str, object]) -> Iterator[Item]:
    aws = examined.client("dynamodb")
    page: dict[str, object] = {"TableName": examined.target.outputs.state_table_name, **arguments}
    while True:
        answer = aws.scan(**page)
        yield from map(decode_item, answer["Items"])
        if "LastEvaluatedKey" not in answer:
            return
        page["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _index(examined: Examination) -> DueIndex:
    return DueIndex(examined.table, examined.settings.index_buckets)
