"""The event source's calls to AWS. Errors come back as values wherever a record's fate depends on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from keyturn_local.clients import client_options, local_session
from keyturn_local.errors import MappingError
from keyturn_local.poller import wire
from keyturn_local.poller.answer import AllFailed, read_answer
from keyturn_local.poller.core import (
    Batch,
    Outcome,
    Record,
    ResumePoint,
    Throttled,
    TooLarge,
)
from keyturn_local.poller.lineage import ShardInfo
from keyturn_local.poller.mapping import Mapping, mapping_from_api

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import ShardTypeDef
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from keyturn_local.settings import LocalSettings

GET_RECORDS_MAX: Final = 10_000
"""Kinesis quota: records a GetRecords call."""
INVOKE_READ_S: Final = 910
"""Longer than a Lambda may run (900 s): giving up earlier would leave one running unseen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """The clients it needs, all of one engine."""

    kinesis: KinesisClient
    invoker: LambdaClient
    """Tries once: a client's own retry would run a batch twice and hide a throttle."""
    s3: S3Client
    sqs: SQSClient
    sns: Any
    """Its type stubs are not among the pins."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a GetRecords call brought."""

    records: tuple[Record, ...]
    next_iterator: str | None
    behind_ms: int


class IteratorExpired(Exception):
    """The iterator is older than five minutes; a new one has to be asked for."""


class ShardGone(Exception):
    """The stream has no such shard any more."""


def clients_for(settings: LocalSettings) -> Clients:
    """Clients of the local engine."""
    session = local_session(settings.region)
    options = client_options(settings)
    return Clients(
        kinesis=session.client("kinesis", **options),
        invoker=session.client("lambda", **client_options(settings, attempts=1, read_timeout_s=INVOKE_READ_S)),
        s3=session.client("s3", **options),
        sqs=session.client("sqs", **options),
        sns=session.client("sns", **options),
    )


def find_mapping(client: LambdaClient, function_name: str) -> Mapping:
    """The one Kinesis mapping of a function, enabled or not. Raises MappingError."""
    pages = client.get_paginator("list_event_source_mappings").paginate(FunctionName=function_name)
    found = [item for page in pages for item in page["EventSourceMappings"]]
    kinesis = [item for item in found if ":kinesis:" in item.get("EventSourceArn", "")]
    if len(kinesis) != 1:
        raise MappingError(
            f"function {function_name} has {len(kinesis)} Kinesis event source mappings instead of one."
            " Deploy again: make up"
        )
    return mapping_from_api(kinesis[0])


def role_of(client: LambdaClient, function_arn: str) -> str:
    """The function's execution role, which the event names as invokeIdentityArn."""
    return client.get_function_configuration(FunctionName=function_arn).get("Role", "")


def stream_created_s(client: KinesisClient, stream_arn: str) -> float:
    """When the stream was created; none of its records is older."""
    summary = client.describe_stream_summary(StreamARN=stream_arn)["StreamDescriptionSummary"]
    return summary["StreamCreationTimestamp"].timestamp()


def list_shards(client: KinesisClient, stream_arn: str) -> tuple[ShardInfo, ...]:
    """All shards that the stream still has, closed ones too."""
    answer = client.list_shards(StreamARN=stream_arn)
    found = list(answer["Shards"])
    while token := answer.get("NextToken"):
        answer = client.list_shards(NextToken=token)
        found += answer["Shards"]
    return tuple(_shard_info(shard) for shard in found)


def _shard_info(shard: ShardTypeDef) -> ShardInfo:
    parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
    closed = "EndingSequenceNumber" in shard.get("SequenceNumberRange", {})
    return ShardInfo(shard["ShardId"], tuple(parent for parent in parents if parent), closed)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one shard."""

    client: KinesisClient
    stream_arn: str
    shard_id: str
    role_arn: str
    clock: Callable[[], float]

    def iterator(self, resume: ResumePoint | None, start_at_s: float | None) -> str:
        """A new iterator: at the resume point, else at a time, else at the oldest record. Raises ShardGone."""
        where: dict[str, Any]
        if resume is not None:
            kind = "AT_SEQUENCE_NUMBER" if resume.inclusive else "AFTER_SEQUENCE_NUMBER"
            where = {"ShardIteratorType": kind, "StartingSequenceNumber": resume.sequence_number}
        elif start_at_s is not None:
            # botocore sends whole seconds; the caller drops what is earlier than the exact time
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": int(start_at_s)}
        else:
            where = {"ShardIteratorType": "TRIM_HORIZON"}
        try:
            answer = self.client.get_shard_iterator(StreamARN=self.stream_arn, ShardId=self.shard_id, **where)
        except self.client.exceptions.ResourceNotFoundException as error:
            raise ShardGone(self.shard_id) from error
        return answer["ShardIterator"]

    def fetch(self, iterator: str, limit: int) -> Fetched:
        """Up to `limit` records. Raises IteratorExpired or ShardGone."""
        try:
            answer = self.client.get_records(
                StreamARN=self.stream_arn, ShardIterator=iterator, Limit=min(limit, GET_RECORDS_MAX)
            )
        except self.client.exceptions.ExpiredIteratorException as error:
            raise IteratorExpired(self.shard_id) from error
        except self.client.exceptions.ResourceNotFoundException as error:
            raise ShardGone(self.shard_id) from error
        now_s = self.clock()
        return Fetched(
            records=tuple(self._record(record, now_s) for record in answer["Records"]),
            next_iterator=answer.get("NextShardIterator"),
            behind_ms=answer.get("MillisBehindLatest", 0),
        )

    def _record(self, found: Any, now_s: float) -> Record:
        number, key, arrived_at_s = (
            found["SequenceNumber"],
            found["PartitionKey"],
            found["ApproximateArrivalTimestamp"].timestamp(),
        )
        return Record(
            sequence=int(number),
            sequence_number=number,
            partition_key=key,
            arrived_at_s=arrived_at_s,
            gathered_at_s=now_s,
            wire=wire.record_to_wire(
                shard_id=self.shard_id,
                sequence_number=number,
                partition_key=key,
                data=found["Data"],
                arrived_at_s=arrived_at_s,
                stream_arn=self.stream_arn,
                role_arn=self.role_arn,
            ),
        )


def invoke(client: LambdaClient, mapping: Mapping, batch: Batch) -> Outcome:
    """Hand a batch to the function and read its answer."""
    try:
        answer = client.invoke(FunctionName=mapping.function_arn, Payload=wire.payload([r.wire for r in batch.records]))
        body = answer["Payload"].read()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        # Everything else (throttles, 5xx, a function that is gone) is no fault of the records, and costs them nothing.
        return (
            TooLarge()
            if code == "RequestTooLargeException"
            else Throttled(f"{code}: {error.response['Error']['Message']}")
        )
    except (BotoCoreError, OSError) as error:
        return Throttled(f"{type(error).__name__}: {error}")
    function_error = answer.get("FunctionError")
    if function_error:
        return AllFailed(_error_text(body), "Unhandled")
    return read_answer(body, batch.sequences, report_item_failures=mapping.report_item_failures)


def _error_text(body: bytes) -> str:
    try:
        error = json.loads(body)
        return f"{error['errorType']}: {error['errorMessage']}"
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
