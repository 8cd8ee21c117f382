"""Events for drills: the sample shop's, on keys of their own."""

from __future__ import annotations

import json
from typing import Any, Final

SOURCE: Final = "/drills"
_ORDER: Final = "drill"


def paid(key: str, number: int = 0, **demo: str) -> bytes:
    """An order was paid: the order workflow, Standard. `demo`: which worker does what wrong."""
    return _event(key, number, "shop.order.paid", {"amount_cents": 5, "method": "card"}, demo)


def cancelled(key: str, number: int = 0, **demo: str) -> bytes:
    """An order was cancelled: the order workflow, Express."""
    return _event(key, number, "shop.order.cancelled", {"reason": "a drill"}, demo)


def tracked(key: str, number: int = 0) -> bytes:
    """A parcel was scanned: one step, Express, ten events a run at most."""
    return _event(key, number, "shop.order.tracked", {"parcel": "P1", "city": "Kassel", "scan": number + 1}, {})


def permit(key: str, number: int = 0, **more: Any) -> bytes:
    """An activity of a permit office, whose data may hold anything: the order workflow, Express, ten events a run."""
    data = {"case": key, "n": number, "activity": "drill", **more}
    return _envelope(key, number, "permit.activity", data)


def _event(key: str, number: int, type_: str, details: dict[str, Any], demo: dict[str, str]) -> bytes:
    data = {"order_id": _ORDER, "sequence": number, **details}
    return _envelope(key, number, type_, data | ({"demo": demo} if demo else {}))


def _envelope(key: str, number: int, type_: str, data: dict[str, Any]) -> bytes:
    event = {"specversion": "1.0", "id": f"{key}/{number}", "source": SOURCE, "type": type_, "subject": key}
    return json.dumps(event | {"data": data}, ensure_ascii=False, separators=(",", ":")).encode()
