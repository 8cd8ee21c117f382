"""The events of the sample invocations: two orders of the shop, and a record that is none."""

import json
from typing import Any, Final

KEY: Final = "order-1001"
OTHER_KEY: Final = "order-1002"
LINES: Final = [{"sku": "TEA-ASSAM-250G", "quantity": 2}, {"sku": "MUG-BLUE", "quantity": 1}]

NOT_JSON: Final = b'{"specversion":"1.0","id":"cut off in the mid'


def placed(key: str) -> bytes:
    """An order is placed; it is traced from its producer on."""
    return _event(
        key, 0, "shop.order.placed", {"lines": LINES, "total_cents": 2485},
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )  # fmt: skip


def paid(key: str) -> bytes:
    """It is paid."""
    return _event(key, 1, "shop.order.paid", {"amount_cents": 2485, "method": "card"})


def shipped(key: str) -> bytes:
    """It is on its way."""
    return _event(key, 2, "shop.order.shipped", {"lines": LINES, "carrier": "parcel-post"})


def cancelled(key: str) -> bytes:
    """It is cancelled."""
    return _event(key, 1, "shop.order.cancelled", {"reason": "ordered twice"})


def without_quantity(key: str) -> bytes:
    """An order that its schema refuses."""
    lines = [LINES[0], {"sku": "MUG-BLUE"}]
    return _event(key, 3, "shop.order.placed", {"lines": lines, "total_cents": 2485})


def _event(key: str, sequence: int, event_type: str, details: dict[str, Any], **attributes: Any) -> bytes:
    event = {
        "specversion": "1.0",
        "id": f"{key}/{sequence}",
        "source": "/shop/berlin",
        "type": event_type,
        "subject": key,
        "time": f"2026-01-05T08:00:{sequence:02d}.000Z",
        "datacontenttype": "application/json",
        **attributes,
        "data": {"order_id": key, "sequence": sequence} | details,
    }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
