"""Sequencer: the last state of every execution."""

from typing import Any

from keyturn.adapters.telemetry import instrumented
from keyturn.shell.platform import deployed
from keyturn.shell.sequence import sequence
from keyturn.shell.start_up import built_at_start

platform = built_at_start(deployed)


@instrumented
def handler(payload: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Finish a run and let its key go on."""
    return sequence(platform(), payload)
