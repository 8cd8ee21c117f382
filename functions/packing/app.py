"""Packing: lists the lines of an order, for the Map that picks them one by one."""

from typing import Any

from keyturn import Event, StepContext, worker
from keyturn_sample.ledger import ledger, now_ms
from keyturn_sample.misbehaviour import misbehave


@worker
def handler(event: Event, step: StepContext) -> dict[str, Any]:
    """Return the numbers of the lines, not the lines: an order may be larger than what a state may carry."""
    began_at_ms = now_ms()
    misbehave(event, step)
    ledger().record(event, step, began_at_ms)
    return {"lines": list(range(len(event.data["lines"])))}
