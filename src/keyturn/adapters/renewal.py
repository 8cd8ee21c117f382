"""Gives what is unfinished a new life before its time to live ends: items, and the payload objects that they name."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

from keyturn.adapters.keys import partition
from keyturn.adapters.payloads import PayloadStore
from keyturn.adapters.table import Item, ItemExists, ItemKey, Table, projection, reading
from keyturn.errors import StoreError

_DAY_S: Final = 86_400
_NEEDED: Final = ("expires_at", "payload")


@dataclass(frozen=True, slots=True)
class Renewed:
    """How many items got a new life, and how many couldn't."""

    renewed: int = 0
    failed: int = 0
    reason: str = ""
    """Of the last failure."""

    def __add__(self, other: Self) -> "Renewed":
        """Both together."""
        return Renewed(self.renewed + other.renewed, self.failed + other.failed, other.reason or self.reason)


@dataclass(frozen=True, slots=True)
class Renewal:
    """Renews items of the state table whose life is half over."""

    table: Table
    payloads: PayloadStore
    retention_s: int

    def fresh(self, now_ms: int) -> tuple[int, int]:
        """Return between which expiries, in epoch seconds, an item needs nothing.

        At least half a life and the day until the next sweep, so that at the shortest life of 30 days fifteen sweeps
        may fail. At most a whole life: an item from a time with a longer one is due, for its object has a shorter now.
        """
        now_s = now_ms // 1000
        return now_s + self.retention_s // 2 + _DAY_S, now_s + self.retention_s + _DAY_S

    def span(self, key: str, low: str, high: str, now_ms: int) -> Renewed:
        """Renew what is due among a key's items from the sort key `low` through `high`."""
        chosen = projection(("pk", "sk", *_NEEDED))
        names = chosen["ExpressionAttributeNames"]
        arguments = chosen | {
            "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :low AND :high",
            "FilterExpression": "NOT #expires_at BETWEEN :least AND :most",
            "ExpressionAttributeNames": names,
        }
        least, most = self.fresh(now_ms)
        values = {"pk": partition(key), "low": low, "high": high, "least": least, "most": most}
        try:
            return self._each(self.table.query(arguments, values), now_ms)
        except StoreError as error:
            return Renewed(failed=1, reason=str(error))

    def items(self, found: Iterable[Item], now_ms: int) -> Renewed:
        """Renew what is due among items that were loaded with `pk`, `sk`, `expires_at` and `payload`."""
        least, most = self.fresh(now_ms)
        return self._each((item for item in found if not least <= item.get("expires_at", 0) <= most), now_ms)

    def _each(self, found: Iterable[Item], now_ms: int) -> Renewed:
        total = Renewed()
        for item in found:
            total += self._renew(item, now_ms)
        return total

    def _renew(self, item: Item, now_ms: int) -> Renewed:
        """Renew the object first: an item that was renewed alone would hide it from the next sweeps."""
        place: ItemKey = (item["pk"], item["sk"])
        expires_at = now_ms // 1000 + self.retention_s
        try:
            if "payload" in item:
                with reading("where a payload lies"):
                    name = item["payload"]["object"]
                self.payloads.renew(name, now_ms)
            values: dict[str, Any] = {"expires": expires_at}
            self.table.update(place, "SET expires_at = :expires", "attribute_exists(pk)", values, returns_item=False)
        except ItemExists:
            return Renewed(failed=1, reason="an item was gone before it could be renewed")
        except StoreError as error:
            return Renewed(failed=1, reason=str(error))
        return Renewed(renewed=1)
