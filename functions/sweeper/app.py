"""Sweeper: its schedule, once a day."""

from typing import Any

from keyturn.adapters.telemetry import instrumented
from keyturn.shell.platform import deployed
from keyturn.shell.start_up import built_at_start
from keyturn.shell.sweep import sweep
from keyturn.shell.time_budget import has_time

platform = built_at_start(deployed)


@instrumented
def handler(_event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Renew what is unfinished."""
    return dict(sweep(platform(), has_time(context)))
