"""A bad version on the deployed stack, tried by some keys: rolled back by itself, with nothing lost."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final

import pytest
from keyturn_cli.app import app
from keyturn_cli.guarantees import violations
from typer.testing import CliRunner

from keyturn.adapters.controls import Controls
from keyturn.adapters.table import Table
from keyturn.core.naming import key_hash
from keyturn.core.rollout import Canary, Rollout
from tests.endtoend.stack import Stack

KEYS: Final = [f"released-{number}" for number in range(14)]
EVENTS: Final = 2
SHARE_PERCENT: Final = 30
BUG: Final = """
from keyturn import Permanent, worker

@worker
def handler(event, step):
    raise Permanent("this version has a bug")
"""


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an AWS user has them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


def keyturn(stack: Stack, *arguments: str) -> Any:
    """Run a command as a user does; return its document."""
    reach = ("--endpoint-url", stack.settings.endpoint_url, "--region", stack.settings.region, "--output", "json")
    done = CliRunner().invoke(app, [*arguments, *reach])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def release(stack: Stack, command: str, *arguments: str) -> Any:
    """Run a command that changes something."""
    return keyturn(stack, "release", command, *arguments, "--yes", "--reason", "a new payment worker")


def paid(key: str, number: int) -> tuple[str, bytes]:
    """Write an event that says that an order was paid."""
    event = {"specversion": "1.0", "id": f"{key}/{number}", "source": "/releases", "type": "shop.order.paid"}
    data = {"order_id": "released", "sequence": number, "amount_cents": 5, "method": "card"}
    return key, json.dumps(event | {"data": data}).encode()


def rollout(stack: Stack) -> Rollout:
    return Controls(Table(stack.target.client("dynamodb"), stack.target.environment["STATE_TABLE"]), 1).read().rollout


def deploy_payment(stack: Stack, code: str) -> None:
    """Put other code behind the payment worker, as a deploy does."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("app.py", code)
    stack.target.client("lambda").update_function_code(
        FunctionName=f"{stack.settings.stack_name}-payment", ZipFile=archive.getvalue()
    )


@contextmanager
def releases(stack: Stack) -> Iterator[None]:
    """Leave the stack behind as it was, without a release: other tests share it."""
    good = (stack.settings.root / "functions/payment/app.py").read_text(encoding="utf-8")
    try:
        yield
    finally:
        deploy_payment(stack, good)
        place = {"pk": {"S": "control"}, "sk": {"S": "release"}}
        stack.target.client("dynamodb").delete_item(TableName=stack.target.environment["STATE_TABLE"], Key=place)


def operators(stack: Stack, key: str) -> list[str]:
    """Return who did something to a key."""
    table = Table(stack.target.client("dynamodb"), stack.target.environment["STATE_TABLE"])
    arguments = {"KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)"}
    return [item["by"] for item in table.query(arguments, {"pk": f"key#{key}", "prefix": "operation#"})]


def taken(stack: Stack, key: str) -> list[int]:
    """Return the releases that a key's executions took, in the order of their fences."""
    client = stack.target.client("stepfunctions")
    machine = stack.target.environment["STATE_MACHINE_PREFIX"] + "order-standard"
    pages = client.get_paginator("list_executions").paginate(stateMachineArn=machine)
    ours = [one["executionArn"] for page in pages for one in page["executions"] if key_hash(key) in one["name"]]
    runs = [json.loads(client.describe_execution(executionArn=arn)["input"])["run"] for arn in ours]
    return [run["release"] for run in sorted(runs, key=lambda run: int(run["fence"]))]


def test_a_bad_release_is_rolled_back_by_itself_and_nothing_is_lost(stack: Stack) -> None:
    """Some keys try it; the good version does their events in the end, in order, and no key goes forth again."""
    with releases(stack):
        assert release(stack, "publish")["stable"] == 1
        deploy_payment(stack, BUG)
        assert release(stack, "publish")["published"] == [1, 2]
        release(stack, "canary", "--share", str(SHARE_PERCENT), "--min-attempts", "3", "--max-failed", "50")
        puts = stack.put([paid(key, number) for number in range(EVENTS) for key in KEYS])
        stack.until(lambda: rollout(stack).has_rolled_back(2), lambda: rollout(stack))
        for key in KEYS:
            stack.until_done(key, EVENTS)
        facts = stack.facts(puts)
        assert violations(facts.history) == []
        resumed = [key for key in KEYS if "keyturn" in operators(stack, key)]
        listed = keyturn(stack, "release", "list")
    assert [(one["number"], one["state"]) for one in listed["releases"]] == [(2, "rolled back"), (1, "stable")]
    assert listed["releases"][0]["story"][-1]["by"] == "keyturn"
    canary = Canary(2, SHARE_PERCENT * 100, 0)
    tried = {key: taken(stack, key) for key in KEYS}
    assert {key for key, numbers in tried.items() if 2 in numbers} <= {key for key in KEYS if canary.takes(key)}
    assert sum(2 in numbers for numbers in tried.values()) >= 3
    assert resumed, "it had parked some, which were resumed"
    for numbers in tried.values():
        assert all(later <= earlier for earlier, later in pairwise(numbers)), numbers
