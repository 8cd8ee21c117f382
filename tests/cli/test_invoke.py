"""What `keyturn invoke` hands to sam, and how it lets a worker really run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from keyturn_cli.invoke import sam_command, with_endpoint
from keyturn_cli.staged import is_task, running
from keyturn_local.settings import LocalSettings
from moto import mock_aws

from keyturn.adapters.keys import KeyStore
from keyturn.adapters.table import Table
from keyturn.core.task import Permission, Task, permission

ROOT = Path(__file__).parents[2]
VARIABLES = {"STATE_TABLE": "state", "INDEX_BUCKETS": "8", "INDEX_ROUNDING_S": "5"}
TASKS = [file for file in sorted(ROOT.glob("events/*/*.json")) if is_task(json.loads(file.read_bytes()))]


@pytest.fixture
def dynamodb() -> Iterator[Any]:
    """A state table."""
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        client.create_table(
            TableName="state",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        )
        yield client


@pytest.mark.parametrize("file", TASKS, ids=lambda file: file.parent.name)
def test_a_sample_task_may_begin_during_the_call_and_leaves_nothing(dynamodb: Any, file: Path) -> None:
    """Its key is running, with its fence, in its execution; behind the call there is no such key."""
    keys = KeyStore(Table(dynamodb, "state"), 8, 5_000)
    with running(dynamodb, VARIABLES, json.loads(file.read_bytes())) as payload:
        task = Task.from_payload(payload)
        state = keys.load(task.header.key)
        assert permission(state, task, task.header.deadline_ms - 10_000, 2_000) is Permission.GRANTED
    assert dynamodb.scan(TableName="state")["Count"] == 0


def test_two_calls_have_two_keys(dynamodb: Any) -> None:
    """A second call isn't answered from the first one's step result."""
    task = json.loads(TASKS[0].read_bytes())
    with running(dynamodb, VARIABLES, task) as one, running(dynamodb, VARIABLES, task) as other:
        assert one["run"]["key"] != other["run"]["key"] != task["run"]["key"]


def test_only_workers_tasks_need_a_key() -> None:
    """The platform's functions take their events as they are."""
    assert {file.parent.name for file in TASKS} == {
        "inventory",
        "payment",
        "notification",
        "packing",
        "picking",
        "canary",
    }


def test_variables_lead_to_the_engine_as_a_container_sees_it() -> None:
    """The queue's URL too; a function keeps what is its own."""
    variables = {
        "STATE_TABLE": "t",
        "WAKE_QUEUE_URL": "http://localhost:4566/000000000000/wake",
        "POWERTOOLS_SERVICE_NAME": "payment",
    }
    assert with_endpoint(variables, "http://172.17.0.1:40000") == {
        "STATE_TABLE": "t",
        "WAKE_QUEUE_URL": "http://172.17.0.1:40000/000000000000/wake",
        "AWS_ENDPOINT_URL": "http://172.17.0.1:40000",
    }


def test_sam_runs_the_function_as_it_was_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is one that a person could type."""
    monkeypatch.chdir(tmp_path)
    settings = LocalSettings(root=tmp_path)
    command = sam_command(
        settings, "payment", Path("e.json"), settings.state_dir / "invoke.json", ["--debug-port", "1"]
    )
    assert " ".join(command) == (
        "sam local invoke PaymentFunction --template .keyturn/build/template.yaml --event e.json"
        " --env-vars .keyturn/invoke.json --debug-port 1"
    )


def test_every_function_of_the_template_has_a_sample_event() -> None:
    """One folder a function."""
    functions = {path.name for path in (ROOT / "functions").iterdir() if (path / "app.py").is_file()}
    assert {file.parent.name for file in ROOT.glob("events/*/*.json")} == functions
