"""Records that can't be events: kept whole, with the reason, while the stream goes on."""

from dataclasses import dataclass
from datetime import UTC, datetime

from keyturn.adapters.open_items import Kind, due_attributes
from keyturn.adapters.payloads import PayloadStore
from keyturn.adapters.table import Item, Table, reading
from keyturn.core.event import Rejection
from keyturn.core.log_entry import PayloadReference
from keyturn.limits import QUARANTINE_INLINE_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Stores rejected records; what becomes of them later is `open_items`'."""

    table: Table
    payloads: PayloadStore
    retention_s: int
    index_buckets: int

    def put(self, rejection: Rejection, now_ms: int) -> bool:
        """Keep a record; False when it was kept before. The same record always goes to the same place."""
        arrived = datetime.fromtimestamp(rejection.arrived_at_ms / 1000, UTC).date().isoformat()
        is_large = len(rejection.raw) > QUARANTINE_INLINE_BYTES_MAX
        payload = self.payloads.put(rejection.key, rejection.position, rejection.raw) if is_large else None
        item = {
            "pk": f"quarantine#{arrived}",
            "sk": f"{rejection.shard}#{rejection.position}",
            "key": rejection.key,
            "reason": rejection.reason.value,
            "detail": rejection.detail,
            "raw": None if is_large else rejection.raw,
            "payload": payload.as_item() if payload else None,
            "arrived_at_ms": rejection.arrived_at_ms,
            "quarantined_at_ms": now_ms,
            "bytes": len(rejection.raw),
            "expires_at": now_ms // 1000 + self.retention_s,
            **due_attributes(Kind.QUARANTINE, rejection.key, rejection.arrived_at_ms, self.index_buckets),
        }
        return self.table.put_once(item) is None

    def raw_of(self, item: Item) -> bytes:
        """Return a record's bytes as they came. Raises PayloadError or StoreError when they can't be had."""
        return raw_of(self.payloads, item)


def raw_of(payloads: PayloadStore, item: Item) -> bytes:
    """Return a quarantined record's bytes, wherever they lie. Raises PayloadError or StoreError."""
    with reading("a quarantined record"):
        reference = PayloadReference.from_item(item["payload"]) if "payload" in item else None
        raw: bytes = item["raw"] if reference is None else b""
    return raw if reference is None else payloads.get(reference)
