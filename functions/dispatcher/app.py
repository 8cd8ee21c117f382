"""Dispatcher: a batch of Kinesis records in, claimed and started runs out."""

from functools import cache
from typing import Any

from keyturn.adapters.telemetry import instrumented
from keyturn.shell.dispatch import dispatch
from keyturn.shell.platform import deployed
from keyturn.shell.time_budget import has_time

platform = cache(deployed)


@instrumented
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an event source mapping that has ReportBatchItemFailures switched on."""
    return dispatch(platform(), event, has_time(context))
