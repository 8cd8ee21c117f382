"""Limits that the load may come near: Lambda's concurrency, Step Functions' starts, table, stream and queues."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from keyturn_cli.doctor.examination import QUEUE, STATE_MACHINE, Examination
from keyturn_cli.doctor.finding import Finding, failed, listed, not_checked, ok, warning
from keyturn_cli.doctor.sources import STREAM_MAPPING, mapping_of

_PLATFORM_LAMBDAS: Final = 5
"""Concurrency that dispatcher, sequencer and watchdog want besides the workers (parameter MaxInFlightRuns)."""
_MAP_CONCURRENCY: Final = 40
"""About how many iterations an inline Map without MaxConcurrency runs at once (Step Functions Developer Guide)."""
STANDARD_STARTS_A_SECOND: Final = 150
"""Refill of StartExecution in most regions, for Standard workflows (Step Functions quotas); 300 in three of them."""
_NEAR: Final = 0.8
_HOURS: Final = 3
_BACKLOG: Final = 1_000
_GROWN: Final = "have the quota raised (Service Quotas), or lower MaxInFlightRuns"


def check_load(examined: Examination) -> Iterator[Finding]:
    """Quotas and settings that the amount of work depends on."""
    yield _concurrency(examined)
    yield _starts(examined)
    yield from _table(examined)
    yield _retention(examined)
    yield _window(examined)
    yield _payloads(examined)
    yield _queues(examined)


def widest(scope: Mapping[str, Any]) -> int:
    """Count the workers that a definition may have at work at once."""
    return max((_width(state) for state in scope["States"].values()), default=0)


def _width(state: Mapping[str, Any]) -> int:
    match state["Type"]:
        case "Task":
            return 1
        case "Parallel":
            return sum(widest(branch) for branch in state["Branches"])
        case "Map":
            inner = state.get("ItemProcessor") or state.get("Iterator") or {"States": {}}
            return int(state.get("MaxConcurrency") or _MAP_CONCURRENCY) * widest(inner)
        case _:
            return 0


def _concurrency(examined: Examination) -> Finding:
    name = "Lambda concurrency"
    limits = examined.client("lambda").get_account_settings()["AccountLimit"]
    free = int(limits["UnreservedConcurrentExecutions"])
    fan_out = max((widest(definition) for definition in _definitions(examined)), default=1)
    most = examined.settings.max_in_flight_runs
    wanted = most * fan_out + _PLATFORM_LAMBDAS
    told = f"{most} runs with up to {fan_out} workers each may want {wanted}; {free} are free to use"
    if wanted > free:
        return warning(
            name, told, f"lower MaxInFlightRuns to {max(1, (free - _PLATFORM_LAMBDAS) // fan_out)}, or {_GROWN}"
        )
    return ok(name, told)


def _definitions(examined: Examination) -> Iterator[Mapping[str, Any]]:
    aws = examined.client("stepfunctions")
    for machine in examined.of_kind(STATE_MACHINE):
        yield json.loads(aws.describe_state_machine(stateMachineArn=machine.id)["definition"])


def _starts(examined: Examination) -> Finding:
    name = "Step Functions starts"
    aws = examined.client("cloudwatch")
    now_s = examined.clock() // 1000
    busiest: dict[int, float] = {}
    for machine in examined.of_kind(STATE_MACHINE):
        if machine.id.endswith("-standard"):  # Express starts refill at 6,000 a second
            answer = aws.get_metric_statistics(
                Namespace="AWS/States",
                MetricName="ExecutionsStarted",
                Dimensions=[{"Name": "StateMachineArn", "Value": machine.id}],
                StartTime=now_s - _HOURS * 3600,
                EndTime=now_s,
                Period=60,
                Statistics=["Sum"],
            )
            for point in answer["Datapoints"]:
                minute = int(point["Timestamp"].timestamp()) // 60
                busiest[minute] = busiest.get(minute, 0) + point["Sum"]
    if not busiest:
        return not_checked(name, f"CloudWatch has no figures of the last {_HOURS} hours")
    rate = max(busiest.values()) / 60
    told = f"{rate:.0f} a second in the busiest minute of {_HOURS} hours, about {STANDARD_STARTS_A_SECOND} are allowed"
    if rate > _NEAR * STANDARD_STARTS_A_SECOND:
        return warning(name, told, f"{_GROWN}; batches and Express workflows (docs/routes.md) take fewer")
    return ok(name, told)


def _table(examined: Examination) -> Iterator[Finding]:
    aws, table = examined.client("dynamodb"), examined.target.outputs.state_table_name
    about = aws.describe_table(TableName=table)["Table"]
    mode = about.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    if mode != "PAY_PER_REQUEST":
        yield warning("state table on demand", f"it is {mode}: a burst throttles", "deploy again, or set it by hand")
    else:
        yield ok("state table on demand", "it grows with the load")
    yield _expiry(examined, aws.describe_time_to_live(TableName=table)["TimeToLiveDescription"])
    backups = aws.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    if backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED":
        yield ok("state table backed up", "point-in-time recovery is on")
    else:
        yield warning("state table backed up", "no point-in-time recovery", "deploy with PointInTimeRecovery=true")


def _expiry(examined: Examination, about: Mapping[str, Any]) -> Finding:
    name = "finished events expire"
    if about.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"} and about.get("AttributeName") == "expires_at":
        return ok(name, "time to live is on")
    if examined.target.is_local:
        return not_checked(name, "this engine doesn't set time to live from a template")
    return failed(
        name,
        f"time to live is {about.get('TimeToLiveStatus', 'off')} on {about.get('AttributeName', 'no attribute')}",
        "aws dynamodb update-time-to-live --table-name TABLE"
        " --time-to-live-specification Enabled=true,AttributeName=expires_at",
    )


def _retention(examined: Examination) -> Finding:
    name = "stream outlasts the mapping"
    summary = examined.client("kinesis").describe_stream_summary(StreamName=examined.target.outputs.stream_name)
    hours = int(summary["StreamDescriptionSummary"]["RetentionPeriodHours"])
    age_s = int(mapping_of(examined, STREAM_MAPPING).get("MaximumRecordAgeInSeconds", -1))
    if not 0 <= age_s < hours * 3600:
        return failed(
            name,
            f"records expire after {hours} h, the mapping gives up after {age_s} s: late ones reach no bucket",
            "raise StreamRetentionHours above RecordAgeMaxSeconds",
        )
    return ok(name, f"{hours} h, the mapping gives up after {age_s / 3600:.0f} h")


def _window(examined: Examination) -> Finding:
    """An identity counts while its event is in the log; what was sent twice must be known while the stream has it."""
    name = "resends are known"
    summary = examined.client("kinesis").describe_stream_summary(StreamName=examined.target.outputs.stream_name)
    stream_h = int(summary["StreamDescriptionSummary"]["RetentionPeriodHours"])
    window_h, log_h = examined.settings.duplicate_window_s // 3_600, examined.settings.event_retention_s // 3_600
    told = f"for {window_h} h; the stream keeps records {stream_h} h, the log finished events {log_h} h"
    if window_h > log_h:
        return warning(name, f"{told}: later than that a resend runs again", "lower DuplicateWindowHours")
    if window_h < stream_h:
        return warning(
            name, f"{told}: a mapping made anew reads older resends as new events", "raise DuplicateWindowHours"
        )
    return ok(name, told)


def _payloads(examined: Examination) -> Finding:
    name = "payloads outlast the log"
    if examined.target.is_local:
        return not_checked(name, "this engine lets no object expire")
    bucket, event_days = examined.target.outputs.payload_bucket_name, examined.settings.event_retention_s // 86_400
    rules = examined.client("s3").get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    days = min((rule["Expiration"]["Days"] for rule in rules if "Days" in rule.get("Expiration", {})), default=None)
    if days is not None and days <= event_days:
        return failed(
            name,
            f"large payloads expire after {days} days, the log's items that name them live {event_days}: a replay, and "
            "what waits long for a person, finds none",
            "deploy with PayloadRetentionDays above EventRetentionDays",
        )
    return ok(name, f"{days or 'any number of'} days, the log's items live {event_days}")


def _queues(examined: Examination) -> Finding:
    name = "queues drained"
    aws = examined.client("sqs")
    full: list[str] = []
    for queue in examined.of_kind(QUEUE):
        about = aws.get_queue_attributes(QueueUrl=queue.id, AttributeNames=["ApproximateNumberOfMessages"])
        count = int(about["Attributes"]["ApproximateNumberOfMessages"])
        if count > (0 if "DeadLetter" in queue.logical_id else _BACKLOG):
            full.append(f"{count:,} messages in {queue.logical_id}")
    if full:
        return warning(name, listed(full), "look at the watchdog's log; purge a dead-letter queue when it works again")
    return ok(name, "no backlog, nothing in dead-letter queues")
