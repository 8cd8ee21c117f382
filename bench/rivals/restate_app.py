"""The workload on Restate: a virtual object for each key, which runs one event at a time, in three durable steps.

python -m bench.rivals.restate_app serve PORT      # the service: its handlers
python -m bench.rivals.restate_app put INGRESS     # the client; jobs on standard input: bench/rivals/job.py
"""

import asyncio
import http.client
import json
import sys
import threading
import time
from typing import Any

import hypercorn
import hypercorn.asyncio
import restate

from bench.rivals.job import Event, serve
from bench.workers import ledger

PUTTERS = 8
MODE, PLACE = sys.argv[1:3]
orders = restate.VirtualObject("Orders")
local = threading.local()


def effect(step: str, key: str, number: int) -> bool:
    """Do a step's effect."""
    ledger.write(step, key, number)
    return True


@orders.handler("order")
async def order(context: restate.ObjectContext, event: dict[str, Any]) -> int:
    """Three durable steps."""
    for step in ("inventory", "payment", "notification"):
        await context.run_typed(step, effect, restate.RunOptions(), step, context.key(), event["number"])
    return len(event["data"])


def put(event: Event) -> int:
    """Send an event to its key's object; return when that began. Restate has taken it when it answers."""
    if not hasattr(local, "ingress"):
        local.ingress = http.client.HTTPConnection(PLACE)
    at_ms = time.time_ns() // 1_000_000
    body = json.dumps({"number": event.number, "data": event.data})
    headers = {"content-type": "application/json", "idempotency-key": event.id}
    local.ingress.request("POST", f"/Orders/{event.key}/order/send", body, headers)
    answer = local.ingress.getresponse()
    said = answer.read()
    if answer.status not in (200, 202):
        raise RuntimeError(f"Restate answered {answer.status} to {event.id}: {said[:200]!r}")
    return at_ms


if __name__ == "__main__":
    if MODE == "serve":
        config = hypercorn.Config()
        config.bind = [f"127.0.0.1:{PLACE}"]
        config.h2_max_concurrent_streams = 2**31 - 1
        asyncio.run(hypercorn.asyncio.serve(restate.app(services=[orders]), config))
    else:
        serve(put, putters=PUTTERS)
