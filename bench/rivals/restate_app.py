"""The workload on Restate: a virtual object for each key, which runs one event at a time, in three durable steps.

python -m bench.rivals.restate_app serve PORT LEDGER      # the service: its handlers
python -m bench.rivals.restate_app put INGRESS LEDGER     # the client; jobs on standard input: bench/rivals/job.py
"""

import asyncio
import http.client
import json
import sqlite3
import sys
import threading
import time
from typing import Any

import hypercorn
import hypercorn.asyncio
import restate

from bench.rivals.job import Event, Row, serve

PUTTERS = 8
MODE, PLACE, LEDGER = sys.argv[1:4]
orders = restate.VirtualObject("Orders")
local = threading.local()


def ledger() -> sqlite3.Connection:
    """Open this thread's connection to the ledger."""
    if not hasattr(local, "connection"):
        local.connection = sqlite3.connect(LEDGER, timeout=30, isolation_level=None)
        local.connection.execute("PRAGMA journal_mode=WAL")
        local.connection.execute("PRAGMA synchronous=NORMAL")
        local.connection.execute(
            "CREATE TABLE IF NOT EXISTS effects (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, number INT, step TEXT,"
            " at_ms INT, UNIQUE (key, number, step))"
        )
    found: sqlite3.Connection = local.connection
    return found


def effect(step: str, key: str, number: int) -> bool:
    """Write one row into the ledger; its serial number tells the true order."""
    ledger().execute(
        "INSERT INTO effects (key, number, step, at_ms) VALUES (?, ?, ?, ?)",
        (key, number, step, time.time_ns() // 1_000_000),
    )
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


def effects_of(run: str) -> list[Row]:
    """Read a run's effects: key, turn, number, step, time."""
    found = ledger().execute(
        "SELECT key, id, number, step, at_ms FROM effects WHERE key LIKE ? ORDER BY id", (run + "-%",)
    )
    return found.fetchall()


def count_of(run: str) -> int:
    """Count a run's effects."""
    return int(ledger().execute("SELECT count(*) FROM effects WHERE key LIKE ?", (run + "-%",)).fetchone()[0])


if __name__ == "__main__":
    ledger()
    if MODE == "serve":
        config = hypercorn.Config()
        config.bind = [f"127.0.0.1:{PLACE}"]
        config.h2_max_concurrent_streams = 2**31 - 1
        asyncio.run(hypercorn.asyncio.serve(restate.app(services=[orders]), config))
    else:
        serve(put, effects_of, count_of, putters=PUTTERS)
