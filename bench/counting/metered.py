"""Handler of a metered baseline: its own, with the meter that Keyturn's functions have. The baseline stays as it is."""

from importlib import import_module
from typing import Any

import boto3

from keyturn.adapters.records import count_records
from keyturn.adapters.telemetry import instrumented
from keyturn.adapters.usage import usage

_client: Any = boto3.client


def _metered_client(service: str, **settings: Any) -> Any:
    made = _client(service, **settings)
    usage().listen(made, service)
    return made


boto3.client = _metered_client  # type: ignore[assignment]  # its overloads want a literal name
_app = import_module("app")  # it makes its clients now


@instrumented
def handler(event: dict[str, Any], context: Any) -> Any:
    """Do what the baseline does, and log what it took."""
    if "Records" in event:
        count_records(event)
    return _app.handler(event, context)
