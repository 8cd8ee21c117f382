"""The sparse index: every key that isn't idle, by queue and time. Its reads are eventually consistent, always: whoever
acts on a key it names loads the key first."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from keyturn.adapters.failures import translated
from keyturn.adapters.table import Table, encode_values
from keyturn.core.state import Queue, queue_name

INDEX_NAME: Final = "due"
_KEY: Final = "key#"


@dataclass(frozen=True, slots=True)
class Overdue:
    """An index entry: a key and the time it stands at, in epoch milliseconds."""

    key: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class DueIndex:
    """Reads the index, bucket by bucket."""

    table: Table
    buckets: int

    def count(self, queue: Queue, route: str = "") -> int:
        """Count the keys of a queue. Bills every entry, so its results are shared, see `capacity`."""
        name = queue_name(queue, route)
        return sum(self._count(name, bucket) for bucket in range(self.buckets))

    def listed(self, queue: Queue, route: str = "") -> Iterator[Overdue]:
        """Yield all keys of a queue, bucket by bucket, the oldest first within each."""
        name = queue_name(queue, route)
        for bucket in range(self.buckets):
            yield from self._read(name, bucket, None)

    def oldest(self, queue: Queue, limit: int, route: str = "") -> list[Overdue]:
        """Return the `limit` keys that stand longest in a queue."""
        name = queue_name(queue, route)
        found = [entry for bucket in range(self.buckets) for entry in self._read(name, bucket, limit)]
        return sorted(found, key=lambda entry: entry.at_ms)[:limit]

    def overdue(self, queue: Queue, now_ms: int, limit: int) -> list[Overdue]:
        """Return at most `limit` keys of each bucket whose time has come, the most overdue first."""
        found = [entry for bucket in range(self.buckets) for entry in self._read(queue, bucket, limit, until_ms=now_ms)]
        return sorted(found, key=lambda entry: entry.at_ms)

    def beyond(self, queue: Queue, at_ms: int, limit: int) -> list[Overdue]:
        """Return at most `limit` keys of each bucket that stand at a time after `at_ms`."""
        return [
            entry for bucket in range(self.buckets) for entry in self._read(queue.value, bucket, limit, from_ms=at_ms)
        ]

    def heads(self, queue: Queue) -> list[Overdue]:
        """Return the first entry of each bucket of a queue: among them is the one that waits longest."""
        return [entry for bucket in range(self.buckets) for entry in self._read(queue, bucket, 1)]

    def some_waiting(self, limit: int) -> Iterator[Overdue]:
        """Yield keys that wait for a slot: the oldest of one bucket after the other, from a random bucket on.

        Many hands reach at once, so each bucket's oldest come in random order.
        """
        start = random.randrange(self.buckets)  # noqa: S311 - spreads load, no secret
        for step in range(self.buckets):
            oldest = list(self._read(Queue.WAITING, (start + step) % self.buckets, limit))
            random.shuffle(oldest)
            yield from oldest

    def _read(
        self, name: str, bucket: int, limit: int | None, until_ms: int | None = None, from_ms: int | None = None
    ) -> Iterator[Overdue]:
        arguments = {"IndexName": INDEX_NAME, "KeyConditionExpression": "due_bucket = :bucket"}
        values: dict[str, str | int] = {"bucket": f"{name}#{bucket}"}
        if until_ms is not None:
            arguments["KeyConditionExpression"] += " AND due_at <= :until"
            values["until"] = until_ms
        if from_ms is not None:
            arguments["KeyConditionExpression"] += " AND due_at > :from"
            values["from"] = from_ms
        for item in self.table.query(arguments, values, limit):
            yield Overdue(item["pk"].removeprefix(_KEY), item["due_at"])

    def _count(self, name: str, bucket: int) -> int:
        total: int = 0
        page = {
            "TableName": self.table.name,
            "IndexName": INDEX_NAME,
            "Select": "COUNT",
            "KeyConditionExpression": "due_bucket = :bucket",
            "ExpressionAttributeValues": encode_values({"bucket": f"{name}#{bucket}"}),
        }
        while True:
            with translated("counting the keys of a queue"):
                answer = self.table.client.query(**page)
            total += answer["Count"]
            if "LastEvaluatedKey" not in answer:
                return total
            page["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
