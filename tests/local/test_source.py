"""The event source over an in-process Kinesis (moto) and a function that is a Python callable."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from keyturn_local.poller import shard as shard_module
from keyturn_local.poller.aws import Clients
from keyturn_local.poller.checkpoints import InFile
from keyturn_local.poller.mapping import Start
from keyturn_local.poller.source import EventSource
from moto import mock_aws

from tests.local.fake_function import FakeFunction
from tests.local.kit import LIMIT_S, STREAM_ARN, mapping, until, until_settled


@dataclass
class World:
    """A stream, a function, and event sources between them."""

    kinesis: Any
    function: FakeFunction
    clients: Clients
    sources: list[EventSource] = field(default_factory=list)
    put: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def put_records(self, count: int, keys: int = 5) -> None:
        """Put records over some keys, in order within each."""
        for at in range(count):
            key = f"key-{at % keys}"
            answer = self.kinesis.put_record(StreamName="orders", PartitionKey=key, Data=f"{at}".encode())
            self.put[key].append(answer["SequenceNumber"])

    def run(
        self, *, checkpoints: InFile | None = None, clock: Callable[[], float] = time.time, **settings: object
    ) -> EventSource:
        """Start an event source with these mapping settings."""
        source = EventSource(mapping=mapping(**settings), clients=self.clients, clock=clock)
        if checkpoints is not None:
            source.checkpoints = checkpoints
        self.sources.append(source)
        source.start()
        return source

    def until_settled(self) -> None:
        """Wait until all is counted that was put. Then every record was taken, once and in order within its key."""
        until_settled(self.put, self.sources)
        assert self.function.taken == self.put


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two shards, and polls in quick succession."""
    monkeypatch.setattr(shard_module, "POLL_FIRST_S", 0.01)
    monkeypatch.setattr(shard_module, "POLL_MAX_S", 0.02)
    monkeypatch.setattr("keyturn_local.poller.source.LIST_EVERY_S", 0.05)
    monkeypatch.setenv("MOTO_ACCOUNT_ID", "000000000000")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        session = boto3.Session(region_name="us-east-1")
        kinesis = session.client("kinesis")
        kinesis.create_stream(StreamName="orders", ShardCount=2)
        function = FakeFunction()
        clients = Clients(
            kinesis=kinesis,
            invoker=cast("Any", function),
            s3=session.client("s3"),
            sqs=session.client("sqs"),
            sns=session.client("sns"),
        )
        found = World(kinesis, function, clients)
        yield found
        for source in found.sources:
            source.stop()


def test_every_record_is_taken_once_and_in_order_of_its_key(world: World) -> None:
    """With several lanes a shard, and batches that don't divide the records evenly."""
    world.put_records(200, keys=20)
    source = world.run(batch_size=7, parallelization_factor=3)
    world.until_settled()
    assert source.status().done == 200
    assert max(map(len, world.function.batches)) <= 7


def test_a_clock_that_is_set_back_stops_no_reading(world: World) -> None:
    """Not for the hour that it takes to be where it was again."""
    behind_s = 0.0
    world.run(clock=lambda: time.time() - behind_s)
    world.put_records(5)
    world.until_settled()
    behind_s = 3600.0
    world.put_records(5)
    world.until_settled()


