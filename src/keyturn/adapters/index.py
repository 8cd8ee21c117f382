"""The sparse index: every key that isn't idle, by queue and time, and what else waits for a person. Its reads are
eventually consistent, always: whoever acts on something that it names loads that first."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from typing import Any, Final

from keyturn.adapters.failures import translated
from keyturn.adapters.table import Table, encode_values
from keyturn.core.state import Queue, queue_name

INDEX_NAME: Final = "due"
_KEY: Final = "key#"
_PAGE_ITEMS: Final = 500
"""Entries that whoever reads in order pays for at a time: a page of DynamoDB's own would be 1 MB of each bucket."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """An index entry: the time it stands at, in epoch milliseconds, and the place of its item."""

    at_ms: int
    pk: str
    sk: str

    @property
    def is_key(self) -> bool:
        """Whether it is a key state's."""
        return self.pk.startswith(_KEY)

    @property
    def key(self) -> str:
        """The key, of a key state's entry."""
        return self.pk.removeprefix(_KEY)


@dataclass(frozen=True, slots=True)
class DueIndex:
    """Reads the index, bucket by bucket."""

    table: Table
    buckets: int

    def count(self, queue: Queue, route: str = "") -> int:
        """Count the keys of a queue. Bills every entry, so its results are shared, see `capacity`."""
        return self.count_family(queue_name(queue, route))

    def count_family(self, family: str) -> int:
        """Count the entries of a family of buckets. Bills every one of them."""
        return sum(self._count(family, bucket) for bucket in range(self.buckets))

    def count_up_to(self, enough: int, queue: Queue) -> int:
        """Count the keys of a queue until there are `enough`. Bills that many entries at most."""
        total = 0
        for bucket in self._buckets_from_any():
            total += self._count(queue_name(queue), bucket, enough - total)
            if total >= enough:
                break
        return total

    def in_order(self, family: str, after: Entry | None = None) -> Iterator[Entry]:
        """Yield the entries of a family of buckets, the oldest first; only those behind `after` if it is given.

        Reads as it goes: who stops early has paid for little more than what was taken.
        """
        from_ms = after.at_ms - 1 if after else None
        found = merge(*(self._sorted(family, bucket, from_ms) for bucket in range(self.buckets)))
        return found if after is None else (entry for entry in found if entry > after)

    def _sorted(self, family: str, bucket: int, from_ms: int | None) -> Iterator[Entry]:
        """Yield a bucket's entries in order; the index itself has none among those of one time."""
        entries = self._read(family, bucket, None, from_ms=from_ms, page_items=_PAGE_ITEMS)
        for _, together in groupby(entries, lambda entry: entry.at_ms):
            yield from sorted(together)

    def listed(self, queue: Queue, route: str = "") -> Iterator[Entry]:
        """Yield all keys of a queue, bucket by bucket, the oldest first within each."""
        name = queue_name(queue, route)
        for bucket in range(self.buckets):
            yield from self._read(name, bucket, None)

    def oldest(self, queue: Queue, limit: int, route: str = "") -> list[Entry]:
        """Return the `limit` keys that stand longest in a queue."""
        name = queue_name(queue, route)
        found = [entry for bucket in range(self.buckets) for entry in self._read(name, bucket, limit)]
        return sorted(found, key=lambda entry: entry.at_ms)[:limit]

    def overdue(self, queue: Queue, now_ms: int, limit: int) -> list[Entry]:
        """Return at most `limit` keys of each bucket whose time has come, the most overdue first."""
        found = [entry for bucket in range(self.buckets) for entry in self._read(queue, bucket, limit, until_ms=now_ms)]
        return sorted(found, key=lambda entry: entry.at_ms)

    def beyond(self, queue: Queue, at_ms: int, limit: int) -> list[Entry]:
        """Return at most `limit` keys of each bucket that stand at a time after `at_ms`."""
        return [
            entry for bucket in range(self.buckets) for entry in self._read(queue.value, bucket, limit, from_ms=at_ms)
        ]

    def heads(self, family: str) -> list[Entry]:
        """Return the first entry of each bucket of a family: among them is the one that waits longest."""
        return [entry for bucket in range(self.buckets) for entry in self._read(family, bucket, 1)]

    def some_waiting(self, limit: int) -> Iterator[Entry]:
        """Yield keys that wait for a slot: the oldest of one bucket after the other, from a random bucket on.

        Many hands reach at once, so each bucket's oldest come in random order.
        """
        for bucket in self._buckets_from_any():
            oldest = list(self._read(Queue.WAITING, bucket, limit))
            self.table.process.chance.shuffle(oldest)
            yield from oldest

    def _buckets_from_any(self) -> Iterator[int]:
        """Yield the buckets from a random one on: who needs only some of them doesn't always ask the same ones."""
        start = self.table.process.chance.randrange(self.buckets)
        for step in range(self.buckets):
            yield (start + step) % self.buckets

    def _read(
        self,
        name: str,
        bucket: int,
        limit: int | None,
        *,
        until_ms: int | None = None,
        from_ms: int | None = None,
        page_items: int | None = None,
    ) -> Iterator[Entry]:
        arguments: dict[str, Any] = {"IndexName": INDEX_NAME, "KeyConditionExpression": "due_bucket = :bucket"}
        if page_items is not None:
            arguments["Limit"] = page_items
        values: dict[str, str | int] = {"bucket": f"{name}#{bucket}"}
        if until_ms is not None:
            arguments["KeyConditionExpression"] += " AND due_at <= :until"
            values["until"] = until_ms
        if from_ms is not None:
            arguments["KeyConditionExpression"] += " AND due_at > :from"
            values["from"] = from_ms
        for item in self.table.query(arguments, values, limit):
            yield Entry(item["due_at"], item["pk"], item["sk"])

    def _count(self, name: str, bucket: int, enough: int | None = None) -> int:
        total: int = 0
        page = {
            "TableName": self.table.name,
            "IndexName": INDEX_NAME,
            "Select": "COUNT",
            "KeyConditionExpression": "due_bucket = :bucket",
            "ExpressionAttributeValues": encode_values({"bucket": f"{name}#{bucket}"}),
        }
        while True:
            limit = {"Limit": enough - total} if enough is not None else {}
            with translated("counting the keys of a queue"):
                answer = self.table.client.query(**page, **limit)
            total += answer["Count"]
            if "LastEvaluatedKey" not in answer or total == enough:
                return total
            page["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
