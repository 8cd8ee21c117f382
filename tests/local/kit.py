"""What the tests of the event source share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from collections.abc import Mapping as MappingOf

from keyturn_local.poller.core import Record
from keyturn_local.poller.mapping import Mapping
from keyturn_local.poller.source import EventSource

STREAM_ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/orders"
FUNCTION_ARN = "arn:aws:lambda:us-east-1:000000000000:function:dispatcher"
LIMIT_S = 60.0
"""After this long nothing comes any more: far beyond what a slow machine needs, for no right code waits for it."""


def mapping(**settings: object) -> Mapping:
    """A mapping that reports item failures, else with AWS's defaults."""
    values: dict[str, object] = {
        "uuid": "5f5c6a3e-0000-4000-8000-000000000000",
        "stream_arn": STREAM_ARN,
        "function_arn": FUNCTION_ARN,
        "report_item_failures": True,
    }
    return Mapping(**(values | settings))  # type: ignore[arg-type]  # the tests name fields


def record(sequence: int, key: str = "k", *, at_s: float = 0.0, wire_bytes: int = 100) -> Record:
    """A record that arrived and was fetched at `at_s`."""
    return Record(sequence, str(sequence), key, at_s, at_s, b"x" * wire_bytes)


def until(condition: Callable[[], bool], *, limit_s: float = LIMIT_S, what: str = "it") -> None:
    """Wait for a condition; the test fails if it doesn't come true in time."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not happen within {limit_s} s"
        time.sleep(0.01)


def until_settled(put: MappingOf[str, list[str]], sources: Iterable[EventSource]) -> None:
    """Wait until the event sources counted as many records as were put.

    They count in threads of their own, behind the function's answer: what the function took may not be settled yet.
    """
    count = sum(map(len, put.values()))
    counting = tuple(sources)
    until(lambda: sum(source.status().done for source in counting) >= count, what=f"the end of {count} records")
