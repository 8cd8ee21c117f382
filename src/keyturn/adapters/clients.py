"""The only place that makes AWS clients: endpoint, region and credentials come from the environment, as everywhere."""

from functools import cache
from typing import Any, Final

import boto3
from botocore.config import Config

from keyturn.adapters.usage import usage

_CONFIG: Final = Config(
    # Standard mode: exponential backoff with full jitter on throttles and transient errors.
    retries={"mode": "standard", "total_max_attempts": 6},
    connect_timeout=2,
    read_timeout=10,
    max_pool_connections=32,
    # Our own calls are typed and tested; checking each against the service model costs more than sending it.
    parameter_validation=False,
    # botocore else puts its own name together twice a call, for a sixth of the processor time that a call takes.
    user_agent="keyturn",
)
_QUICK: Final = {"dynamodb": _CONFIG.merge(Config(read_timeout=2))}
"""DynamoDB answers within milliseconds. An answer that was lost must leave a function of three seconds the time to ask
again: else the worker ends with it, and its effect comes a second time."""


@cache
def client(service: str) -> Any:
    """Return this process's client of an AWS service ("dynamodb", "s3", "sqs", "stepfunctions")."""
    make: Any = boto3.client  # its overloads want a literal name
    made = make(service, config=_QUICK.get(service, _CONFIG))
    usage().listen(made, service)
    return made
