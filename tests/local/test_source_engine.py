"""The event source against the real engine: Kinesis, Lambda processes, S3, and the mapping as the engine tells it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from keyturn_local.engine import start_engine
from keyturn_local.poller.source import EventSource, event_source
from keyturn_local.settings import LocalSettings

from tests.local.functions import client, create_function, create_mapping, create_stream
from tests.local.kit import until

pytestmark = pytest.mark.engine

FUNCTION = """
import base64
import boto3

table = boto3.client("dynamodb")

def handler(event, context):
    print("invoked", flush=True)
    failures = []
    for record in event["Records"]:
        kinesis = record["kinesis"]
        number, data = kinesis["sequenceNumber"], base64.b64decode(kinesis["data"]).decode()
        if data == "raise":
            raise ValueError("poison")
        if data == "fail" or (data == "once" and not was_seen(number)):
            failures.append({"itemIdentifier": number})
            break
        note("taken", kinesis["partitionKey"], number)
    return {"batchItemFailures": failures}

def note(kind, key, number):
    table.put_item(TableName="effects", Item={"pk": {"S": f"{kind}#{key}"}, "sk": {"S": number}})

def was_seen(number):
    found = table.get_item(TableName="effects", Key={"pk": {"S": "seen"}, "sk": {"S": number}}).get("Item")
    if found is None:
        table.put_item(TableName="effects", Item={"pk": {"S": "seen"}, "sk": {"S": number}})
    return found is not None
"""


class Deployed:
    """A stream, a function that notes what it took in a table, and an event source between them."""

    def __init__(self, settings: LocalSettings, name: str, **mapping: Any) -> None:
        self.settings, self.name = settings, name
        self.kinesis = client(settings, "kinesis")
        self.dynamodb = client(settings, "dynamodb")
        self.put: dict[str, list[str]] = defaultdict(list)
        settings_of_mapping = {"FunctionResponseTypes": ["ReportBatchItemFailures"], "BatchSize": 10} | mapping
        create_mapping(settings, create_stream(settings, name), "noting", **settings_of_mapping)
        self.source: EventSource = event_source(settings, "noting")
        self.source.start()

    def put_record(self, key: str, data: str = "x") -> str:
        """Put one record; its sequence number."""
        answer = self.kinesis.put_record(StreamName=self.name, PartitionKey=key, Data=data.encode())
        self.put[key].append(answer["SequenceNumber"])
        return str(answer["SequenceNumber"])

    def taken(self) -> dict[str, list[str]]:
        """Sequence numbers that the function took, by key."""
        found = {}
        for key in self.put:
            values = {":pk": {"S": f"taken#{key}"}}
            answer = self.dynamodb.query(
                TableName="effects", KeyConditionExpression="pk = :pk", ExpressionAttributeValues=values
            )
            found[key] = [item["sk"]["S"] for item in answer["Items"]]
        return found


@pytest.fixture
def deploy(settings: LocalSettings) -> Iterator[Callable[..., Deployed]]:
    """Deploys an event source with some mapping settings."""
    with start_engine(settings):
        client(settings, "dynamodb").create_table(
            TableName="effects",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        client(settings, "s3").create_bucket(Bucket="failures")
        create_function(settings, "noting", FUNCTION)
        made: list[Deployed] = []

        def make(**mapping: Any) -> Deployed:
            made.append(Deployed(settings, "orders", **mapping))
            return made[-1]

        yield make
        for deployed in made:
            deployed.source.stop()


def test_partial_failures_and_reshards_lose_nothing(deploy: Callable[..., Deployed]) -> None:
    """The engine deletes a parent with its records, so each reshard waits until the parent is read."""
    deployed = deploy(ParallelizationFactor=2)
    for at in range(60):
        deployed.put_record(f"key-{at % 6}", "once" if at % 7 == 0 else "x")
    until(lambda: deployed.source.status().done == 60)
    middle = 2**127
    deployed.kinesis.split_shard(
        StreamName="orders", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(middle)
    )
    for at in range(60):
        deployed.put_record(f"key-{at % 6}", "once" if at % 7 == 0 else "x")
    until(lambda: deployed.source.status().done == 120)
    deployed.kinesis.merge_shards(
        StreamName="orders", ShardToMerge="shardId-000000000001", AdjacentShardToMerge="shardId-000000000002"
    )
    for at in range(60):
        deployed.put_record(f"key-{at % 6}", "once" if at % 7 == 0 else "x")
    until(lambda: deployed.source.status().done == 180)
    assert deployed.taken() == deployed.put
    assert len(deployed.source.begun) == 4
    assert deployed.source.status().given_up == 0


def test_a_poisonous_record_is_isolated_and_kept_whole(deploy: Callable[..., Deployed]) -> None:
    """Bisected down to the one record, retried, then in S3 with its data."""
    deployed = deploy(
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": "arn:aws:s3:::failures"}},
    )
    for at in range(16):
        number = deployed.put_record("key", "raise" if at == 9 else "x")
        if at == 9:
            poisoned = number
            deployed.put["key"].pop()
    until(lambda: deployed.source.status().given_up == 1)
    until(lambda: deployed.taken() == deployed.put)
    (entry,) = client(deployed.settings, "s3").list_objects_v2(Bucket="failures")["Contents"]
    body = client(deployed.settings, "s3").get_object(Bucket="failures", Key=entry["Key"])["Body"].read()
    found = json.loads(body)
    assert found["requestContext"]["approximateInvokeCount"] == 2
    (record,) = json.loads(found["payload"])["Records"]
    assert (record["kinesis"]["sequenceNumber"], record["kinesis"]["data"]) == (poisoned, "cmFpc2U=")
    assert record["invokeIdentityArn"] == "arn:aws:iam::000000000000:role/tests"


def test_records_that_keep_failing_are_given_up_by_age_and_the_rest_goes_on(deploy: Callable[..., Deployed]) -> None:
    """By the clock of the event source, moved on here; other keys' lanes never stopped."""
    deployed = deploy(
        MaximumRecordAgeInSeconds=60, DestinationConfig={"OnFailure": {"Destination": "arn:aws:s3:::failures"}}
    )
    deployed.put_record("key", "fail")
    until(lambda: deployed.source.status().failed >= 2)
    deployed.put_record("key", "x")
    until(lambda: deployed.source.status().fetched == 2)
    old, young = deployed.put["key"]
    deployed.source.stop()
    source = event_source(deployed.settings, "noting")
    arrivals = arrivals_of(deployed)
    # just past the first record's limit, and within the second's: there is time between the two by the waits above
    source.clock = lambda: (arrivals[old] + arrivals[young]) / 2 + 60
    deployed.source = source
    source.start()
    until(lambda: deployed.taken() == {"key": [young]})
    (entry,) = client(deployed.settings, "s3").list_objects_v2(Bucket="failures")["Contents"]
    body = client(deployed.settings, "s3").get_object(Bucket="failures", Key=entry["Key"])["Body"].read()
    found = json.loads(body)
    assert found["requestContext"]["condition"] == "RecordAgeExceeded"
    assert found["KinesisBatchInfo"]["startSequenceNumber"] == old


def arrivals_of(deployed: Deployed) -> dict[str, float]:
    """When each record arrived, by sequence number."""
    iterator = deployed.kinesis.get_shard_iterator(
        StreamName="orders", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    records = deployed.kinesis.get_records(ShardIterator=iterator)["Records"]
    return {found["SequenceNumber"]: found["ApproximateArrivalTimestamp"].timestamp() for found in records}
