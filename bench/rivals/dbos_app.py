"""The workload on DBOS with PostgreSQL: a workflow for each event, in a queue that runs one of each key at a time.

    python -m bench.rivals.dbos_app postgresql://...        # jobs on standard input: bench/rivals/job.py

DBOS calls this a partitioned queue with a partition concurrency of one. It looks for work as often as it helped in
trials; its default is once a second.
"""

import sys
import time

from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID

from bench.rivals.job import Event, serve
from bench.workers import ledger

URL = sys.argv[1]
POLL_EVERY_S = 0.02
PUTTERS = 8


@DBOS.step()
def inventory(key: str, number: int) -> None:
    """Reserve the goods."""
    ledger.write("inventory", key, number)


@DBOS.step()
def payment(key: str, number: int) -> None:
    """Book the money."""
    ledger.write("payment", key, number)


@DBOS.step()
def notification(key: str, number: int) -> None:
    """Tell the customer."""
    ledger.write("notification", key, number)


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


if __name__ == "__main__":
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": URL,
        "log_level": "WARNING",
        "run_admin_server": False,
    }
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue("orders", partition_concurrency=1, polling_interval_sec=POLL_EVERY_S)
    serve(put, putters=PUTTERS)
    DBOS.destroy()
