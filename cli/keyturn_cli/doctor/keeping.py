"""How data is kept: encrypted, and logs not for ever."""

from __future__ import annotations

from collections.abc import Iterator

from keyturn_cli.doctor.examination import BUCKET, LOG_GROUP, QUEUE, Examination
from keyturn_cli.doctor.finding import Finding, failed, listed, not_checked, ok, warning

_DEPLOY = "deploy the stack again: sam deploy"


def check_keeping(examined: Examination) -> Iterator[Finding]:
    """Encryption of what holds data (DynamoDB has no unencrypted tables), and retention of logs."""
    yield _stream(examined)
    yield _buckets(examined)
    yield _queues(examined)
    yield _logs(examined)


def _stream(examined: Examination) -> Finding:
    name = "stream encrypted"
    summary = examined.client("kinesis").describe_stream_summary(StreamName=examined.target.outputs.stream_name)
    kind = summary["StreamDescriptionSummary"].get("EncryptionType", "NONE")
    if kind == "KMS":
        return ok(name, f"with {summary['StreamDescriptionSummary'].get('KeyId', 'a KMS key')}")
    if examined.target.is_local:
        return not_checked(name, "this engine doesn't encrypt streams")
    return failed(name, "it is not", _DEPLOY)


def _buckets(examined: Examination) -> Finding:
    aws = examined.client("s3")
    open_ones = [
        bucket.logical_id
        for bucket in examined.of_kind(BUCKET)
        if not aws.get_bucket_encryption(Bucket=bucket.id)["ServerSideEncryptionConfiguration"]["Rules"]
    ]
    if open_ones:
        return failed("buckets encrypted", f"not {listed(open_ones)}", _DEPLOY)
    return ok("buckets encrypted", f"all {len(examined.of_kind(BUCKET))}")


def _queues(examined: Examination) -> Finding:
    aws = examined.client("sqs")
    wanted = ["SqsManagedSseEnabled", "KmsMasterKeyId"]
    open_ones = [
        queue.logical_id
        for queue in examined.of_kind(QUEUE)
        for about in [aws.get_queue_attributes(QueueUrl=queue.id, AttributeNames=wanted).get("Attributes", {})]
        if about.get("SqsManagedSseEnabled") != "true" and not about.get("KmsMasterKeyId")
    ]
    if open_ones:
        return failed("queues encrypted", f"not {listed(open_ones)}", _DEPLOY)
    return ok("queues encrypted", f"all {len(examined.of_kind(QUEUE))}")


def _logs(examined: Examination) -> Finding:
    """Groups are asked for by name, since an account may have thousands."""
    name = "logs expire"
    aws = examined.client("logs")
    groups = examined.of_kind(LOG_GROUP)
    for_ever: list[str] = []
    missing: list[str] = []
    for group in groups:
        found = aws.describe_log_groups(logGroupNamePrefix=group.id, limit=50)["logGroups"]
        about = next((one for one in found if one["logGroupName"] == group.id), None)
        if about is None:
            missing.append(group.id)
        elif not about.get("retentionInDays"):
            for_ever.append(group.id)
    if missing:
        return failed(name, f"somebody deleted {listed(missing)}", _DEPLOY)
    if for_ever:
        return warning(name, f"kept for ever: {listed(for_ever)}", _DEPLOY)
    return ok(name, f"{len(groups)} log groups have a retention")
