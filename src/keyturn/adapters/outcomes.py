"""Attempt records, dead letters, operations: what became of runs that did not simply succeed, and what people did."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from keyturn.adapters.keys import partition
from keyturn.adapters.open_items import Kind, due_attributes
from keyturn.adapters.table import Item, ItemExists, ItemKey, Table, projection, reading
from keyturn.core.actions import RecordAttempt, RecordOperation
from keyturn.core.log_entry import LogEntry
from keyturn.core.naming import key_hash
from keyturn.core.positions import Position
from keyturn.core.replay_plan import Heading
from keyturn.core.state import Span

ATTEMPT: Final = "attempt#"
OPERATION: Final = "operation#"
SUCCEEDED: Final = "succeeded"

_ORDER_MS: Final = 60_000
"""Events of a key may have arrived a little out of order: their times are approximate."""


@dataclass(frozen=True, slots=True)
class OutcomeStore:
    """Writes attempt records and dead letters; each is the same item when written twice."""

    table: Table
    retention_s: int
    index_buckets: int

    def attempt(self, key: str, record: RecordAttempt) -> Item:
        """Make the item that says how one attempt ended."""
        run = record.run
        return {
            "pk": partition(key),
            "sk": f"{ATTEMPT}{run.slice.first}#{record.fence:012d}",
            "outcome": record.outcome,
            "reason": record.reason,
            "attempt": run.attempt,
            "last": run.slice.last,
            "count": run.slice.count,
            "route": run.slice.route,
            "execution_name": run.execution_name,
            "execution_id": run.execution_id,
            "ran_in": record.ran_in or None,
            "started_at_ms": run.started_at_ms,
            "ended_at_ms": record.ended_at_ms,
            "generation": run.generation or None,
            "release": record.release or None,
            "expires_at": record.ended_at_ms // 1000 + self.retention_s,
        }

    def operation(self, key: str, record: RecordOperation, version: int) -> Item:
        """Make the item that says what a person asked of a key: `version` is the key state's, after it."""
        return {
            "pk": partition(key),
            "sk": f"{OPERATION}{version:012d}",
            "command": record.command,
            "by": record.by,
            "reason": record.reason,
            "at_ms": record.at_ms,
            "fence": record.fence,
            "position": record.position or None,
            "replay": record.replay or None,
            "expires_at": record.at_ms // 1000 + self.retention_s,
        }

    def last_operation(self, key: str) -> Item | None:
        """Return what a person last did to a key; None if nobody did."""
        arguments = {
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
            "ScanIndexForward": False,
            "ConsistentRead": True,
        }
        return next(self.table.query(arguments, {"pk": partition(key), "prefix": OPERATION}, 1), None)

    def has_rewound(self, key: str, replay: str, since_version: int) -> bool:
        """Tell whether a key was rewound for a replay in one of its versions after `since_version`."""
        return self._is_recorded("Rewind", key, replay, since_version)

    def has_called_off(self, key: str, replay: str, since_version: int) -> bool:
        """Tell whether a key's replay was called off in one of its versions after `since_version`."""
        return self._is_recorded("CancelReplay", key, replay, since_version)

    def _is_recorded(self, command: str, key: str, replay: str, since_version: int) -> bool:
        arguments = {
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "FilterExpression": "#replay = :replay AND #command = :command",
            "ProjectionExpression": "sk",
            "ExpressionAttributeNames": {"#replay": "replay", "#command": "command"},
            "ConsistentRead": True,
        }
        values = {
            "pk": partition(key),
            "low": f"{OPERATION}{since_version + 1:012d}",
            "high": f"{OPERATION}~",
            "replay": replay,
            "command": command,
        }
        return any(True for _ in self.table.query(arguments, values))

    def retried(self, key: str, first: Position, last: Position) -> list[Span]:
        """Return the slices from `first` through `last` of which an attempt failed or was given up."""
        arguments = {
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ProjectionExpression": "sk, #last, outcome",
            "ExpressionAttributeNames": {"#last": "last"},
            "ConsistentRead": True,
        }
        # A slice may begin before the first of these events, so all before it are looked at too.
        values = {"pk": partition(key), "low": ATTEMPT, "high": f"{ATTEMPT}{last}~"}
        with reading("the record of an attempt"):
            return [
                Span(Position(item["sk"].removeprefix(ATTEMPT).partition("#")[0]), item["last"])
                for item in self.table.query(arguments, values)
                if item["outcome"] != SUCCEEDED and item["last"] >= first
            ]

    def dead_letters_of(self, key: str, events: Iterable[Heading]) -> dict[Position, str]:
        """Return the reasons why events of a key were given up, for dead letters that are open."""
        wanted = {dead_letter_place(key, event.position, event.arrived_at_ms): event.position for event in events}
        found = self.table.get_many(wanted)
        with reading("a dead letter"):
            return {wanted[place]: item["reason"] for place, item in found.items() if "closed" not in item}

    def open_dead_letters(self, places: Iterable[ItemKey]) -> list[tuple[str, Position, str]]:
        """Read (key, position, reason) of dead letters; those that are closed by now are left out."""
        found = self.table.get_many(places, ("key", "position", "reason", "closed"))
        with reading("a dead letter"):
            return [
                (item["key"], Position(item["position"]), item["reason"])
                for item in found.values()
                if "closed" not in item
            ]

    def open_letters_between(self, key: str, first: Heading, last: Heading) -> Iterator[tuple[ItemKey, Position, int]]:
        """Yield the places of a key's open dead letters of events from `first` through `last`, with position and time.

        By the days on which the events arrived: reads them, and no others.
        """
        arguments = {
            "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :low AND :high",
            "FilterExpression": "attribute_not_exists(closed)",
            "ConsistentRead": True,
            **projection(("pk", "sk", "position", "at_ms")),
        }
        low, high = (f"{key_hash(key)}#{one.position}" for one in (first, last))
        for day in _days(first.arrived_at_ms - _ORDER_MS, last.arrived_at_ms + _ORDER_MS):
            for item in self.table.query(arguments, {"pk": f"deadletter#{day}", "low": low, "high": high}):
                yield (item["pk"], item["sk"]), Position(item["position"]), item["at_ms"]

    def record_dead_letter(
        self, key: str, entry: LogEntry, route: str, reason: str, at_ms: int, *, since_ms: int
    ) -> None:
        """Store that one event was given up; the event itself stays in the log.

        One that is open since `since_ms`, when its key was parked, already stands; one that was redriven or discarded
        is open again. So is one whose redrive died before it closed it, or the next redrive would take it for done.
        """
        item = self.dead_letter(key, entry, route, reason, at_ms)
        is_none_or_of_before = (
            "attribute_not_exists(pk) OR attribute_exists(closed) OR attribute_exists(replay) OR at_ms < :since"
        )
        with suppress(ItemExists):
            self.table.put_if(item, is_none_or_of_before, {"since": since_ms})

    def dead_letter(self, key: str, entry: LogEntry, route: str, reason: str, at_ms: int) -> Item:
        """Make the item that says that one event was given up."""
        pk, sk = dead_letter_place(key, entry.position, entry.arrived_at_ms)
        return {
            "pk": pk,
            "sk": sk,
            "key": key,
            "position": entry.position,
            "type": entry.type,
            "route": route,
            "reason": reason,
            "at_ms": at_ms,
            "expires_at": at_ms // 1000 + self.retention_s,
            **due_attributes(Kind.DEAD_LETTER, key, at_ms, self.index_buckets),
        }


def _days(from_ms: int, until_ms: int) -> Iterator[str]:
    day, last = (datetime.fromtimestamp(max(0, at_ms) / 1000, UTC).date() for at_ms in (from_ms, until_ms))
    while day <= last:
        yield day.isoformat()
        day += timedelta(days=1)


def dead_letter_place(key: str, position: Position, arrived_at_ms: int) -> ItemKey:
    """Where the dead letter of an event stands: by the day it arrived, so that a repeated write finds the place."""
    arrived = datetime.fromtimestamp(arrived_at_ms / 1000, UTC).date().isoformat()
    return f"deadletter#{arrived}", f"{key_hash(key)}#{position}"
