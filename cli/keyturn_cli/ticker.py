"""Invokes a deployed function again and again, beside whatever else invokes it.

One invocation at a time: were a slow one (a cold start on a busy machine) not waited for, the next ones would each
start a process of their own and make everything slower still.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from keyturn_cli.target import Target

_ANSWER_S = 60
"""Longer than the watchdog's own timeout."""


@dataclass(slots=True)
class Tally:
    """How often the function was invoked, and how often that failed."""

    invoked: int = 0
    failed: int = 0


@contextmanager
def ticking(target: Target, function_name: str, every_s: float) -> Iterator[Tally]:
    """Invoke a function every so many seconds until the block ends, which doesn't wait for an answer."""
    tally, ended = Tally(), threading.Event()
    client = target.patient_client(
        "lambda", _ANSWER_S
    )  # boto3's sessions aren't to be shared between threads; clients may be
    thread = threading.Thread(
        target=_tick, args=(client, function_name, every_s, tally, ended), name="ticker", daemon=True
    )
    thread.start()
    try:
        yield tally
    finally:
        ended.set()


def _tick(client: Any, function_name: str, every_s: float, tally: Tally, ended: threading.Event) -> None:
    while not ended.wait(every_s):
        try:
            client.invoke(FunctionName=function_name, Payload=json.dumps({"source": "keyturn demo"}))
            tally.invoked += 1
        except (ClientError, BotoCoreError):
            tally.failed += 1  # the next one comes soon; the report tells
