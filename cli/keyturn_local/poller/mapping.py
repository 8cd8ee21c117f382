"""The event source mapping's settings, as values."""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from keyturn_local.errors import MappingError

FOREVER: Final = -1
"""No limit of retries or age: until the record leaves the stream."""
_BATCH_ITEM_FAILURES: Final = "ReportBatchItemFailures"


class Start(StrEnum):
    """Where a shard without a checkpoint is read from."""

    TRIM_HORIZON = "TRIM_HORIZON"
    LATEST = "LATEST"
    AT_TIMESTAMP = "AT_TIMESTAMP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """One Kinesis event source mapping. The defaults are AWS's."""

    uuid: str
    stream_arn: str
    function_arn: str
    start: Start = Start.TRIM_HORIZON
    start_at_s: float | None = None
    batch_size: int = 100
    batching_window_s: float = 0
    parallelization_factor: int = 1
    bisect_on_error: bool = False
    report_item_failures: bool = False
    retries_max: int = FOREVER
    record_age_max_s: float = FOREVER
    on_failure_arn: str | None = None

    @property
    def region(self) -> str:
        """The stream's region."""
        return self.stream_arn.split(":")[3]


def mapping_from_api(found: AnyMapping[str, Any]) -> Mapping:
    """A mapping as ListEventSourceMappings describes it. Raises MappingError for what can't be run as AWS would."""
    _refuse_unsupported(found)
    start = Start(found.get("StartingPosition") or Start.TRIM_HORIZON)
    timestamp = found.get("StartingPositionTimestamp")
    if start is Start.AT_TIMESTAMP and timestamp is None:
        raise MappingError(
            "the mapping starts AT_TIMESTAMP, but the engine doesn't tell the time (StartingPositionTimestamp)."
            " Use TRIM_HORIZON or LATEST in the local environment."
        )
    destination = (found.get("DestinationConfig") or {}).get("OnFailure") or {}
    return Mapping(
        uuid=found["UUID"],
        stream_arn=found["EventSourceArn"],
        function_arn=found["FunctionArn"],
        start=start,
        start_at_s=_epoch_s(timestamp),
        batch_size=int(found.get("BatchSize") or 100),
        batching_window_s=float(found.get("MaximumBatchingWindowInSeconds") or 0),
        parallelization_factor=int(found.get("ParallelizationFactor") or 1),
        bisect_on_error=_flag(found.get("BisectBatchOnFunctionError")),
        report_item_failures=_BATCH_ITEM_FAILURES in (found.get("FunctionResponseTypes") or []),
        retries_max=int(_or_forever(found.get("MaximumRetryAttempts"))),
        record_age_max_s=float(_or_forever(found.get("MaximumRecordAgeInSeconds"))),
        on_failure_arn=destination.get("Destination") or None,
    )


def _refuse_unsupported(found: AnyMapping[str, Any]) -> None:
    for setting in ("TumblingWindowInSeconds", "FilterCriteria"):
        if found.get(setting):
            raise MappingError(f"the local event source doesn't support {setting}. Remove it from the mapping.")
    destination = ((found.get("DestinationConfig") or {}).get("OnFailure") or {}).get("Destination") or ""
    if destination and destination.split(":")[2] not in {"s3", "sqs", "sns"}:
        raise MappingError(
            f"the on-failure destination {destination} is neither an S3 bucket, an SQS queue nor an SNS topic."
        )


def _or_forever(value: float | str | None) -> float:
    return FOREVER if value is None else float(value)


def _flag(value: bool | str | None) -> bool:
    return str(value).lower() == "true"  # a template's string gets through the emulator as it is


def _epoch_s(value: datetime | float | None) -> float | None:
    return value.timestamp() if isinstance(value, datetime) else value
