"""Recognises an event that its producer sent again: same `source` and `id`, another place in the stream."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from keyturn.adapters.keys import partition
from keyturn.adapters.table import Item, Table, reading
from keyturn.core.positions import Position

_ID: Final = "id#"
_DUPLICATE: Final = "duplicate#"


@dataclass(frozen=True, slots=True)
class Identified:
    """An event's identity within its key, and where the stream has it."""

    key: str
    identity: str
    """Hash of source and id."""
    position: Position


@dataclass(frozen=True, slots=True)
class DuplicateIndex:
    """Remembers where each identity of a key came first, for the window, and what came again."""

    table: Table
    window_s: int

    def first_positions(self, events: Iterable[Identified]) -> dict[tuple[str, str], Position]:
        """Return where each known (key, identity) came first. What is expired may still be known, which is harmless."""
        wanted = {(partition(event.key), _ID + event.identity): (event.key, event.identity) for event in events}
        found = self.table.get_many(wanted)
        with reading("the identity of an event"):
            return {wanted[place]: Position(item["position"]) for place, item in found.items()}

    def remember(self, events: Iterable[Identified], now_ms: int) -> None:
        """Note where identities came first."""
        self.table.put_many(self.items(events, now_ms))

    def items(self, events: Iterable[Identified], now_ms: int) -> list[Item]:
        """Return the items that note where identities came first."""
        expires_at = now_ms // 1000 + self.window_s
        return [
            {
                "pk": partition(event.key),
                "sk": _ID + event.identity,
                "position": event.position,
                "expires_at": expires_at,
            }
            for event in events
        ]

    def record(self, event: Identified, first: Position, now_ms: int) -> bool:
        """Record that an event came again; False when this very record was recorded before."""
        item = {
            "pk": partition(event.key),
            "sk": _DUPLICATE + event.position,
            "of": first,
            "recorded_at_ms": now_ms,
            "expires_at": now_ms // 1000 + self.window_s,
        }
        return self.table.put_once(item) is None
