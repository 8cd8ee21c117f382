"""Operator: what people ask of keys and routes, through the `keyturn` command."""

from typing import Any

from keyturn.adapters.telemetry import instrumented
from keyturn.shell.operator_requests import answer
from keyturn.shell.platform import deployed
from keyturn.shell.start_up import built_at_start

platform = built_at_start(deployed)


@instrumented
def handler(request: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Carry out a command, or say why not."""
    return answer(platform(), request)
