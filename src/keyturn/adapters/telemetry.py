"""Logs and metrics, through Powertools. No payload ever reaches either."""

import logging
import os
from collections import Counter
from collections.abc import Callable
from functools import cache, wraps
from threading import Lock
from typing import Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

from keyturn.adapters.usage import MESSAGE, usage
from keyturn.core.naming import key_hash
from keyturn.core.run_header import RunHeader

_METRICS_LOCK = Lock()

_COUNTS: Final = Counter[str]()
"""What was counted in this invocation. A batch of thousands of keys would fill a line for each hundred of them."""

_LIBRARIES: Final = ("boto3", "botocore", "s3transfer", "urllib3")


@cache
def logger() -> Logger:
    """Return this process's logger: JSON lines with the function's name as service."""
    for name in _LIBRARIES:
        # With LogLevel DEBUG Lambda's runtime lets every logger speak, and theirs would tell requests with payloads.
        logging.getLogger(name).setLevel(logging.WARNING)
    made = Logger(log_uncaught_exceptions=False, location=None)
    # Powertools goes by Lambda's own level where there is one, and that is INFO even where less is wanted: the
    # runtime would drop the metrics with the lines.
    logging.getLogger(made.name).setLevel(os.environ.get("POWERTOOLS_LOG_LEVEL", "INFO"))
    return made


@cache
def metrics() -> Metrics:
    """Return this process's metrics, in CloudWatch's embedded format, with the stack's name as their only dimension."""
    return Metrics(service=os.environ.get("STACK_NAME", "keyturn"))


def count(name: str, value: int = 1) -> None:
    """Add to a counter, which is written as one number when the invocation is over."""
    with _METRICS_LOCK:
        _COUNTS[name] += value
    usage().add(f"counted {name}", value)


def duration_ms(name: str, value: int) -> None:
    """Note a duration in milliseconds."""
    _add(name, MetricUnit.Milliseconds, value)


def oldest_unfinished(age_ms: int) -> None:
    """Note how long an event has been unfinished that is older than others."""
    _add("OldestUnfinishedAge", MetricUnit.Seconds, max(0, age_ms) / 1000)


def _add(name: str, unit: MetricUnit, value: float) -> None:
    # Keys are worked on side by side, and Powertools' metrics are made for one thread.
    with _METRICS_LOCK:
        metrics().add_metric(name=name, unit=unit, value=value)


def loggable(key: str, *, is_personal: bool) -> str:
    """Return a key as logs may show it: hashed where its route says that it is personal."""
    return key_hash(key) if is_personal else key


def instrumented(handle: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Wrap a Lambda handler: request id on every log line, metrics written when it returns or raises.

    Powertools' own decorator would put five more fields about the function on each line, a third of what is logged.
    """

    @wraps(handle)
    def wrapped(event: Any, context: Any) -> Any:
        logger().clear_state()
        logger().append_keys(request_id=getattr(context, "aws_request_id", ""))
        try:
            return handle(event, context)
        finally:
            flush()

    return wrapped


def flush() -> None:
    """Write the metrics of an invocation, and what it used if the stack is metered: a line each."""
    for name, value in _COUNTS.items():
        _add(name, MetricUnit.Count, value)
    _COUNTS.clear()
    if metrics().metric_set:
        metrics().flush_metrics()
    used = usage().take()
    if usage().is_on:
        logger().info(MESSAGE, extra={"used": used})


def run_fields(header: RunHeader) -> dict[str, object]:
    """Return what every log line about a run carries, from its execution's input."""
    return {
        "flow_id": header.flow_id,
        "key": loggable(header.key, is_personal=header.is_personal),
        "position": header.first,
        "attempt": header.attempt,
        "fence": header.fence,
        "route": header.route,
    }
