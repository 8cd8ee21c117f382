"""Records that can't be events: kept whole, with the reason, while the stream goes on."""

from dataclasses import dataclass
from datetime import UTC, datetime

from keyturn.adapters.payloads import PayloadStore
from keyturn.adapters.table import Table
from keyturn.core.event import Rejection
from keyturn.limits import QUARANTINE_INLINE_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Stores rejected records."""

    table: Table
    payloads: PayloadStore
    retention_s: int

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
            "expires_at": now_ms // 1000 + self.retention_s,
        }
        return self.table.put_once(item) is None
