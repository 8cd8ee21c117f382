"""Each of AWS's limits stops a call that breaks it, and one just within passes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.guard import hook
from tests.guard.limits import BeyondLimit, check, item_bytes

Call = tuple[str, str, dict[str, Any]]


def item(**attributes: Any) -> dict[str, Any]:
    return {"pk": {"S": "p"}, "sk": {"S": "s"}, **attributes}


def start(**call: Any) -> Call:
    return "stepfunctions", "StartExecution", {"stateMachineArn": "a", "name": "n", "input": "{}"} | call


def text(size: int) -> str:
    return json.dumps("x" * (size - 2))


def put(found: dict[str, Any]) -> Call:
    return "dynamodb", "PutItem", {"TableName": "t", "Item": found}


def write(*items: dict[str, Any]) -> Call:
    return "dynamodb", "BatchWriteItem", {"RequestItems": {"t": [{"PutRequest": {"Item": one}} for one in items]}}


def read(*keys: dict[str, Any]) -> Call:
    return "dynamodb", "BatchGetItem", {"RequestItems": {"t": {"Keys": list(keys)}}}


def transact(*items: dict[str, Any]) -> Call:
    return "dynamodb", "TransactWriteItems", {"TransactItems": [{"Put": {"Item": one}} for one in items]}


def send(body: str = "m", **more: Any) -> Call:
    return "sqs", "SendMessage", {"QueueUrl": "q", "MessageBody": body, **more}


def records(*data: bytes, key: str = "k") -> Call:
    return "kinesis", "PutRecords", {"Records": [{"Data": one, "PartitionKey": key} for one in data]}


def invoke(size: int, kind: str = "RequestResponse") -> Call:
    return "lambda", "Invoke", {"FunctionName": "f", "InvocationType": kind, "Payload": b"x" * size}


def numbered(count: int, **more: Any) -> list[dict[str, Any]]:
    return [item(**more) | {"sk": {"S": str(number)}} for number in range(count)]


LARGE = {"b": {"B": b"x" * 400_000}}

RULES: dict[str, tuple[Call, Call]] = {
    "execution input": (start(input=text(262_144)), start(input=text(262_145))),
    "execution input counts bytes": (start(input='"é"'), start(input=json.dumps("é" * 140_000, ensure_ascii=False))),
    "execution input is JSON": (start(input="[1]"), start(input="[NaN]")),
    "execution name length": (start(name="n" * 80), start(name="n" * 81)),
    "execution name characters": (start(name="order-1-abc-2"), start(name="order:1")),
    "execution name without spaces": (start(name="a.b"), start(name="a b")),
    "item size with names": (
        put(item(event={"B": b"x" * (409_600 - 11)})),
        put(item(event={"B": b"x" * (409_600 - 10)})),
    ),
    "partition key": (put(item() | {"pk": {"S": "x" * 2_048}}), put(item() | {"pk": {"S": "x" * 2_049}})),
    "sort key": (put(item() | {"sk": {"S": "é" * 512}}), put(item() | {"sk": {"S": "é" * 513}})),
    "key not empty": (put(item()), put(item() | {"sk": {"S": ""}})),
    "nesting": (put(item(m={"M": {"a": {"S": ""}}})), put(item(m=json.loads('{"L":[' * 32 + '{"S":""}' + "]}" * 32)))),
    "digits of a number": (put(item(n={"N": "1" * 38})), put(item(n={"N": "1" * 39}))),
    "batch write count": (write(*numbered(25)), write(*numbered(26))),
    "batch write item": (write(*numbered(1, **LARGE)), write(*numbered(1, big={"B": b"x" * 410_000}))),
    "batch write twice": (write(*numbered(2)), write(item(), item())),
    "batch get count": (read(*numbered(100)), read(*numbered(101))),
    "batch get twice": (read(item()), read(item(), item())),
    "batch get empty": (read(item()), read()),
    "transaction count": (transact(*numbered(100)), transact(*numbered(101))),
    "transaction bytes": (transact(*numbered(10, **LARGE)), transact(*numbered(11, **LARGE))),
    "index read": (
        ("dynamodb", "Query", {"IndexName": "due"}),
        ("dynamodb", "Query", {"IndexName": "due", "ConsistentRead": True}),
    ),
    "query limit": (("dynamodb", "Query", {"Limit": 1}), ("dynamodb", "Query", {"Limit": 0})),
    "update key": (
        ("dynamodb", "UpdateItem", {"Key": item()}),
        ("dynamodb", "UpdateItem", {"Key": item() | {"sk": {"S": "x" * 1_025}}}),
    ),
    "message size": (send("x" * 262_144), send("x" * 262_145)),
    "message characters": (send("\U0001f600"), send("\x00")),
    "message delay": (send(DelaySeconds=900), send(DelaySeconds=901)),
    "message delay not negative": (send(DelaySeconds=0), send(DelaySeconds=-1)),
    "message batch": (
        ("sqs", "SendMessageBatch", {"Entries": [{"MessageBody": "m"}] * 10}),
        ("sqs", "SendMessageBatch", {"Entries": [{"MessageBody": "m"}] * 11}),
    ),
    "records count": (records(*[b"x"] * 500), records(*[b"x"] * 501)),
    "records bytes": (records(*[b"x" * 1_000_000] * 5), records(*[b"x" * 1_048_000] * 6)),
    "record bytes": (records(b"x" * 1_048_576), records(b"x" * 1_048_577)),
    "record key": (records(b"x", key="k" * 256), records(b"x", key="k" * 257)),
    "invocation": (invoke(6_291_456), invoke(6_291_457)),
    "asynchronous invocation": (invoke(1_048_576, "Event"), invoke(1_048_577, "Event")),
    "object key": (("s3", "PutObject", {"Key": "x" * 1_024}), ("s3", "PutObject", {"Key": "x" * 1_025})),
    "stop cause": (
        ("stepfunctions", "StopExecution", {"cause": "x" * 32_768}),
        ("stepfunctions", "StopExecution", {"cause": "x" * 32_769}),
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_fires_just_beyond_its_limit(rule: str) -> None:
    within, beyond = RULES[rule]
    check(*within)
    with pytest.raises(BeyondLimit, match=f"{beyond[0]}.{beyond[1]}: "):
        check(*beyond)


def test_an_items_size_counts_names_and_nested_values() -> None:
    """As the Developer Guide's "Item sizes" counts them."""
    assert item_bytes({"ab": {"S": "é"}}) == 4
    assert item_bytes({"a": {"M": {"b": {"BOOL": True}}}}) == 1 + 3 + 1 + 1 + 1


