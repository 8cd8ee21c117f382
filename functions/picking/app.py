"""Picking: takes one line of an order from the shelf."""

from typing import Any

from keyturn import Event, StepContext, worker
from keyturn_sample.ledger import ledger, now_ms
from keyturn_sample.misbehaviour import misbehave


@worker
def handler(event: Event, step: StepContext) -> dict[str, Any]:
    """Pick the line that this iteration of the Map is about."""
    began_at_ms = now_ms()
    misbehave(event, step)
    line = event.data["lines"][step.payload["line"]]
    return {"sku": line["sku"], "ledger": ledger().record(event, step, began_at_ms)}
