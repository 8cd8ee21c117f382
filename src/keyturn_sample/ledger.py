"""The shop's ledger: what the sample's workers really did, in the order in which they did it.

It stands for the payment provider or warehouse of a real shop. Every effect first takes the next number of its key,
by an atomic counter, so that the numbers tell the true order, whatever any clock said.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Self

from botocore.exceptions import ClientError

from keyturn import Event, StepContext
from keyturn.adapters.clients import client

_COUNTER: Final = "sequence"
_EFFECT: Final = "effect#"


@dataclass(frozen=True, slots=True)
class Ledger:
    """Writes effects; each once, however often its step is tried."""

    client: Any
    table: str

    @classmethod
    def from_environment(cls) -> Self:
        """Open the ledger of the stack that this function belongs to."""
        return cls(client("dynamodb"), os.environ["LEDGER_TABLE"])

    def record(self, event: Event, step: StepContext, began_at_ms: int) -> int:
        """Do the step's effect, and return its number within the key."""
        number = self._count(step.key, _COUNTER)
        item = {
            "pk": {"S": step.key},
            "sk": {"S": _EFFECT + step.idempotency_key},
            "sequence": {"N": str(number)},
            "step": {"S": step.step},
            "event_id": {"S": event.id},
            "ordinal": {"N": str(_ordinal(event))},
            "position": {"S": step.position},
            "attempt": {"N": str(step.attempt)},
            "fence": {"N": str(step.fence)},
            "began_at_ms": {"N": str(began_at_ms)},
            "ended_at_ms": {"N": str(now_ms())},
        }
        try:
            self.client.put_item(TableName=self.table, Item=item, ConditionExpression="attribute_not_exists(pk)")
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
        return number

    def tries(self, step: StepContext) -> int:
        """Count a try at a step, durably, and return the how many-th it is."""
        return self._count(step.key, f"tries#{step.idempotency_key}")

    def is_down(self, step: StepContext) -> bool:
        """Whether somebody switched the downstream of a step off: `is_down` at `demo` / `outage#STEP` of the table."""
        return bool(self._add("demo", f"outage#{step.step}").get("is_down", {}).get("BOOL"))

    def _count(self, key: str, counter: str) -> int:
        return int(self._add(key, counter)["n"]["N"])

    def _add(self, key: str, counter: str) -> Mapping[str, Mapping[str, Any]]:
        answer = self.client.update_item(
            TableName=self.table,
            Key={"pk": {"S": key}, "sk": {"S": counter}},
            UpdateExpression="ADD n :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValues="ALL_NEW",
        )
        item: Mapping[str, Mapping[str, Any]] = answer["Attributes"]
        return item


@cache
def ledger() -> Ledger:
    """Return this process's ledger."""
    return Ledger.from_environment()


def now_ms() -> int:
    """Tell the time in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def _ordinal(event: Event) -> int:
    """Return the producer's own number of an event within its key."""
    return int(event.data.get("sequence", event.data.get("n", 0)))
