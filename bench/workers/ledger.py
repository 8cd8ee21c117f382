"""The effects of every contender's steps: rows of one SQLite file, so that all pay the same for them, which is little.

Standard library only: it runs in the engine's functions and in the rivals' own environments. The file is named by
BENCH_LEDGER. A row's serial number tells the true order, whatever a clock said.
"""

import os
import sqlite3
import threading
import time

PLACE = "BENCH_LEDGER"
_local = threading.local()

Row = tuple[str, int, int, str, int]
"""Key, turn, number of the event within its key, step, epoch milliseconds."""


def connection() -> sqlite3.Connection:
    """Open this thread's connection."""
    if not hasattr(_local, "connection"):
        _local.connection = sqlite3.connect(os.environ[PLACE], timeout=60, isolation_level=None)
        _local.connection.execute("PRAGMA journal_mode=WAL")
        _local.connection.execute("PRAGMA synchronous=NORMAL")
        _local.connection.execute(
            "CREATE TABLE IF NOT EXISTS effects (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, number INT, step TEXT,"
            " at_ms INT, UNIQUE (key, number, step))"
        )
    found: sqlite3.Connection = _local.connection
    return found


def write(step: str, key: str, number: int) -> None:
    """Do a step's effect, once however often it is asked for."""
    connection().execute(
        "INSERT INTO effects (key, number, step, at_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (key, number, step, time.time_ns() // 1_000_000),
    )


def effects_of(run: str) -> list[Row]:
    """Read a run's effects in their order: keys begin with the run's name and a hyphen."""
    found = connection().execute(
        "SELECT key, id, number, step, at_ms FROM effects WHERE key >= ? AND key < ? ORDER BY id", _bounds(run)
    )
    return found.fetchall()


def count_of(run: str) -> int:
    """Count a run's effects."""
    found = connection().execute("SELECT count(*) FROM effects WHERE key >= ? AND key < ?", _bounds(run))
    return int(found.fetchone()[0])


def _bounds(run: str) -> tuple[str, str]:
    return f"{run}-", f"{run}."
