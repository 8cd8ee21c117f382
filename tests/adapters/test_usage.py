"""What an invocation used is counted from the calls themselves, with nobody having to remember it."""

import base64
import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import boto3
import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError
from moto import mock_aws

from keyturn.adapters import telemetry
from keyturn.adapters.records import count_records
from keyturn.adapters.usage import Usage, usage
from tests.adapters.aws import create_state_table

KEY = {"pk": {"S": "key#order-1"}, "sk": {"S": "state"}}


@pytest.fixture
def aws() -> Iterator[None]:
    """Let moto answer."""
    with mock_aws():
        yield


def metered(service: str = "dynamodb") -> tuple[Any, Usage]:
    """Make a client and what counts its calls."""
    client = boto3.client(service, region_name="us-east-1")  # type: ignore[call-overload]  # the name is a variable
    counted = Usage(is_on=True)
    counted.listen(client, service)
    return client, counted


@pytest.mark.usefixtures("aws")
class TestDynamoDB:
    """Units are those that DynamoDB tells, by table and by the part of it that the call was about."""

    def test_a_write_counts_by_the_first_word_of_its_partition_key(self) -> None:
        """So the bill can say whether events, slots or controls took it."""
        client, counted = metered()
        table = create_state_table(client)
        client.put_item(TableName=table, Item=KEY)
        client.put_item(TableName=table, Item={"pk": {"S": "control"}, "sk": {"S": "release"}})
        client.put_item(TableName=table, Item={"pk": {"S": "my own"}, "sk": {"S": "x"}})
        used = counted.take()
        assert used["calls dynamodb.PutItem"] == 3
        assert {used[f"write {table} {part}"] for part in ("key", "control", "other")} == {1.0}

    def test_a_write_whose_condition_failed_counts_as_a_unit(self) -> None:
        """DynamoDB bills it, and its answer doesn't say so."""
        client, counted = metered()
        table = create_state_table(client)
        client.put_item(TableName=table, Item=KEY)
        counted.take()
        with pytest.raises(ClientError):
            client.put_item(TableName=table, Item=KEY, ConditionExpression="attribute_not_exists(pk)")
        assert counted.take() == {"calls dynamodb.PutItem": 1, f"refused {table} key": 1.0}

    def test_a_query_of_the_index_is_no_keys(self) -> None:
        """It asks for a bucket, whosever keys stand there."""
        client, counted = metered()
        table = create_state_table(client)
        values = {":bucket": {"S": "running#0"}}
        client.query(
            TableName=table,
            IndexName="due",
            KeyConditionExpression="due_bucket = :bucket",
            ExpressionAttributeValues=values,
        )
        assert [name for name in counted.take() if name.startswith("read")] == [f"read {table} index"]

    def test_what_was_taken_is_not_counted_again(self) -> None:
        """Each invocation tells its own."""
        client, counted = metered()
        client.put_item(TableName=create_state_table(client), Item=KEY)
        counted.take()
        assert counted.take() == {}


class _Silent:
    """Answers a BatchGetItem as an engine does that tells no units."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer

    def units(self, asked: dict[str, Any]) -> dict[str, float]:
        counted = Usage(is_on=True)
        context: dict[str, Any] = {}
        counted._asked("dynamodb", "BatchGetItem")(params={"RequestItems": asked}, context=context)
        counted._answered("BatchGetItem")(parsed=self.answer, context=context)
        return {name: value for name, value in counted.take().items() if name.startswith("read")}


def test_a_batch_whose_answer_tells_nothing_is_worked_out_by_the_developer_guides_rule() -> None:
    """Each item is rounded up by itself, one that isn't there takes a unit, one that wasn't looked at takes none."""
    keys = [{"pk": {"S": "key#a"}, "sk": {"S": str(number)}} for number in range(4)]
    large = {"pk": {"S": "key#a"}, "sk": {"S": "0"}, "event": {"B": b"x" * 5_000}}
    answer = {
        "Responses": {"table": [large, KEY]},
        "UnprocessedKeys": {"table": {"Keys": [keys[3]]}},
    }
    assert _Silent(answer).units({"table": {"Keys": keys}}) == {"read table key": 2 + 1 + 1}


@pytest.mark.usefixtures("aws")
def test_a_start_is_counted_by_its_state_machine() -> None:
    """What an execution costs depends on which it is of."""
    client, counted = metered("stepfunctions")
    arn = "arn:aws:states:us-east-1:123456789012:stateMachine:keyturn-order-express"
    with pytest.raises(ClientError):
        client.start_execution(stateMachineArn=arn, input="{}")
    assert counted.take() == {"calls stepfunctions.StartExecution:keyturn-order-express": 1}


@pytest.mark.usefixtures("aws")
def test_nothing_is_counted_or_asked_for_when_the_stack_is_not_metered() -> None:
    """Metering costs a line an invocation, so it is off unless somebody wants it."""
    client = boto3.client("dynamodb", region_name="us-east-1")
    counted = Usage(is_on=False)
    counted.listen(client, "dynamodb")
    table = create_state_table(client)
    assert "ConsumedCapacity" not in client.put_item(TableName=table, Item=KEY)
    counted.add("counted Finished")
    assert counted.take() == {}


def test_an_invocation_tells_its_usage_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that `keyturn cost` reads."""
    told = StringIO()
    monkeypatch.setenv("METERING", "on")
    monkeypatch.setattr(telemetry, "logger", lambda: Logger(service="test", stream=told))
    usage.cache_clear()
    try:

        def handle(_event: Any, _context: Any) -> str:
            usage().add("calls dynamodb.PutItem", 2)
            return "done"

        assert telemetry.instrumented(handle)({}, None) == "done"
    finally:
        usage.cache_clear()
    (line,) = [json.loads(text) for text in told.getvalue().splitlines()]
    assert (line["message"], line["used"]) == ("usage", {"calls dynamodb.PutItem": 2})


def test_a_records_kilobytes_are_those_of_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Base64 fills up to a multiple of three: 1,024 bytes are one kilobyte, and 25,600 one PUT unit."""
    counted = Usage(is_on=True)
    monkeypatch.setattr("keyturn.adapters.records.usage", lambda: counted)
    sizes = (1, 1_023, 1_024, 1_025, 25_600, 25_601)
    count_records(
        {"Records": [{"kinesis": {"data": base64.b64encode(b"x" * size).decode()}} for size in sizes]},
    )
    assert counted.take() == {
        "counted Records": 6,
        "counted RecordBytes": sum(sizes),
        "counted RecordKilobytes": 1 + 1 + 1 + 2 + 25 + 26,
        "counted PutUnits": 1 + 1 + 1 + 1 + 1 + 2,
    }
