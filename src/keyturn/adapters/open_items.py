"""What waits for a person besides parked keys: quarantined records and dead letters.

Each is open until it is redriven or discarded. While it is, it stands in the index, so that listing and counting read
only what is open; afterwards it stays, with who closed it and why, until its time to live ends.
"""

from base64 import b32encode
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from itertools import takewhile
from typing import Any, Final

from keyturn.adapters.index import DueIndex, Entry
from keyturn.adapters.table import Item, ItemExists, ItemKey, Table, projection
from keyturn.core.state import bucket_of
from keyturn.errors import CannotOperate

_ID_CHARACTERS: Final = 12
"""Of a hash in base 32, 60 bits: among the items of one day no two will be met that share them."""
_DATE_CHARACTERS: Final = 8

_CLAIM_MS: Final = 90_000
"""How long whoever redrives an item has it to themselves: longer than the operator function's timeout, so that a claim
that has run out has nobody at work any more."""

_FREE: Final = (
    "attribute_exists(pk) AND attribute_not_exists(closed)"
    " AND (attribute_not_exists(claimed_until_ms) OR claimed_until_ms <= :now)"
)


class Kind(StrEnum):
    """The kinds, by the family of their index buckets; the partition of a day's items is `KIND#DATE`."""

    QUARANTINE = "quarantine"
    DEAD_LETTER = "deadletter"


class How(StrEnum):
    """What became of an item."""

    REDRIVEN = "redriven"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Closing:
    """Who closed an item, when, why and how."""

    how: How
    by: str
    because: str
    at_ms: int
    to: str = ""
    """Of a redriven record its new sequence number, of a redriven dead letter its replay."""


def due_attributes(kind: Kind, key: str, at_ms: int, buckets: int) -> dict[str, Any]:
    """Return what puts an item of a key into the index."""
    return {"due_bucket": f"{kind.value}#{bucket_of(key, buckets)}", "due_at": at_ms}


def id_of(place: ItemKey) -> str:
    """Return the ID that people call an item by: its day, then letters and digits. The same for as long as it lives."""
    pk, sk = place
    digest = b32encode(sha256(f"{pk}/{sk}".encode()).digest()).decode().lower()
    return f"{pk.rpartition('#')[2].replace('-', '')}-{digest[:_ID_CHARACTERS]}"


@dataclass(frozen=True, slots=True)
class OpenItems:
    """Finds open items, and closes them."""

    table: Table
    index: DueIndex
    retention_s: int

    def count(self, kind: Kind) -> int:
        """Count what is open."""
        return self.index.count_family(kind.value)

    def listed(self, kind: Kind, after: Entry | None = None, until_ms: int | None = None) -> Iterator[Entry]:
        """Yield what is open, the oldest first: behind `after`, and what stood there at `until_ms` already."""
        found = self.index.in_order(kind.value, after)
        return found if until_ms is None else takewhile(lambda entry: entry.at_ms <= until_ms, found)

    def load(self, places: Iterable[ItemKey], attributes: Sequence[str]) -> dict[ItemKey, Item]:
        """Read some attributes of items; absent items are left out."""
        return self.table.get_many(places, attributes)

    def get(self, place: ItemKey) -> Item:
        """Read an open item whole. Raises CannotOperate when it isn't there or isn't open."""
        item = self.table.get(*place) or {}
        if not item or "closed" in item:
            raise _refusal(place, item, 0)
        return item

    def places_of(self, kind: Kind, ids: Collection[str]) -> dict[str, ItemKey]:
        """Find items by their IDs, open or not; unknown ones are left out. Reads what came on their days."""
        days = {id_[:_DATE_CHARACTERS] for id_ in ids}
        partitions = [f"{kind.value}#{day[:4]}-{day[4:6]}-{day[6:]}" for day in sorted(days)]
        found = (
            (item["pk"], item["sk"])
            for pk in partitions
            for item in self.table.query(
                {"KeyConditionExpression": "pk = :pk", "ConsistentRead": True, **projection(("pk", "sk"))}, {"pk": pk}
            )
        )
        return {id_of(place): place for place in found if id_of(place) in ids}

    def claim(self, place: ItemKey, token: str, now_ms: int) -> Item:
        """Take an open item on, alone, and return it whole. Raises CannotOperate when it isn't there to be taken."""
        values = {"now": now_ms, "token": token, "until": now_ms + _CLAIM_MS}
        try:
            return self.table.update(place, "SET claimed_by = :token, claimed_until_ms = :until", _FREE, values)
        except ItemExists as standing:
            if standing.item.get("claimed_by") == token:
                return standing.item  # the SDK sent it twice, since the first answer was lost
            raise _refusal(place, standing.item, now_ms) from standing

    def note_replay(self, place: ItemKey, token: str, replay: str) -> None:
        """Say by which replay a claimed dead letter is about to run. Raises CannotOperate when the claim is lost."""
        try:
            self.table.update(place, "SET replay = :replay", "claimed_by = :token", {"replay": replay, "token": token})
        except ItemExists as standing:
            raise _refusal(place, standing.item, 0) from standing

    def let_go(self, place: ItemKey, token: str) -> None:
        """Give a claim back, so that nobody has to wait until it has run out."""
        try:
            self.table.update(place, "REMOVE claimed_by, claimed_until_ms", "claimed_by = :token", {"token": token})
        except ItemExists:
            return

    def close(self, place: ItemKey, closing: Closing, token: str | None = None) -> None:
        """Say what became of an item: one that was claimed with `token`, or a free one.

        Raises CannotOperate when it isn't there to be closed.
        """
        condition, own = ("claimed_by = :token", {"token": token}) if token else (_FREE, {"now": closing.at_ms})
        values = {
            "closed": {name: value for name, value in asdict(closing).items() if value},
            "expires": closing.at_ms // 1000 + self.retention_s,
        }
        expression = (
            "SET closed = :closed, expires_at = :expires REMOVE due_bucket, due_at, claimed_by, claimed_until_ms"
        )
        try:
            self.table.update(place, expression, condition, values | own)
        except ItemExists as standing:
            if standing.item.get("closed") != values["closed"]:
                raise _refusal(place, standing.item, closing.at_ms) from standing


def _refusal(place: ItemKey, item: Item, now_ms: int) -> CannotOperate:
    id_ = id_of(place)
    if not item:
        return CannotOperate(f"{id_} is not there any more")
    if "closed" in item:
        closed: Item = item["closed"]
        how, by, because = (closed.get(name, "?") for name in ("how", "by", "because"))
        return CannotOperate(f"{id_} was {how} already, by {by}: {because}")
    wait_s = max(0, item.get("claimed_until_ms", now_ms) - now_ms) // 1000
    return CannotOperate(f"somebody is redriving {id_} at this moment: look again in {wait_s} seconds")
