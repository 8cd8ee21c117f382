"""The log of a key: its events in position order, each written once and never changed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from keyturn.adapters.keys import key_of, partition
from keyturn.adapters.table import Item, ScannedPage, Table, reading
from keyturn.core.log_entry import LogEntry, PayloadReference
from keyturn.core.positions import Position
from keyturn.core.replay_plan import Heading, Selection

EVENT: Final = "event#"
_HEADING_NAMES: Final = ("#sk", "#type", "#flow_id", "#arrived_at_ms")
_SCANNED_NAMES: Final = ("#type", "#flow_id", "#arrived_at_ms")


@dataclass(frozen=True, slots=True)
class EventLog:
    """Reads and writes the logs of keys."""

    table: Table
    retention_s: int

    def write(self, entries: Iterable[tuple[str, LogEntry]], now_ms: int, beside: Sequence[Item] = ()) -> None:
        """Write (key, entry) pairs, in the same calls as what belongs `beside` them.

        Writing one again is harmless. Raises Throttled when some may not be written.
        """
        expires_at = now_ms // 1000 + self.retention_s
        items = [_encode(key, entry) | {"admitted_at_ms": now_ms, "expires_at": expires_at} for key, entry in entries]
        together = (item for pair in zip_longest(items, beside) for item in pair)
        self.table.put_many([item for item in together if item is not None])

    def present(self, places: Iterable[tuple[str, Position]]) -> set[tuple[str, Position]]:
        """Tell which (key, position) pairs are in the log."""
        wanted = {(partition(key), EVENT + position): (key, position) for key, position in places}
        return {wanted[place] for place in self.table.get_many(wanted)}

    def read(self, key: str, first: Position, last: Position) -> list[LogEntry]:
        """Read the entries from `first` through `last`, strongly consistent."""
        return self._query(key, EVENT + first, EVENT + last, None)

    def read_behind(self, key: str, cursor: Position, through: Position, limit: int) -> Sequence[LogEntry]:
        """Read at most `limit` entries behind `cursor`, up to `through`, strongly consistent."""
        # "!" sorts right behind the last character of a position's own text, so the cursor itself is left out.
        return self._query(key, f"{EVENT}{cursor}!", EVENT + through, limit)

    def headings(self, key: str, first: Position, last: Position) -> list[Heading]:
        """Read the entries from `first` through `last` without their content, strongly consistent."""
        arguments = {
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ProjectionExpression": ", ".join(_HEADING_NAMES),
            "ExpressionAttributeNames": {name: name.removeprefix("#") for name in _HEADING_NAMES},
            "ConsistentRead": True,
        }
        values = {"pk": partition(key), "low": EVENT + first, "high": EVENT + last}
        return [_heading(item) for item in self.table.query(arguments, values)]

    def scan(self, selection: Selection, after: str) -> ScannedPage:
        """Read the next page of the whole table; its items' `pk` and `sk` are those of events that may be selected."""
        conditions, values = ["begins_with(#sk, :event)"], dict[str, str | int]({"event": EVENT})
        for condition, name, value in _scan_conditions(selection):
            if value:
                conditions.append(condition)
                values[name] = value
        used = {name: name.removeprefix("#") for name in _SCANNED_NAMES if any(name in one for one in conditions)}
        arguments = {
            "FilterExpression": " AND ".join(conditions),
            "ProjectionExpression": "#pk, #sk",
            "ExpressionAttributeNames": {"#pk": "pk", "#sk": "sk", **used},
        }
        return self.table.scan_page(arguments, values, after)

    def _query(self, key: str, low: str, high: str, limit: int | None) -> list[LogEntry]:
        arguments = {"KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high", "ConsistentRead": True}
        values = {"pk": partition(key), "low": low, "high": high}
        return [_decode(item) for item in self.table.query(arguments, values, limit)]


def _scan_conditions(selection: Selection) -> list[tuple[str, str, str | int]]:
    before, star, _ = selection.type.partition("*")
    return [
        ("begins_with(#type, :type)" if star else "#type = :type", "type", before),
        ("#flow_id = :flow_id", "flow_id", selection.flow_id),
        ("#arrived_at_ms >= :from_ms", "from_ms", selection.from_ms),
        ("#arrived_at_ms <= :to_ms", "to_ms", selection.to_ms),
    ]


def place_of(item: Item) -> tuple[str, Position]:
    """Return the (key, position) of an event's item."""
    return key_of(item["pk"]), Position(item["sk"].removeprefix(EVENT))


def _heading(item: Item) -> Heading:
    with reading("an event of a key's log"):
        return Heading(Position(item["sk"].removeprefix(EVENT)), item["type"], item["flow_id"], item["arrived_at_ms"])


def _encode(key: str, entry: LogEntry) -> dict[str, Any]:
    content = entry.content
    return {
        "pk": partition(key),
        "sk": EVENT + entry.position,
        "event": content if isinstance(content, bytes) else None,
        "payload": None if isinstance(content, bytes) else content.as_item(),
        "type": entry.type,
        "flow_id": entry.flow_id,
        "arrived_at_ms": entry.arrived_at_ms,
    }


def _decode(item: Item) -> LogEntry:
    with reading("an event of a key's log"):
        return LogEntry(
            position=Position(item["sk"].removeprefix(EVENT)),
            type=item["type"],
            flow_id=item["flow_id"],
            arrived_at_ms=item["arrived_at_ms"],
            content=item["event"] if "event" in item else PayloadReference.from_item(item["payload"]),
        )
