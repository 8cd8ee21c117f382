"""The commands of docs/operations.md that change a key do what the page says. They are taken from the page itself."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from keyturn.adapters.index import DueIndex
from keyturn.adapters.keys import KeyStore
from keyturn.adapters.table import Table
from keyturn.core import commands as ask
from keyturn.core.route import Exhaustion
from keyturn.core.state import KeyState, Phase, Queue, violations
from tests.core import states as make

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
KEY = "order-1001"
BUCKETS = 8
Arguments = dict[str, Any]


def commands() -> list[Arguments]:
    """Return the page's update-item commands as boto3's arguments: let a key go on, end a diversion."""
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    return [_arguments(line) for line in re.findall(r"^ +aws dynamodb update-item (.+)$", text, re.MULTILINE)]


def _arguments(line: str) -> Arguments:
    words = shlex.split(line)
    pairs = {option.removeprefix("--"): value for option, value in zip(words[::2], words[1::2], strict=True)}
    return {
        "Key": json.loads(pairs["key"]),
        "ConditionExpression": pairs["condition-expression"],
        "UpdateExpression": pairs["update-expression"],
        "ExpressionAttributeNames": json.loads(pairs["expression-attribute-names"]),
        "ExpressionAttributeValues": json.loads(pairs["expression-attribute-values"]),
    }


@pytest.fixture
def table() -> Iterator[Table]:
    """A state table on moto, with its index."""
    with mock_aws():
        client: Any = boto3.client("dynamodb", region_name="us-east-1")
        types = {"pk": "S", "sk": "S", "due_bucket": "S", "due_at": "N"}
        client.create_table(
            TableName="state",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in types.items()],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "due",
                    "KeySchema": [
                        {"AttributeName": "due_bucket", "KeyType": "HASH"},
                        {"AttributeName": "due_at", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        )
        yield Table(client, "state")


def stored(table: Table, state: KeyState) -> KeyState:
    """Store a state under the page's key."""
    return KeyStore(table, BUCKETS, 60_000).save(replace(state, key=KEY, version=0))


def run_as_on_the_page(table: Table, command: Arguments) -> KeyState:
    """Fill in what the page tells to look up, run the command, and read the key."""
    item = table.client.get_item(TableName="state", Key=command["Key"])["Item"]
    values = command["ExpressionAttributeValues"] | {":version": item["version"]}
    if ":bucket" in values:
        number = item.get("due_bucket", {"S": "#0"})["S"].partition("#")[2]
        values[":bucket"] = {"S": f"{values[':bucket']['S'].partition('#')[0]}#{number}"}
    table.client.update_item(TableName="state", **(command | {"ExpressionAttributeValues": values}))
    return KeyStore(table, BUCKETS, 60_000).load(KEY)


def test_a_parked_key_goes_on_by_the_pages_command(table: Table) -> None:
    """It waits for a slot, where the watchdog finds it, and its run starts anew with all its attempts."""
    resume, _ = commands()
    before = stored(table, make.parked(3))
    now = run_as_on_the_page(table, resume)
    assert (violations(now), now.phase, now.version) == ([], Phase.WAITING, before.version + 1)
    index = DueIndex(table, BUCKETS)
    assert ([entry.key for entry in index.some_waiting(1)], index.count(Queue.PARKED)) == ([KEY], 0)
    assert before.run is not None
    following = ask.Next(before.run.slice, make.ROUTE, has_slot=True)
    again = make.after(now, ask.Claim(following), int(2e12))
    assert again.run is not None
    assert (again.phase, again.run.attempt, again.run.slice) == (Phase.RUNNING, 1, before.run.slice)


def test_a_diversion_ends_by_the_pages_command(table: Table) -> None:
    """The key is idle and in no queue; the next event starts a run."""
    _, end = commands()
    stored(table, make.parked(1, Exhaustion.FAIL_BEHIND))
    now = run_as_on_the_page(table, end)
    assert (violations(now), now.phase, now.fence) == ([], Phase.IDLE, 1)
    assert all(DueIndex(table, BUCKETS).count(queue) == 0 for queue in Queue)
    assert make.after(now, make.admit(2, next=make.following(2)), int(2e12)).phase is Phase.RUNNING


@pytest.mark.parametrize("which", [0, 1], ids=["resume", "end a diversion"])
@pytest.mark.parametrize("state", [make.running(), make.waiting_for_slot(), make.idle()], ids=lambda state: state.phase)
def test_the_pages_commands_change_no_other_key(table: Table, which: int, state: KeyState) -> None:
    """They are conditional on the phase and the version that were read."""
    stored(table, state)
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        run_as_on_the_page(table, commands()[which])


def test_each_command_fits_one_kind_of_parked_key(table: Table) -> None:
    """A parked run is not dropped by the one, a diverted key gets no run by the other."""
    resume, end = commands()
    stored(table, make.parked())
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        run_as_on_the_page(table, end)
    table.client.delete_item(TableName="state", Key=resume["Key"])
    stored(table, make.parked(1, Exhaustion.FAIL_BEHIND))
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        run_as_on_the_page(table, resume)