def test_a_partial_failure_loses_nothing_and_keeps_the_order(world: World) -> None:
    """The middle of every batch fails the first time it is seen."""
    seen: set[str] = set()

    def fail_the_middle_once(records: list[dict[str, Any]]) -> object:
        number = records[len(records) // 2]["sequenceNumber"]
        with world.function.lock:
            again = number in seen
            seen.add(number)
        return None if again else {"batchItemFailures": [{"itemIdentifier": number}]}

    world.function.answer = fail_the_middle_once
    world.put_records(60)
    world.run(batch_size=10, parallelization_factor=2)
    world.until_settled()


def test_what_cannot_be_invoked_is_tried_again_without_counting(world: World) -> None:
    """Throttles and broken connections use up no retries, even if there are none."""
    problems: list[Exception] = [
        ClientError({"Error": {"Code": "TooManyRequestsException", "Message": "Rate Exceeded"}}, "Invoke"),
        ConnectionResetError("gone"),
    ]

    def throttle_twice(_records: list[dict[str, Any]]) -> object:
        with world.function.lock:
            problem = problems.pop() if problems else None
        if problem is not None:
            raise problem
        return None

    world.function.answer = throttle_twice
    world.put_records(3, keys=1)
    source = world.run(retries_max=0)
    world.until_settled()
    assert source.status().throttled == 2


def test_latest_means_the_first_start(world: World, tmp_path: Path) -> None:
    """What was put before isn't delivered; what is put while the event source is away is, after a restart."""
    path = tmp_path / "checkpoints.json"
    world.put_records(4)
    world.put.clear()
    first_start_s = time.time() + 0.001
    until(lambda: time.time() > first_start_s)
    world.run(checkpoints=InFile(path), start=Start.LATEST).stop(timeout_s=LIMIT_S)
    assert InFile(path).started_at_s(default=0) >= first_start_s
    world.put_records(20)
    world.run(checkpoints=InFile(path), start=Start.LATEST)
    world.until_settled()


def test_at_timestamp_begins_at_the_exact_time(world: World) -> None:
    """The API takes whole seconds only; the fraction is honoured all the same."""
    world.put_records(4)
    world.put.clear()
    start_at_s = time.time() + 0.001
    until(lambda: time.time() > start_at_s)
    world.put_records(4)
    world.run(start=Start.AT_TIMESTAMP, start_at_s=start_at_s)
    world.until_settled()


def test_a_restart_goes_on_at_the_checkpoint(world: World, tmp_path: Path) -> None:
    """Finished records don't come again, unfinished ones do."""
    path = tmp_path / "checkpoints.json"
    world.put_records(30)
    first = world.run(checkpoints=InFile(path))
    world.until_settled()
    first.stop(timeout_s=LIMIT_S)
    batches = len(world.function.batches)
    world.put_records(30)
    world.run(checkpoints=InFile(path))
    world.until_settled()
    assert len(world.function.batches) > batches


def test_what_was_in_flight_at_a_stop_comes_again(world: World, tmp_path: Path) -> None:
    """A stop doesn't wait for the function, and counts nothing that it didn't answer as finished."""
    path = tmp_path / "checkpoints.json"
    started, never = threading.Event(), threading.Event()

    def hang(_records: list[dict[str, Any]]) -> object:
        started.set()
        never.wait(LIMIT_S)
        raise ValueError("stopped")

    world.function.answer = hang
    world.put_records(3, keys=1)
    first = world.run(checkpoints=InFile(path))
    until(started.is_set)
    first.stop(timeout_s=LIMIT_S)
    never.set()
    world.function.answer = lambda _records: None
    world.run(checkpoints=InFile(path))
    world.until_settled()


def test_an_expired_iterator_is_replaced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new one begins after the last record that was read."""
    real = world.kinesis.get_records
    calls = iter(range(10**9))

    def expire_often(**request: Any) -> Any:
        if next(calls) % 3 == 1:
            raise world.kinesis.exceptions.ExpiredIteratorException(
                {"Error": {"Code": "ExpiredIteratorException", "Message": "expired"}}, "GetRecords"
            )
        return real(**request)

    monkeypatch.setattr(world.kinesis, "get_records", expire_often)
    world.put_records(40)
    world.run(batch_size=3)
    world.until_settled()


@pytest.mark.parametrize("kind", ["s3", "sqs", "sns", "none"])
def test_a_batch_without_retries_left_goes_to_the_destination(world: World, kind: str) -> None:
    """The bad record is isolated and given up; the others are taken. S3 gets the whole event with it."""
    bad = b"3"

    def refuse_the_bad(records: list[dict[str, Any]]) -> object:
        if any(found["data"] == "Mw==" for found in records):  # base64 of the bad one
            raise ValueError("poison")
        return None

    world.function.answer = refuse_the_bad
    arn, read = _destination(world, kind)
    world.put_records(8, keys=1)
    poisoned = world.put["key-0"].pop(int(bad))
    source = world.run(retries_max=1, bisect_on_error=True, on_failure_arn=arn)
    world.until_settled()
    until(lambda: source.status().given_up == 1)
    if kind == "none":
        return
    found = read()
    assert found["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert found["requestContext"]["approximateInvokeCount"] == 2
    assert found["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    info = found["KinesisBatchInfo"]
    assert (info["startSequenceNumber"], info["endSequenceNumber"], info["batchSize"]) == (poisoned, poisoned, 1)
    if kind == "s3":
        (record,) = json.loads(found["payload"])["Records"]
        assert record["kinesis"]["sequenceNumber"] == poisoned


def _destination(world: World, kind: str) -> tuple[str | None, Callable[[], dict[str, Any]]]:
    """A failure destination, and how to read the one record in it."""
    if kind == "none":
        return None, dict
    if kind == "s3":
        world.clients.s3.create_bucket(Bucket="failures")

        def read_object() -> dict[str, Any]:
            (entry,) = world.clients.s3.list_objects_v2(Bucket="failures")["Contents"]
            assert entry["Key"].startswith("aws/lambda/5f5c6a3e-0000-4000-8000-000000000000/shardId-")
            body = world.clients.s3.get_object(Bucket="failures", Key=entry["Key"])["Body"].read()
            return cast("dict[str, Any]", json.loads(body))

        return "arn:aws:s3:::failures", read_object
    url = world.clients.sqs.create_queue(QueueName="failures")["QueueUrl"]
    queue_arn = world.clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    topic_arn = world.clients.sns.create_topic(Name="failures")["TopicArn"]
    world.clients.sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn)

    def read_message() -> dict[str, Any]:
        (message,) = world.clients.sqs.receive_message(QueueUrl=url)["Messages"]
        body = json.loads(message["Body"])
        return cast("dict[str, Any]", body if kind == "sqs" else json.loads(body["Message"]))

    return (queue_arn if kind == "sqs" else topic_arn), read_message


def test_a_destination_that_is_away_is_tried_until_it_takes_the_record(world: World) -> None:
    """A given-up record may not vanish because its bucket is missing."""

    def refuse(_records: list[dict[str, Any]]) -> object:
        raise ValueError("always")

    world.function.answer = refuse
    world.put_records(1)
    source = world.run(retries_max=0, on_failure_arn="arn:aws:s3:::failures")
    until(lambda: "failures" in source.status().last_problem)
    assert source.status().given_up == 0
    world.clients.s3.create_bucket(Bucket="failures")
    until(lambda: source.status().given_up == 1)


def test_the_stream_arn_is_the_one_of_the_mapping(world: World) -> None:
    """A guard for this file: moto's stream has the ARN that the mapping names."""
    summary = world.kinesis.describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"]
    assert summary["StreamARN"] == STREAM_ARN
