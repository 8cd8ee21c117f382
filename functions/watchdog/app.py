"""Watchdog: its schedule, status-change events of executions, and wake-up messages."""

from typing import Any

from keyturn.adapters.telemetry import instrumented
from keyturn.shell.platform import deployed
from keyturn.shell.start_up import built_at_start
from keyturn.shell.time_budget import has_time
from keyturn.shell.watch_sources import watch_for

RESERVE_MS = 12_000
"""Left for measuring and filling slots behind a pass over thousands of keys."""

platform = built_at_start(deployed)


@instrumented
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Mend what is stuck; what it is asked by, it tells from the event's shape."""
    return watch_for(platform(), event, has_time(context, RESERVE_MS))
