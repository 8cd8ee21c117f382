"""Counts what a Lambda process asks of AWS, for the counted runs: a line of JSON for each call into BENCH_CALLS.

Python imports this when the folder is on PYTHONPATH, before any handler; the handlers themselves stay as they are.
"""

import json
import os
from pathlib import Path
from typing import Any

from botocore.client import BaseClient
from botocore.exceptions import ClientError

_FILE = os.environ.get("BENCH_CALLS", "")
_FUNCTION = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"})
_READS = frozenset({"GetItem", "BatchGetItem", "Query", "Scan", "TransactGetItems"})
_call = BaseClient._make_api_call  # type: ignore[attr-defined]  # boto3's own, which every client call goes through


def _counted(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
    if operation not in _WRITES | _READS:
        answer = _call(client, operation, parameters)
        _note(operation, [])
        return answer
    try:
        answer = _call(client, operation, {**parameters, "ReturnConsumedCapacity": "INDEXES"})
    except ClientError as error:
        # a failed condition is billed like the write, by the item's size; the items concerned are below 1 KB
        if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
            _note(operation, [{"TableName": parameters["TableName"], "CapacityUnits": 1.0}])
        raise
    consumed = answer.get("ConsumedCapacity") or []
    _note(operation, consumed if isinstance(consumed, list) else [consumed])
    return answer


def _note(operation: str, consumed: list[dict[str, Any]]) -> None:
    kind = "write" if operation in _WRITES else "read"
    units = [[one["TableName"].rpartition("/")[2], kind, one["CapacityUnits"]] for one in consumed]
    line = json.dumps({"function": _FUNCTION, "operation": operation, "units": units})
    with Path(_FILE).open("a", encoding="utf-8") as file:  # appended in one write, so processes don't mix lines
        file.write(line + "\n")


if _FILE and _FUNCTION:
    BaseClient._make_api_call = _counted  # type: ignore[attr-defined]
