"""AWS's hard limits on the calls that Keyturn makes, none of which the emulators check.

Each check gets the parameters of one call as boto3 is given them, and names what is too large. Sizes are UTF-8 bytes.
Standard library only: it runs inside the deployed Lambdas of the test engine too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Parameters = Mapping[str, Any]
Check = Callable[[Parameters], Iterator[str]]
"""Yields what is wrong with a call, in words."""

# Step Functions Developer Guide, "Service quotas"; StartExecution API reference.
EXECUTION_INPUT_BYTES_MAX = 262_144
EXECUTION_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\s\[\]{}<>?*\"#%\\^|~`$&,;:/]{1,80}")
STOP_CAUSE_CHARACTERS_MAX = 32_768
STOP_ERROR_CHARACTERS_MAX = 256

# DynamoDB Developer Guide, "Service, account, and table quotas" and "Item sizes".
ITEM_BYTES_MAX = 409_600
PK_BYTES_MAX = 2_048
SK_BYTES_MAX = 1_024
NESTING_MAX = 32
EXPRESSION_BYTES_MAX = 4_096
BATCH_WRITE_MAX = 25  # and 16 MB, which 25 items of legal size can't reach
BATCH_GET_MAX = 100
TRANSACTION_MAX = 100
TRANSACTION_BYTES_MAX = 4 * 1024 * 1024

# SQS Developer Guide, "Message quotas" (1 MiB since August 2025; 256 KiB is what older queues and clients expect).
MESSAGE_BYTES_MAX = 262_144
MESSAGE_DELAY_S_MAX = 900
MESSAGE_BATCH_MAX = 10
MESSAGE_LEGAL = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")

# Kinesis Data Streams API reference, PutRecords; "Quotas and limits" (1 MiB a record unless the stream says more).
RECORDS_MAX = 500
RECORDS_BYTES_MAX = 5 * 1024 * 1024
RECORD_BYTES_MAX = 1024 * 1024
PARTITION_KEY_CHARACTERS_MAX = 256

# Lambda Developer Guide, "Lambda quotas": a synchronous invocation; asynchronous ones 1 MB.
INVOCATION_BYTES_MAX = 6_291_456
ASYNCHRONOUS_BYTES_MAX = 1_048_576

# S3 User Guide, "Creating object key names".
OBJECT_KEY_BYTES_MAX = 1_024


class BeyondLimit(BaseException):
    """A call that AWS would refuse. No `except Exception` of the product may turn it into one of its own errors."""


def check(service: str, operation: str, parameters: Parameters) -> None:
    """Raise BeyondLimit when AWS would refuse the call for its size or its names."""
    problems = list(CHECKS.get((service, operation), _nothing)(parameters))
    if problems:
        raise BeyondLimit(f"{service}.{operation}: {'; '.join(problems)}")


def _nothing(_parameters: Parameters) -> Iterator[str]:
    yield from ()


def _over(what: str, size: int, most: int, unit: str = "bytes") -> Iterator[str]:
    if size > most:
        yield f"{what} has {size} {unit}, AWS takes {most}"


def _size(value: Any) -> int:
    """Bytes of text or binary."""
    return len(value.encode()) if isinstance(value, str) else len(value)


# Step Functions


def _start_execution(call: Parameters) -> Iterator[str]:
    yield from _over("the input", _size(call.get("input", "{}")), EXECUTION_INPUT_BYTES_MAX)
    try:
        json.loads(call.get("input", "{}"), parse_constant=_refuse_constant)
    except ValueError as error:
        yield f"the input is no JSON ({error})"
    name = call.get("name")
    if name is not None and not EXECUTION_NAME.fullmatch(name):
        yield f"the name {name!r} must have 1 to 80 characters, no space, control or special ones"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _stop_execution(call: Parameters) -> Iterator[str]:
    yield from _over("the cause", len(call.get("cause", "")), STOP_CAUSE_CHARACTERS_MAX, "characters")
    yield from _over("the error", len(call.get("error", "")), STOP_ERROR_CHARACTERS_MAX, "characters")


# DynamoDB


def item_bytes(item: Parameters) -> int:
    """Return what DynamoDB counts for an item: attribute names and values."""
    return sum(_size(name) + value_bytes(value) for name, value in item.items())


def value_bytes(value: Parameters) -> int:
    """Return what DynamoDB counts for an attribute value."""
    ((kind, content),) = value.items()
    match kind:
        case "S" | "B":
            return _size(content)
        case "N":
            return len(content.lstrip("-").replace(".", "").strip("0")) // 2 + 2
        case "BOOL" | "NULL":
            return 1
        case "L":
            return 3 + sum(1 + value_bytes(part) for part in content)
        case "M":
            return 3 + sum(1 + _size(name) + value_bytes(part) for name, part in content.items())
        case _:
            return sum(map(_size, content))


def _depth(value: Parameters) -> int:
    ((kind, content),) = value.items()
    parts = content.values() if kind == "M" else content if kind == "L" else ()
    return 1 + max(map(_depth, parts), default=0)


def _item(item: Parameters) -> Iterator[str]:
    yield from _key(item)
    yield from _over(f"item {_name_of(item)}", item_bytes(item), ITEM_BYTES_MAX)
    yield from _over(f"item {_name_of(item)}", max(map(_depth, item.values()), default=0), NESTING_MAX, "levels")
    for name, value in item.items():
        if "N" in value and len(value["N"].lstrip("-").replace(".", "").strip("0")) > 38:
            yield f"number {name} has more than 38 digits"


def _key(item: Parameters) -> Iterator[str]:
    for name, most in (("pk", PK_BYTES_MAX), ("sk", SK_BYTES_MAX), ("due_bucket", PK_BYTES_MAX)):
        if name in item:
            size = _size(item[name].get("S", "?"))
            yield from _over(f"key attribute {name}", size, most)
            if size == 0:
                yield f"key attribute {name} is empty"


def _name_of(item: Parameters) -> str:
    parts = (str(item.get(name, {}).get("S", "?"))[:40] for name in ("pk", "sk"))
    return "/".join(parts)


def _expressions(call: Parameters) -> Iterator[str]:
    for name, value in call.items():
        if name.endswith("Expression"):
            yield from _over(name, _size(value), EXPRESSION_BYTES_MAX)


def _put_item(call: Parameters) -> Iterator[str]:
    yield from _item(call["Item"])
    yield from _expressions(call)


def _by_key(call: Parameters) -> Iterator[str]:
    yield from _key(call["Key"])
    yield from _expressions(call)
    values = call.get("ExpressionAttributeValues", {}).values()
    yield from _over("the values of the expression", sum(map(value_bytes, values)), ITEM_BYTES_MAX)


def _query(call: Parameters) -> Iterator[str]:
    yield from _expressions(call)
    if call.get("IndexName") and call.get("ConsistentRead"):
        yield "a global secondary index can't be read consistently"
    if call.get("Limit", 1) < 1:
        yield "Limit must be 1 or more"


def _batch_write(call: Parameters) -> Iterator[str]:
    requests = [request for table in call["RequestItems"].values() for request in table]
    yield from _over("the batch", len(requests), BATCH_WRITE_MAX, "items")
    if not requests:
        yield "the batch is empty"
    items = [request["PutRequest"]["Item"] for request in requests if "PutRequest" in request]
    for item in items:
        yield from _item(item)
    yield from _twice(
        [
            request["PutRequest"]["Item"] if "PutRequest" in request else request["DeleteRequest"]["Key"]
            for request in requests
        ]
    )


def _batch_get(call: Parameters) -> Iterator[str]:
    keys = [key for table in call["RequestItems"].values() for key in table["Keys"]]
    yield from _over("the batch", len(keys), BATCH_GET_MAX, "keys")
    if not keys:
        yield "the batch is empty"
    for key in keys:
        yield from _key(key)
    yield from _twice(keys)


def _twice(keys: list[Parameters]) -> Iterator[str]:
    places = [_whole_name_of(key) for key in keys]
    if len(set(places)) < len(places):
        yield "a batch names one item twice"


def _whole_name_of(item: Parameters) -> str:
    return json.dumps([item.get("pk"), item.get("sk")], default=repr)


def _transact_write(call: Parameters) -> Iterator[str]:
    actions = [action for entry in call["TransactItems"] for action in entry.values()]
    yield from _over("the transaction", len(actions), TRANSACTION_MAX, "actions")
    items = [action["Item"] for action in actions if "Item" in action]
    for item in items:
        yield from _item(item)
    yield from _over("the transaction", sum(map(item_bytes, items)), TRANSACTION_BYTES_MAX)
    yield from _twice([action.get("Item") or action.get("Key") or {} for action in actions])


# SQS


def _message(entry: Parameters) -> Iterator[str]:
    body = entry["MessageBody"]
    yield from _over("the message", _size(body), MESSAGE_BYTES_MAX)
    if not MESSAGE_LEGAL.fullmatch(body):
        yield "the message is empty or holds characters that SQS refuses"
    delay_s = entry.get("DelaySeconds", 0)
    if not 0 <= delay_s <= MESSAGE_DELAY_S_MAX:
        yield f"DelaySeconds is {delay_s}, AWS takes 0 to {MESSAGE_DELAY_S_MAX}"


def _messages(call: Parameters) -> Iterator[str]:
    yield from _over("the batch", len(call["Entries"]), MESSAGE_BATCH_MAX, "messages")
    yield from _over("the batch", sum(_size(entry["MessageBody"]) for entry in call["Entries"]), MESSAGE_BYTES_MAX)
    for entry in call["Entries"]:
        yield from _message(entry)


# Kinesis


def _record(record: Parameters) -> Iterator[str]:
    key = record["PartitionKey"]
    if not 1 <= len(key) <= PARTITION_KEY_CHARACTERS_MAX:
        yield f"a partition key has {len(key)} characters, AWS takes 1 to {PARTITION_KEY_CHARACTERS_MAX}"
    yield from _over("a record", _size(record["Data"]), RECORD_BYTES_MAX)


def _records(call: Parameters) -> Iterator[str]:
    records = call["Records"]
    if not 1 <= len(records) <= RECORDS_MAX:
        yield f"the call has {len(records)} records, AWS takes 1 to {RECORDS_MAX}"
    total = sum(_size(record["Data"]) + _size(record["PartitionKey"]) for record in records)
    yield from _over("the call", total, RECORDS_BYTES_MAX)
    for record in records:
        yield from _record(record)


# Lambda and S3


def _invoke(call: Parameters) -> Iterator[str]:
    most = ASYNCHRONOUS_BYTES_MAX if call.get("InvocationType") == "Event" else INVOCATION_BYTES_MAX
    payload = call.get("Payload", b"")
    if isinstance(payload, (str, bytes, bytearray)):
        yield from _over("the payload", _size(payload), most)


def _object(call: Parameters) -> Iterator[str]:
    yield from _over("the object's key", _size(call["Key"]), OBJECT_KEY_BYTES_MAX)


CHECKS: Mapping[tuple[str, str], Check] = {
    ("stepfunctions", "StartExecution"): _start_execution,
    ("stepfunctions", "StartSyncExecution"): _start_execution,
    ("stepfunctions", "StopExecution"): _stop_execution,
    ("dynamodb", "PutItem"): _put_item,
    ("dynamodb", "GetItem"): _by_key,
    ("dynamodb", "UpdateItem"): _by_key,
    ("dynamodb", "DeleteItem"): _by_key,
    ("dynamodb", "Query"): _query,
    ("dynamodb", "BatchWriteItem"): _batch_write,
    ("dynamodb", "BatchGetItem"): _batch_get,
    ("dynamodb", "TransactWriteItems"): _transact_write,
    ("sqs", "SendMessage"): _message,
    ("sqs", "SendMessageBatch"): _messages,
    ("kinesis", "PutRecord"): _record,
    ("kinesis", "PutRecords"): _records,
    ("lambda", "Invoke"): _invoke,
    ("s3", "PutObject"): _object,
}
