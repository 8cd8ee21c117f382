"""The alarm clock: delayed messages that bring a key back to the watchdog between its passes."""

import json
from dataclasses import dataclass
from typing import Any

from keyturn.adapters.failures import translated
from keyturn.limits import MESSAGE_DELAY_S_MAX


@dataclass(frozen=True, slots=True)
class WakeQueue:
    """Sends keys to the watchdog, later. A lost message costs time only: the index is the truth."""

    client: Any
    url: str

    def wake_at(self, key: str, at_ms: int, now_ms: int) -> None:
        """Have the watchdog look at a key at `at_ms`, or after 15 minutes (the longest delay) if that is sooner."""
        delay_s = max(0, -(-(at_ms - now_ms) // 1000))
        with translated("sending a wake-up message"):
            self.client.send_message(
                QueueUrl=self.url,
                MessageBody=json.dumps({"key": key, "at_ms": at_ms}),
                DelaySeconds=min(delay_s, MESSAGE_DELAY_S_MAX),
            )
