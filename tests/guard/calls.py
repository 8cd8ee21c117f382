"""What a call of AWS's API needs to be allowed: IAM's actions, and the resources that they are asked of.

Only what Keyturn calls; any other call needs an action of its own name, and no resource that could be allowed.
Standard library only: it runs inside the deployed Lambdas of the test engine too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Need = tuple[str, str]
"""An action, and its resource: `table/NAME/index/NAME`, `object/BUCKET/KEY`, `bucket/NAME`, `stream/NAME`,
`queue/URL`, or the ARN that the call names."""

_TRANSACTION_ACTIONS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}


def needs(service: str, operation: str, call: Mapping[str, Any]) -> Iterator[Need]:
    """Yield what must be allowed for a call. Sources: Service Authorization Reference, by service."""
    match service:
        case "dynamodb":
            yield from _of_tables(operation, call)
        case "s3":
            yield from _of_objects(operation, call)
        case "sqs":
            yield f"sqs:{operation}", f"queue/{call.get('QueueUrl')}"
        case "kinesis":
            yield f"kinesis:{operation}", f"stream/{call.get('StreamName') or _stream_in(call)}"
        case "stepfunctions":
            yield f"states:{operation}", str(call.get("stateMachineArn") or call.get("executionArn"))
        case _:
            yield f"{service}:{operation}", ""


def _of_tables(operation: str, call: Mapping[str, Any]) -> Iterator[Need]:
    if operation == "TransactWriteItems":
        for entry in call["TransactItems"]:
            for kind, action in entry.items():
                yield f"dynamodb:{_TRANSACTION_ACTIONS[kind]}", f"table/{action['TableName']}"
    elif "RequestItems" in call:
        for name in call["RequestItems"]:
            yield f"dynamodb:{operation}", f"table/{name}"
    else:
        index = f"/index/{call['IndexName']}" if "IndexName" in call else ""
        yield f"dynamodb:{operation}", f"table/{call.get('TableName')}{index}"


def _of_objects(operation: str, call: Mapping[str, Any]) -> Iterator[Need]:
    bucket = call.get("Bucket")
    if operation == "CopyObject":
        source = call["CopySource"]  # boto3 may have made a text of it before we see it
        place = source if isinstance(source, str) else f"{source['Bucket']}/{source['Key']}"
        yield "s3:GetObject", f"object/{place}"
        yield "s3:PutObject", f"object/{bucket}/{call['Key']}"
    elif operation.startswith("ListObjects"):
        yield "s3:ListBucket", f"bucket/{bucket}"
    else:
        yield f"s3:{operation.replace('HeadObject', 'GetObject')}", f"object/{bucket}/{call.get('Key')}"


def _stream_in(call: Mapping[str, Any]) -> str:
    """Find the stream that an iterator is of: its name isn't said again, and this project has one."""
    return "*" if "ShardIterator" in call else str(call.get("StreamARN", "")).rpartition("/")[2]