@pytest.fixture
def refused_here() -> Any:
    """Expect a refusal: what the autouse fixture would fail this test for is taken off its list."""
    yield
    hook.broken.clear()


@pytest.mark.usefixtures("refused_here")
@pytest.mark.parametrize("make", [boto3.client, lambda name: boto3.Session().client(name)], ids=["default", "session"])
def test_every_client_is_guarded(make: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one made by somebody else's code, and with parameter validation off."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        boto3.setup_default_session(region_name="us-east-1")
        client = make("sqs")
        url = client.create_queue(QueueName="q")["QueueUrl"]
        with pytest.raises(BeyondLimit, match="DelaySeconds is 1000"):
            client.send_message(QueueUrl=url, MessageBody="m", DelaySeconds=1_000)
    assert hook.broken == ["sqs.SendMessage: DelaySeconds is 1000, AWS takes 0 to 900"]


def test_a_lambda_process_is_guarded(tmp_path: Path) -> None:
    """As the test engine starts one: a bare Python with one folder more on its path."""
    log = tmp_path / "guard.log"
    program = "import boto3; boto3.client('sqs').send_message(QueueUrl='http://127.0.0.1:1/q', MessageBody='')"
    folder = Path(__file__).parent / "inside_lambdas"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(folder),
            "AWS_LAMBDA_FUNCTION_NAME": "keyturn-dispatcher",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            hook.LOG_VARIABLE: str(log),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "BeyondLimit" in run.stderr, run.stderr
    guarded, refused = log.read_text().splitlines()
    assert guarded == f"keyturn-dispatcher: {hook.GUARDED}"
    assert refused.startswith("keyturn-dispatcher: sqs.SendMessage: the message is empty")


def test_what_a_call_needs_is_noted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each action with its resource, of a copy both ends."""
    log = tmp_path / "calls.log"
    monkeypatch.setenv(hook.CALLS_VARIABLE, str(log))
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "keyturn-sweeper")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(hook, "_noted", set())
    with mock_aws():
        client = boto3.Session().client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="bucket")
        client.put_object(Bucket="bucket", Key="from", Body=b"x")
        for _ in range(2):
            client.copy_object(Bucket="bucket", Key="to", CopySource={"Bucket": "bucket", "Key": "from"})
    assert log.read_text().splitlines()[1:] == [
        "keyturn-sweeper s3:PutObject object/bucket/from",
        *sorted(["keyturn-sweeper s3:GetObject object/bucket/from", "keyturn-sweeper s3:PutObject object/bucket/to"]),
    ]
