"""The workload on DBOS with PostgreSQL: a workflow for each event, in a queue that runs one of each key at a time.

    python -m bench.rivals.dbos_app postgresql://...        # jobs on standard input: bench/rivals/job.py

DBOS calls this a partitioned queue with a partition concurrency of one. It looks for work as often as it helped in
trials; its default is once a second.
"""

import sys
import time

import psycopg_pool
from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID

from bench.rivals.job import Event, Row, serve

URL = sys.argv[1]
POLL_EVERY_S = 0.02
PUTTERS = 8
ledger = psycopg_pool.ConnectionPool(URL, min_size=4, max_size=16, open=False)


def effect(step: str, key: str, number: int) -> None:
    """Write one row into the ledger; its serial number tells the true order."""
    with ledger.connection() as connection:
        connection.execute(
            "INSERT INTO effects (key, number, step, at_ms) VALUES (%s, %s, %s, %s)",
            (key, number, step, time.time_ns() // 1_000_000),
        )


@DBOS.step()
def inventory(key: str, number: int) -> None:
    """Reserve the goods."""
    effect("inventory", key, number)


@DBOS.step()
def payment(key: str, number: int) -> None:
    """Book the money."""
    effect("payment", key, number)


@DBOS.step()
def notification(key: str, number: int) -> None:
    """Tell the customer."""
    effect("notification", key, number)


@DBOS.workflow()
def order(key: str, number: int, data: str) -> int:
    """Three durable steps."""
    inventory(key, number)
    payment(key, number)
    notification(key, number)
    return len(data)


def put(event: Event) -> int:
    """Enqueue an event; return when that began."""
    at_ms = time.time_ns() // 1_000_000
    with SetWorkflowID(event.id), SetEnqueueOptions(queue_partition_key=event.key):
        DBOS.enqueue_workflow("orders", order, event.key, event.number, event.data)
    return at_ms


def effects_of(run: str) -> list[Row]:
    """Read a run's effects: key, turn, number, step, time."""
    with ledger.connection() as connection:
        found: list[Row] = connection.execute(
            "SELECT key, id, number, step, at_ms FROM effects WHERE key LIKE %s ORDER BY id", (run + "-%",)
        ).fetchall()
        return found


def count_of(run: str) -> int:
    """Count a run's effects."""
    with ledger.connection() as connection:
        return int(connection.execute("SELECT count(*) FROM effects WHERE key LIKE %s", (run + "-%",)).fetchone()[0])


if __name__ == "__main__":
    ledger.open()
    with ledger.connection() as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS effects"
            " (id bigserial PRIMARY KEY, key text, number int, step text, at_ms bigint, UNIQUE (key, number, step))"
        )
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": URL,
        "log_level": "WARNING",
        "run_admin_server": False,
    }
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue("orders", partition_concurrency=1, polling_interval_sec=POLL_EVERY_S)
    serve(put, effects_of, count_of, putters=PUTTERS)
    DBOS.destroy()
