"""Functions on an engine of the tests' own."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from keyturn_local.clients import client_options, local_session
from keyturn_local.settings import LocalSettings


def client(settings: LocalSettings, service: str, *, attempts: int = 3) -> Any:
    """A client of the engine."""
    options = client_options(settings, attempts=attempts)
    return local_session(settings.region).client(service, **options)  # type: ignore[call-overload]  # any service


def create_function(settings: LocalSettings, name: str, code: str, *, timeout_s: int = 60) -> None:
    """Create a function from the text of its app.py, and wait until it can be invoked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", code)
    functions = client(settings, "lambda")
    functions.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role="arn:aws:iam::000000000000:role/tests",
        Handler="app.handler",
        Code={"ZipFile": buffer.getvalue()},
        Timeout=timeout_s,
    )
    functions.get_waiter("function_active_v2").wait(FunctionName=name)


def create_stream(settings: LocalSettings, name: str, shards: int = 1) -> str:
    """Create a stream; its ARN."""
    kinesis = client(settings, "kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=shards)
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    return str(summary["StreamARN"])


def create_mapping(settings: LocalSettings, stream_arn: str, function: str, **mapping: Any) -> None:
    """Map a stream to a function, disabled as in the local deploy."""
    client(settings, "lambda").create_event_source_mapping(
        EventSourceArn=stream_arn,
        FunctionName=function,
        **({"StartingPosition": "TRIM_HORIZON", "Enabled": False} | mapping),
    )
