"""Finds open items: by page, by ID, by reason. Reads the index and single items, with the caller's own rights."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Self

from keyturn.adapters.index import DueIndex, Entry
from keyturn.adapters.open_items import Kind, OpenItems, id_of
from keyturn.adapters.payloads import PayloadStore
from keyturn.adapters.table import Item, ItemKey, Table
from keyturn_cli.errors import CliError, NotFound, Refused
from keyturn_cli.looking.wording import counted
from keyturn_cli.target import Target

_AT_ONCE: Final = 100

ATTRIBUTES: Final = (
    "key", "reason", "detail", "bytes", "arrived_at_ms", "quarantined_at_ms", "position", "type", "route", "at_ms",
    "closed",
)  # fmt: skip
"""What a list shows: everything but the record's bytes."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a kind of item is called."""

    kind: Kind
    group: str
    """Of its commands."""
    one: str
    many: str

    def counted(self, number: int) -> str:
        """So many of them."""
        return counted(number, self.one, self.many)


QUARANTINED: Final = Words(Kind.QUARANTINE, "quarantine", "quarantined record", "quarantined records")
DEAD_LETTERS: Final = Words(Kind.DEAD_LETTER, "deadletter", "dead letter", "dead letters")


@dataclass(frozen=True, slots=True)
class Found:
    """One item, without its bytes."""

    entry: Entry
    item: Item

    @property
    def place(self) -> ItemKey:
        """Where it stands."""
        return self.entry.pk, self.entry.sk

    @property
    def id(self) -> str:
        """What people call it by."""
        return id_of(self.place)

    @property
    def key(self) -> str:
        """Its ordering key."""
        return str(self.item["key"])


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a command's items are named: exactly one of the three."""

    ids: Sequence[str] | None
    reason: str | None
    every: bool


@dataclass(frozen=True)
class Items:
    """The items of one kind in one stack."""

    words: Words
    store: OpenItems
    payloads: PayloadStore
    matches: Callable[[str, str], bool] = field(default=lambda reason, wanted: reason == wanted)
    """Whether a reason is the one that was asked for."""

    @classmethod
    def of(cls, target: Target, words: Words, matches: Callable[[str, str], bool]) -> Self:
        """Those of a deployed stack."""
        table = Table(target.client("dynamodb"), target.outputs.state_table_name)
        index = DueIndex(table, int(target.environment["INDEX_BUCKETS"]))
        payloads = PayloadStore(target.client, target.outputs.payload_bucket_name)
        return cls(words, OpenItems(table, index, retention_s=0), payloads, matches)

    def count(self) -> int:
        """Count what is open."""
        return self.store.count(self.words.kind)

    def opened(self, after: Entry | None = None, reason: str | None = None) -> Iterator[Found]:
        """Yield what is open, the oldest first; read as it is taken."""
        entries = self.store.listed(self.words.kind, after)
        while chunk := list(islice(entries, _AT_ONCE)):
            items = self.store.load([(entry.pk, entry.sk) for entry in chunk], ATTRIBUTES)
            for entry in chunk:
                item = items.get((entry.pk, entry.sk))
                # the index may name for a moment what is closed by now
                if item and "closed" not in item and (reason is None or self.matches(item["reason"], reason)):
                    yield Found(entry, item)

    def named(self, ids: Sequence[str]) -> list[Found]:
        """Find items by their IDs, open or not. Raises NotFound with the first that isn't there."""
        places = self.store.places_of(self.words.kind, set(ids))
        for id_ in ids:
            if id_ not in places:
                raise NotFound(
                    f"no {self.words.one} has the ID {id_!r}. List those that are open: keyturn {self.words.group} list"
                )
        items = self.store.load(places.values(), ATTRIBUTES)
        return [
            Found(Entry(_at_ms(items[place]), *place), items[place])
            for place in dict.fromkeys(places[id_] for id_ in ids)
            if place in items
        ]

    def chosen(self, chosen: Chosen) -> list[Found]:
        """Return what a command is about. Raises NotFound when that is nothing, Refused when one is closed."""
        ids, reason = chosen.ids, chosen.reason
        if bool(ids) + (reason is not None) + chosen.every != 1:
            raise CliError(f"say which {self.words.many}: their IDs, or --reason, or --all")
        found = self.named(ids) if ids else list(self.opened(reason=reason))
        for one in found:
            if closed := one.item.get("closed"):
                raise Refused(f"{one.id} was {closed['how']} already, by {closed['by']}. Nothing was changed")
        if not found:
            which = f"open {self.words.one} has the reason {reason!r}" if reason else f"{self.words.one} is open"
            raise NotFound(f"no {which}: there is nothing to do")
        return found


def _at_ms(item: Item) -> int:
    return int(item.get("at_ms") or item.get("arrived_at_ms") or 0)


def token_of(entry: Entry) -> str:
    """Write down where a page ended."""
    return base64.urlsafe_b64encode(json.dumps([entry.at_ms, entry.pk, entry.sk]).encode()).decode().rstrip("=")


def entry_of(token: str) -> Entry:
    """Read where a page ended. Raises CliError when that is no token of ours."""
    try:
        content: Any = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        at_ms, pk, sk = content
        return Entry(int(at_ms), str(pk), str(sk))
    except (binascii.Error, ValueError, TypeError) as error:
        raise CliError(f"--after {token!r} is not what a list printed: copy it whole, or leave it out") from error
