"""The values at the edges: answers, mappings, lineage, and what goes over the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from keyturn_local.errors import BadSetting, MappingError
from keyturn_local.poller import wire
from keyturn_local.poller.answer import AllDone, AllFailed, FailedFrom, read_answer
from keyturn_local.poller.lineage import ShardInfo, may_begin
from keyturn_local.poller.mapping import Start, mapping_from_api
from keyturn_local.settings import LocalSettings, engine_environment

from tests.local.kit import FUNCTION_ARN, STREAM_ARN


@pytest.mark.parametrize(
    "body", ["", "null", "{}", '""', "[]", '{"batchItemFailures": []}', '{"batchItemFailures": null}']
)
def test_an_empty_answer_means_all_succeeded(body: str) -> None:
    """As recorded from AWS, also for an empty string and an empty list."""
    assert read_answer(body.encode(), {1, 2}, report_item_failures=True) == AllDone()


@pytest.mark.parametrize(
    "failures",
    [
        [{"itemIdentifier": ""}],
        [{"itemIdentifier": None}],
        [{"itemIdentifier": 1}],
        [{"itemidentifier": "1"}],
        [{"itemIdentifier": "99"}],
        [{"itemIdentifier": "1"}, {"itemIdentifier": ""}],
        [None],
        "1",
    ],
)
def test_a_wrong_identifier_means_all_failed(failures: Any) -> None:
    """Also one that isn't in the batch, and one wrong among right ones."""
    body = json.dumps({"batchItemFailures": failures}).encode()
    assert isinstance(read_answer(body, {1, 2}, report_item_failures=True), AllFailed)


@pytest.mark.parametrize("body", [b"[1]", b"true", b"oops"])
def test_an_answer_that_is_no_object_means_all_failed(body: bytes) -> None:
    """Reading it as success could lose records."""
    assert isinstance(read_answer(body, {1}, report_item_failures=True), AllFailed)


def test_the_lowest_reported_failure_counts() -> None:
    """Whatever the order they are reported in; sequence numbers compare as numbers."""
    body = b'{"batchItemFailures": [{"itemIdentifier": "100"}, {"itemIdentifier": "99"}, {"itemIdentifier": "101"}]}'
    assert read_answer(body, {98, 99, 100, 101}, report_item_failures=True) == FailedFrom(99)


def test_without_the_response_type_the_answer_is_not_read() -> None:
    """ReportBatchItemFailures has to be switched on in the mapping."""
    body = b'{"batchItemFailures": [{"itemIdentifier": "1"}]}'
    assert read_answer(body, {1}, report_item_failures=False) == AllDone()


API = {"UUID": "u", "EventSourceArn": STREAM_ARN, "FunctionArn": FUNCTION_ARN}


def test_a_mapping_without_settings_has_the_defaults_of_aws() -> None:
    """The emulator leaves out what the template didn't set."""
    mapping = mapping_from_api(API)
    assert (mapping.batch_size, mapping.batching_window_s, mapping.parallelization_factor) == (100, 0, 1)
    assert (mapping.retries_max, mapping.record_age_max_s, mapping.on_failure_arn) == (-1, -1, None)
    assert (mapping.bisect_on_error, mapping.report_item_failures) == (False, False)


def test_a_mapping_is_read_from_the_api() -> None:
    """Numbers that the emulator hands on as a template's strings included."""
    mapping = mapping_from_api(
        API
        | {
            "StartingPosition": "LATEST",
            "BatchSize": "500",
            "BisectBatchOnFunctionError": "true",
            "ParallelizationFactor": 4,
            "MaximumRetryAttempts": 0,
            "MaximumRecordAgeInSeconds": 3600,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::failures"}},
        }
    )
    assert (mapping.start, mapping.batch_size, mapping.bisect_on_error) == (Start.LATEST, 500, True)
    assert (mapping.parallelization_factor, mapping.retries_max, mapping.record_age_max_s) == (4, 0, 3600)
    assert (mapping.report_item_failures, mapping.on_failure_arn) == (True, "arn:aws:s3:::failures")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"TumblingWindowInSeconds": 30}, "TumblingWindowInSeconds"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{}"}]}}, "FilterCriteria"),
        ({"DestinationConfig": {"OnFailure": {"Destination": "kafka://x:y:z"}}}, "on-failure destination"),
        ({"StartingPosition": "AT_TIMESTAMP"}, "StartingPositionTimestamp"),
    ],
)
def test_what_cannot_be_run_as_aws_would_is_refused(setting: dict[str, Any], said: str) -> None:
    """One line that names the setting."""
    with pytest.raises(MappingError, match=said):
        mapping_from_api(API | setting)


