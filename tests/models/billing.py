"""The model of DynamoDB with a meter: what each call takes in billed units, by the rules of the Developer Guide.

"Read consistency and capacity", "Write operations", "Global secondary indexes": an item's write takes a unit for each
1 KB of the larger of what was there and what comes; a transaction's takes two; one whose condition fails takes as much
as its item's size, one at least. A strongly consistent read takes a unit for each 4 KB: of each item for itself where
items are named, of all together in a query. An index is written when an entry appears, goes, or moves, which is both.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from botocore.exceptions import ClientError

from tests.guard.limits import item_bytes
from tests.models.dynamodb import DynamoDB, Place
from tests.models.expressions import Item


@dataclass
class Billed(DynamoDB):
    """A table whose units are counted, apart for keys and for what all keys share (slots, controls)."""

    units: Counter[str] = field(default_factory=Counter)
    factor: int = 1

    def put_item(self, **call: Any) -> dict[str, Any]:
        """Write an item; a failed condition costs too."""
        return self._or_refused(super().put_item, call)

    def update_item(self, **call: Any) -> dict[str, Any]:
        """Change an item; a failed condition costs too."""
        return self._or_refused(super().update_item, call)

    def transact_write_items(self, **call: Any) -> dict[str, Any]:
        """Write all or nothing, at twice the price."""
        self.factor = 2
        try:
            return super().transact_write_items(**call)
        finally:
            self.factor = 1

    def get_item(self, **call: Any) -> dict[str, Any]:
        """Read an item."""
        answer = super().get_item(**call)
        self._read_units(call["Key"]["pk"]["S"], [_whole(answer.get("Item"))], call.get("ConsistentRead", False))
        return answer

    def batch_get_item(self, **call: Any) -> dict[str, Any]:
        """Read named items: each is rounded up by itself, and one that isn't there takes a unit."""
        answer = super().batch_get_item(**call)
        ((table, request),) = call["RequestItems"].items()
        found = answer["Responses"][table]
        left = len(answer["UnprocessedKeys"].get(table, {}).get("Keys", ()))
        absent = len(request["Keys"]) - left - len(found)
        sizes = [*map(_whole, found), *([0] * absent)]
        self._read_units(request["Keys"][0]["pk"]["S"], sizes, request.get("ConsistentRead", False))
        return answer

    def query(self, **call: Any) -> dict[str, Any]:
        """Read a page: what it holds is rounded up together."""
        answer = super().query(**call)
        pk = call["ExpressionAttributeValues"][":pk"]["S"] if ":pk" in call["ExpressionAttributeValues"] else "index"
        size = sum(map(item_bytes, answer.get("Items", ())))
        self._read_units(pk, [size], call.get("ConsistentRead", False))
        return answer

    def _or_refused(self, write: Any, call: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = write(**call)
        except ClientError:
            place = call.get("Item") or call["Key"]
            self._count("write", place["pk"]["S"], 1)
            raise
        return answer

    def _write(self, place: Place, item: Item | None) -> None:
        old = self._standing(place)
        before = self.index.entries.get(place)
        super()._write(place, item)
        after = self.index.entries.get(place)
        size = max(item_bytes(one) if one is not None else 0 for one in (old, item))
        self._count("write", place[0], self.factor * max(1, ceil(size / 1_024)))
        if before != after:
            self._count("index write", place[0], self.factor * ((before is not None) + (after is not None)))

    def _read_units(self, pk: str, sizes: list[int], is_consistent: bool) -> None:
        units = sum(max(1, ceil(size / 4_096)) for size in sizes)
        self._count("read", pk, units if is_consistent else units / 2)

    def _count(self, what: str, pk: str, units: float) -> None:
        of = "" if pk.startswith("key#") else "shared "
        self.units[of + what] += units  # type: ignore[assignment]  # units come in halves


def _whole(item: Item | None) -> int:
    return item_bytes(item) if item is not None else 0
