"""What one record costs the dispatcher: processor time and AWS calls.

    python -m bench.dispatcher                       # a full batch of 6 MB: 6,500 records of 6,500 keys
    python -m bench.dispatcher --records 500 --keys 50

The dispatcher and botocore are the real ones, down to the signed request; what answers is the tests' model of DynamoDB,
in this process, whose own time is taken off.
"""

from __future__ import annotations

import base64
import io
import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Annotated, Any, Final

import boto3
import typer
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError

from keyturn.adapters import clients
from keyturn.adapters.schemas import load_routes
from keyturn.shell.dispatch import dispatch
from keyturn.shell.platform import Platform
from tests.adapters.wire import SEQUENCE, record
from tests.models.dynamodb import DynamoDB
from tests.shell.world import SETTINGS

RECORD_BYTES: Final = 400
LAMBDA_MB: Final = 1_024
"""The dispatcher's memory in template.yaml; 1,769 MB come with a whole processor (Lambda Developer Guide)."""
_SHARE: Final = LAMBDA_MB / 1_769


class _Answer:
    """A body as urllib3 gives it."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.body


class _InProcess:
    """Answers DynamoDB's requests from a model, and counts calls of every service."""

    def __init__(self) -> None:
        self.model, self.calls, self.own_s = DynamoDB(), Counter[str](), 0.0

    def client(self, service: str) -> Any:
        if service != "dynamodb":
            return _Counted(self, service)
        made = boto3.client("dynamodb", config=clients._CONFIG, region_name="us-east-1")
        made.meta.events.register("before-send.dynamodb", self._send)  # type: ignore[arg-type]  # it may answer itself
        return made

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        began_s = time.thread_time()
        operation = _text(request.headers["X-Amz-Target"]).partition(".")[2]
        self.calls[f"dynamodb.{operation}"] += 1
        try:
            name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation)[1:]
            status, content = 200, getattr(self.model, name)(**_bytes_in(json.loads(request.body)))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            status, content = 400, {"__type": f"com.amazonaws#{code}", "Item": error.response.get("Item", {})}
        body = json.dumps(content, default=lambda raw: base64.b64encode(raw).decode()).encode()
        self.own_s += time.thread_time() - began_s
        return AWSResponse(request.url, status, HTTPHeaders(), _Answer(body))


class _Counted:
    """Any other service: takes every call."""

    def __init__(self, process: _InProcess, service: str) -> None:
        self._process, self._service = process, service

    def __getattr__(self, operation: str) -> Any:
        def call(**_: Any) -> Mapping[str, Any]:
            self._process.calls[f"{self._service}.{operation}"] += 1
            return {}

        return call


def measure(
    records: Annotated[int, typer.Option(min=1, help="Records of the batch.")] = 6_500,
    keys: Annotated[int, typer.Option(min=1, help="Ordering keys that they are of.")] = 6_500,
    slots: Annotated[int, typer.Option(min=1, help="Runs that may be in flight.")] = 300,
) -> None:
    """Dispatch one batch, and tell what a record of it took."""
    process = _InProcess()
    settings = replace(SETTINGS, state_table="state", payload_bucket="payloads", max_in_flight_runs=slots)
    platform = Platform.build(settings, load_routes(), process.client)
    batch = {"Records": [_record(number, keys) for number in range(records)]}
    began_s = time.process_time()
    with redirect_stdout(io.StringIO()):
        answer = dispatch(platform, batch, lambda: True)
    cpu_s = time.process_time() - began_s - process.own_s
    print(f"{records:,} records of {keys:,} keys, {len(json.dumps(batch)) / 1e6:.1f} MB; left: {answer}")
    print(f"processor time   {cpu_s / records * 1e6:,.0f} microseconds a record, {cpu_s:.1f} s in all;")
    print(f"                 {cpu_s / _SHARE:.0f} s on the share of a processor that {LAMBDA_MB:,} MB of Lambda have")
    for name, count in sorted(process.calls.items()):
        print(f"{name:<32}{count:>8,}{count / records:>10.3f} a record")


def _record(number: int, keys: int) -> Mapping[str, Any]:
    key, sequence = f"order-{number % keys}", number // keys
    event = {
        "specversion": "1.0",
        "id": f"{key}/{sequence}",
        "source": "/shop/berlin",
        "type": "shop.order.cancelled",
        "subject": key,
        "time": "2026-01-05T08:00:00.000Z",
        "datacontenttype": "application/json",
        "data": {"order_id": key, "sequence": sequence, "reason": ""},
    }
    missing = RECORD_BYTES - len(json.dumps(event))
    event["data"]["reason"] = "x" * max(1, missing)  # type: ignore[index]
    return record(json.dumps(event).encode(), key, str(int(SEQUENCE) + number))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _bytes_in(content: Any) -> Any:
    """Read a request's JSON as the model takes it: binary values as bytes."""
    if isinstance(content, dict):
        return {
            name: base64.b64decode(value) if name == "B" and isinstance(value, str) else _bytes_in(value)
            for name, value in content.items()
        }
    return list(map(_bytes_in, content)) if isinstance(content, list) else content


if __name__ == "__main__":
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(variable, "none")
    os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "Keyturn")
    os.environ["POWERTOOLS_LOG_LEVEL"] = "ERROR"
    typer.run(measure)
