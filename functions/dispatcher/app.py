"""Dispatcher: a batch of Kinesis records in, claimed and started runs out."""

from typing import Any

from keyturn.adapters.telemetry import instrumented
from keyturn.shell.dispatch import dispatch
from keyturn.shell.platform import deployed
from keyturn.shell.start_up import built_at_start
from keyturn.shell.time_budget import has_time

platform = built_at_start(deployed)


@instrumented
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an event source mapping that has ReportBatchItemFailures switched on."""
    return dispatch(platform(), event, has_time(context))
