"""Sequencer: the last state of every execution."""

from functools import cache
from typing import Any

from keyturn.adapters.telemetry import instrumented
from keyturn.shell.platform import deployed
from keyturn.shell.sequence import sequence

platform = cache(deployed)


@instrumented
def handler(payload: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Finish a run and let its key go on."""
    return sequence(platform(), payload)
