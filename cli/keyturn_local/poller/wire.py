"""What AWS puts on the wire: the Lambda event of a Kinesis record, and the record of a given-up batch.

Sources: Lambda developer guide, "Using Lambda with Kinesis" and "Retain discarded batch records"; for what these leave
open, events recorded from AWS in LocalStack's snapshot tests (no encryptionType; functionError null after a partial
failure; no responseContext for a record that grew too old, and an invoke count of 1).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

PAYLOAD_BYTES_MAX: Final = 6 * 1024 * 1024
"""Lambda quota: request and answer of a synchronous invocation, each."""
_OPEN, _CLOSE = b'{"Records":[', b"]}"
_AROUND: Final = len(_OPEN) + len(_CLOSE)


def record_to_wire(
    *,
    shard_id: str,
    sequence_number: str,
    partition_key: str,
    data: bytes,
    arrived_at_s: float,
    stream_arn: str,
    role_arn: str,
) -> bytes:
    """One element of the event's `Records`, as JSON."""
    record = {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": partition_key,
            "sequenceNumber": sequence_number,
            "data": base64.b64encode(data).decode("ascii"),
            "approximateArrivalTimestamp": round(arrived_at_s, 3),
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard_id}:{sequence_number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": role_arn,
        "awsRegion": stream_arn.split(":")[3],
        "eventSourceARN": stream_arn,
    }
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def payload(records: Sequence[bytes]) -> bytes:
    """The whole event of a batch."""
    return _OPEN + b",".join(records) + _CLOSE


def payload_bytes(records: int, record_bytes: int) -> int:
    """How long payload() gets for so many records of so many bytes together."""
    return _AROUND + record_bytes + max(0, records - 1)


def failure_record(
    *,
    request_id: str,
    function_arn: str,
    condition: str,
    invocations: int,
    response: dict[str, Any] | None,
    at_s: float,
    shard_id: str,
    stream_arn: str,
    sequence_numbers: tuple[str, str],
    arrivals_s: tuple[float, float],
    batch_size: int,
) -> dict[str, Any]:
    """What an SQS or SNS destination gets; S3 gets the `payload` beside it."""
    context = {} if response is None else {"responseContext": response}
    return {
        "requestContext": {
            "requestId": request_id,
            "functionArn": function_arn,
            "condition": condition,
            "approximateInvokeCount": invocations,
        },
        **context,
        "version": "1.0",
        "timestamp": _timestamp(at_s),
        "KinesisBatchInfo": {
            "shardId": shard_id,
            "startSequenceNumber": sequence_numbers[0],
            "endSequenceNumber": sequence_numbers[1],
            "approximateArrivalOfFirstRecord": _timestamp(arrivals_s[0]),
            "approximateArrivalOfLastRecord": _timestamp(arrivals_s[1]),
            "batchSize": batch_size,
            "streamArn": stream_arn,
        },
    }


def failure_object_key(*, mapping_uuid: str, shard_id: str, at_s: float, unique: str) -> str:
    """`aws/lambda/<ESM-UUID>/<shardID>/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-<Random UUID>`, in UTC."""
    at = datetime.fromtimestamp(at_s, UTC)
    return f"aws/lambda/{mapping_uuid}/{shard_id}/{at:%Y/%m/%d}/{at:%Y-%m-%dT%H.%M.%S}-{unique}"


def _timestamp(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
