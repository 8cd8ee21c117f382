"""Notification: tells the customer."""

from typing import Any

from keyturn import Event, StepContext, worker
from keyturn_sample.ledger import ledger, now_ms
from keyturn_sample.misbehaviour import misbehave


@worker
def handler(event: Event, step: StepContext) -> dict[str, Any]:
    """Write the effect into the shop's ledger; the idempotency key makes it happen once."""
    began_at_ms = now_ms()
    misbehave(event, step)
    return {"ledger": ledger().record(event, step, began_at_ms)}