def test_children_begin_after_their_parents_are_finished() -> None:
    """A merge waits for both parents, a split for its one."""
    shards = (
        ShardInfo("0"),
        ShardInfo("1"),
        ShardInfo("2", ("0", "1")),
        ShardInfo("3", ("2",)),
        ShardInfo("4", ("2",)),
    )

    def names(begun: set[str], finished: set[str]) -> list[str]:
        return [shard.shard_id for shard in may_begin(shards, begun, finished)]

    assert names(set(), set()) == ["0", "1"]
    assert names({"0", "1"}, {"0"}) == []
    assert names({"0", "1"}, {"0", "1"}) == ["2"]
    assert names({"0", "1", "2"}, {"0", "1", "2"}) == ["3", "4"]


def test_a_parent_that_left_the_stream_holds_nobody_up_unless_its_records_are_in_hand() -> None:
    """Retention removes old shards from the list."""
    child = (ShardInfo("1", ("0",)),)
    assert may_begin(child, set(), set()) == child
    assert may_begin(child, {"0"}, set()) == ()
    assert may_begin(child, {"0"}, {"0"}) == child


def test_a_record_on_the_wire_has_the_members_that_aws_sends() -> None:
    """Members and types as recorded from AWS; the arrival time is seconds with a fraction."""
    sent = json.loads(
        wire.record_to_wire(
            shard_id="shardId-000000000006",
            sequence_number="49590338271490256608559692538361571095921575989136588898",
            partition_key="schlüssel",
            data=b"Hello, this is a test.",
            arrived_at_s=1545084650.98749,
            stream_arn=STREAM_ARN,
            role_arn="arn:aws:iam::000000000000:role/dispatcher",
        )
    )
    assert sent == {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "schlüssel",
            "sequenceNumber": "49590338271490256608559692538361571095921575989136588898",
            "data": "SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==",
            "approximateArrivalTimestamp": 1545084650.987,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": "shardId-000000000006:49590338271490256608559692538361571095921575989136588898",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::000000000000:role/dispatcher",
        "awsRegion": "us-east-1",
        "eventSourceARN": STREAM_ARN,
    }


def test_the_payload_is_as_long_as_was_counted() -> None:
    """The 6 MB limit is checked before the payload is built."""
    for count in range(4):
        records = [b'{"n":1}'] * count
        assert len(wire.payload(records)) == wire.payload_bytes(count, sum(map(len, records)))


def test_a_failure_object_lies_where_aws_puts_it() -> None:
    """aws/lambda/ESM-UUID/shard/year/month/day/time-random, in UTC."""
    key = wire.failure_object_key(mapping_uuid="u", shard_id="shardId-000000000001", at_s=1573691886.021, unique="r")
    assert key == "aws/lambda/u/shardId-000000000001/2019/11/14/2019-11-14T00.38.06-r"


def test_nothing_of_the_users_aws_set_up_reaches_the_engine(settings: LocalSettings) -> None:
    """No call of a local run can reach a real account, or break on a profile; a proxy isn't asked for this machine."""
    env = engine_environment(
        {"AWS_PROFILE": "prod", "AWS_SESSION_TOKEN": "t", "PYTHONPATH": "x", "PATH": "p", "NO_PROXY": "corp"}, settings
    )
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "PYTHONPATH"} & env.keys()
    assert (env["PATH"], env["NO_PROXY"], env["AWS_ENDPOINT_URL"]) == (
        "p",
        "corp,127.0.0.1,localhost",
        settings.endpoint_url,
    )


@pytest.mark.parametrize("port", ["x", "0", "80", "65536", "-1", "4_566"])
def test_a_port_that_is_none_is_refused(port: str, settings: LocalSettings) -> None:
    """With the name of the variable and what it may be."""
    with pytest.raises(BadSetting, match="KEYTURN_PORT"):
        LocalSettings.from_environment({"KEYTURN_PORT": port}, root=settings.root)
