"""Attempt records, dead letters, operations: what became of runs that did not simply succeed, and what people did."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from keyturn.adapters.keys import partition
from keyturn.adapters.open_items import Kind, due_attributes
from keyturn.adapters.table import Item, ItemExists, ItemKey, Table
from keyturn.core.actions import RecordAttempt, RecordOperation
from keyturn.core.log_entry import LogEntry
from keyturn.core.naming import key_hash
from keyturn.core.positions import Position

ATTEMPT: Final = "attempt#"
OPERATION: Final = "operation#"


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
            "started_at_ms": run.started_at_ms,
            "ended_at_ms": record.ended_at_ms,
            "generation": run.generation or None,
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

    def record_dead_letter(self, key: str, entry: LogEntry, route: str, reason: str, at_ms: int) -> None:
        """Store that one event was given up; the event itself stays in the log.

        One that is open already stands; one that was redriven or discarded is open again.
        """
        item = self.dead_letter(key, entry, route, reason, at_ms)
        with suppress(ItemExists):
            self.table.put_if(item, "attribute_not_exists(pk) OR attribute_exists(closed)")

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


def dead_letter_place(key: str, position: Position, arrived_at_ms: int) -> ItemKey:
    """Where the dead letter of an event stands: by the day it arrived, so that a repeated write finds the place."""
    arrived = datetime.fromtimestamp(arrived_at_ms / 1000, UTC).date().isoformat()
    return f"deadletter#{arrived}", f"{key_hash(key)}#{position}"
