"""On the deployed stack: what was quarantined or given up is listed, shown, run again, discarded; the rest is kept."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from keyturn_cli.app import app
from keyturn_cli.errors import CliError
from keyturn_cli.items.found import QUARANTINED, Items
from typer.testing import CliRunner

from tests.adapters.wire import record
from tests.endtoend.stack import Stack
from tests.endtoend.test_stack import STEPS, permit

BAD, LATE, GIVEN_UP = "unprocessed-bad", "unprocessed-late", "unprocessed-given-up"
WHY = ("--because", "mended", "--yes")


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an AWS user has them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


def keyturn(stack: Stack, *arguments: str) -> str:
    """Run a command against the stack, as one on AWS is reached; raises what the command would say and exit by."""
    reach = ("--endpoint-url", stack.settings.endpoint_url, "--region", stack.settings.region)
    done = CliRunner().invoke(app, [*arguments, *reach])
    if isinstance(done.exception, CliError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def open_of(stack: Stack, group: str, key: str) -> list[dict[str, Any]]:
    """The open items of a key."""
    listed = json.loads(keyturn(stack, group, "list", "--limit", "1000", "--output", "json"))
    return [item for item in listed["items"] if item["key"] == key]


def deliver(stack: Stack, key: str, data: bytes, sequence_number: str) -> None:
    """Have the dispatcher get a record out of turn, as an event source does that had set it aside."""
    batch = {"Records": [record(data, key, sequence_number)]}
    assert stack.invoke(stack.target.outputs.dispatcher_function_name, batch) == {"batchItemFailures": []}


def test_a_record_that_is_still_bad_is_left_unless_forced(stack: Stack) -> None:
    stack.follow(stack.put([(BAD, b'{"specversion": "1.0"}')]))
    (item,) = open_of(stack, "quarantine", BAD)
    assert item["reason"] == "envelope"
    assert "specversion" in keyturn(stack, "quarantine", "show", item["id"], "--data")
    with pytest.raises(CliError, match="envelope: "):
        keyturn(stack, "quarantine", "redrive", item["id"], *WHY)
    assert open_of(stack, "quarantine", BAD) == [item]
    assert "1 quarantined record redriven." in keyturn(stack, "quarantine", "redrive", item["id"], "--force", *WHY)
    with pytest.raises(CliError, match="was redriven already"):
        keyturn(stack, "quarantine", "redrive", item["id"], "--force", *WHY)


def test_a_forced_one_comes_back_and_is_discarded(stack: Stack) -> None:
    """By the stream: it is another record now."""
    stack.until(lambda: bool(open_of(stack, "quarantine", BAD)))
    (item,) = open_of(stack, "quarantine", BAD)
    assert "1 quarantined record discarded." in keyturn(stack, "quarantine", "discard", item["id"], *WHY)
    assert not open_of(stack, "quarantine", BAD)


def test_good_ones_run_in_their_old_order(stack: Stack) -> None:
    """Two that the event source had set aside, redriven together behind what came meanwhile."""
    deliver(stack, LATE, permit(LATE, 3), "9" * 20)
    stack.until_done(LATE, 1)
    for number in (1, 2):
        deliver(stack, LATE, permit(LATE, number), str(number) * 20)
    found = open_of(stack, "quarantine", LATE)
    assert [item["reason"] for item in found] == ["late", "late"]
    newest_first = [item["id"] for item in found][::-1]
    assert "2 quarantined records redriven." in keyturn(stack, "quarantine", "redrive", *newest_first, *WHY)
    stack.until_done(LATE, 3)
    effects = sorted(stack.store.ledger().effects, key=lambda effect: effect.turn)
    ran = [effect.event_id for effect in effects if effect.place.key == LATE and effect.step == STEPS[0]]
    assert ran == [f"{LATE}-{number}" for number in (3, 1, 2)]


def test_a_skipped_run_is_listed_and_runs_again(stack: Stack) -> None:
    """Given up by a person, and taken up again once the cause is mended."""
    paid = {"order_id": "x", "sequence": 0, "amount_cents": 5, "method": "card", "demo": {"payment": "permanent"}}
    event = {"specversion": "1.0", "id": "u-0", "source": "/unprocessed", "type": "shop.order.paid", "data": paid}
    stack.follow(stack.put([(GIVEN_UP, json.dumps(event).encode())]))
    keyturn(stack, "skip", GIVEN_UP, "--reason", "refunded by hand", "--yes")
    (item,) = open_of(stack, "deadletter", GIVEN_UP)
    assert "refunded by hand" in item["reason"]
    assert "u-0" in keyturn(stack, "deadletter", "show", item["id"], "--data")
    tries = len(stack.store.attempts([GIVEN_UP]))
    assert "1 dead letter redriven." in keyturn(stack, "deadletter", "redrive", item["id"], *WHY)
    assert not open_of(stack, "deadletter", GIVEN_UP)
    stack.until(lambda: stack.state(GIVEN_UP).parked is not None)  # its worker fails as it did before
    assert len(stack.store.attempts([GIVEN_UP])) > tries
    with pytest.raises(CliError, match="was redriven already"):
        keyturn(stack, "deadletter", "redrive", item["id"], *WHY)
    keyturn(stack, "skip", GIVEN_UP, "--reason", "never mind", "--yes")
    (again,) = open_of(stack, "deadletter", GIVEN_UP)
    assert again["id"] == item["id"]
    assert "1 dead letter discarded." in keyturn(stack, "deadletter", "discard", item["id"], *WHY)


def test_the_sweeper_renews_what_is_open_with_its_object(stack: Stack) -> None:
    """A large quarantined record whose life is nearly over: the item and, by a copy onto itself, the object."""
    key = "unprocessed-old"
    stack.follow(stack.put([(key, b"x" * 300_000)]))
    (item,) = open_of(stack, "quarantine", key)
    table = stack.store.table
    entry = next(one for one in Items.of(stack.target, QUARANTINED, str.__eq__).opened() if one.key == key)
    whole = table.update(
        entry.place, "SET expires_at = :soon", "attribute_exists(pk)", {"soon": int(time.time()) + 900}
    )
    done = stack.invoke(f"{stack.settings.stack_name}-sweeper", {})
    assert (done["renewed"], done["failed"]) == (1, 0)
    renewed = table.get(*entry.place)
    assert renewed is not None
    assert renewed["expires_at"] > time.time() + 80 * 86_400
    bucket = stack.target.outputs.payload_bucket_name
    about = stack.target.client("s3").head_object(Bucket=bucket, Key=whole["payload"]["object"])
    assert "renewed-at-ms" in about["Metadata"]
    assert "00000000  78 78" in keyturn(stack, "quarantine", "show", item["id"], "--data")
