"""Records as Lambda gets them from Kinesis, for tests."""

import base64
import json
from typing import Any

SEQUENCE = "49590338271490256608559692538361571095921575989136588898"
SHARD = "shardId-000000000006"
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/shop",
    "type": "shop.order.placed",
    "data": {"order_id": "1", "sequence": 0, "lines": [{"sku": "a", "quantity": 1}], "total_cents": 1},
}


def event(**changes: Any) -> bytes:
    """Write an event with attributes changed; `...` leaves one out."""
    return json.dumps({name: value for name, value in (EVENT | changes).items() if value is not ...}).encode()


def record(data: bytes, key: str = "order-1", sequence_number: str = SEQUENCE) -> dict[str, Any]:
    """Wrap data as one element of `Records`."""
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": key,
            "sequenceNumber": sequence_number,
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": 1545084650.987,
        },
        "eventSource": "aws:kinesis",
        "eventID": f"{SHARD}:{sequence_number}",
    }
