"""The orders of a sample shop: made up, but the same for the same seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

SOURCE: Final = "/shop/berlin"
_OPENED: Final = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_SKUS: Final = ("MUG-BLUE", "MUG-RED", "TEAPOT-1L", "TEA-ASSAM-250G", "TEA-SENCHA-100G", "SPOON-6", "TRAY-OAK")
_CITIES: Final = ("Leipzig", "Erfurt", "Kassel", "Göttingen", "Köln", "Aachen")
_ORDERS_BEGIN_WITHIN_S: Final = 3_600.0
_CARRIER: Final = "parcel-post"


@dataclass(frozen=True, slots=True)
class ShopEvent:
    """One event of an order, before it becomes bytes."""

    key: str
    at_s: float
    """Seconds since the shop opened; decides the place in the stream."""
    sequence: int
    """Place within the order, from 0."""
    type: str
    details: Mapping[str, Any]
    demo: Mapping[str, str] = field(default_factory=dict)
    """What a worker does wrong with it on purpose, see keyturn_sample.misbehaviour."""

    @property
    def id(self) -> str:
        """Unique within the source."""
        return f"{self.key}/{self.sequence}"

    def as_bytes(self) -> bytes:
        """Write the CloudEvent."""
        data = {"order_id": order_id_of(self.key), "sequence": self.sequence} | dict(self.details)
        event = {
            "specversion": "1.0",
            "id": self.id,
            "source": SOURCE,
            "type": self.type,
            "subject": self.key,
            "time": (_OPENED + timedelta(seconds=self.at_s)).isoformat(timespec="milliseconds"),
            "datacontenttype": "application/json",
            "data": data | ({"demo": dict(self.demo)} if self.demo else {}),
        }
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def order_id_of(key: str) -> str:
    """Return the order's number, which is what its key begins with."""
    return key[:64].partition(" ")[0]


def lifecycle(random: Random, key: str) -> list[ShopEvent]:
    """One order's life without scans: placed, and most times paid and shipped; sometimes cancelled, or still open."""
    lines = _lines(random)
    total_cents = sum(line["quantity"] * random.randint(300, 4_000) for line in lines)
    story: list[tuple[str, Mapping[str, Any]]] = [("placed", {"lines": lines, "total_cents": total_cents})]
    paid = ("paid", {"amount_cents": total_cents, "method": random.choice(("card", "transfer", "wallet"))})
    cancelled = ("cancelled", {"reason": random.choice(("changed my mind", "too slow", "ordered twice"))})
    match random.random():
        case chance if chance < 0.05:
            pass
        case chance if chance < 0.10:
            story.append(cancelled)
        case chance if chance < 0.13:
            story += [paid, cancelled]
        case _:
            story += [paid, ("shipped", {"lines": lines, "carrier": _CARRIER})]
    return list(_in_time(random, key, story))


def regular(random: Random, key: str) -> list[ShopEvent]:
    """One order that is placed, paid and shipped, early in the day: for what the sample needs for sure."""
    while len(events := lifecycle(random, key)) < 3 or not is_shipped(events):
        pass
    early_s = events[0].at_s * 0.95
    return [replace(event, at_s=event.at_s - early_s) for event in events]


def is_shipped(events: list[ShopEvent]) -> bool:
    """Whether a carrier has the order, so that it can be scanned."""
    return events[-1].type == "shop.order.shipped"


def scans(random: Random, behind: ShopEvent, count: int) -> Iterator[ShopEvent]:
    """What the carrier reports of an order's parcel: in bursts, since its scanners send when they find a network."""
    at_s = behind.at_s
    for number in range(1, count + 1):
        at_s += random.uniform(60, 600) if random.random() < 0.2 else random.uniform(0.1, 2)
        place = {"parcel": f"{order_id_of(behind.key)}-P1", "city": random.choice(_CITIES), "scan": number}
        yield ShopEvent(behind.key, at_s, behind.sequence + number, "shop.order.tracked", place)


def _in_time(random: Random, key: str, story: list[tuple[str, Mapping[str, Any]]]) -> Iterator[ShopEvent]:
    at_s = random.uniform(0, _ORDERS_BEGIN_WITHIN_S)
    for sequence, (name, details) in enumerate(story):
        yield ShopEvent(key, at_s, sequence, f"shop.order.{name}", details)
        at_s += random.uniform(20, 900)


def _lines(random: Random) -> list[dict[str, Any]]:
    count = random.choice((1, 1, 1, 2, 2, 3, 5))
    return [{"sku": sku, "quantity": random.choice((1, 1, 1, 2, 6))} for sku in random.sample(_SKUS, count)]
