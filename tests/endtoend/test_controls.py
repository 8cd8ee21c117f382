"""Holds and the circuit breaker on the deployed stack, by the commands that people use."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from keyturn_cli.app import app
from keyturn_cli.errors import Refused
from typer.testing import CliRunner, Result

from keyturn.adapters.controls import READ_EVERY_MS, Controls
from keyturn.adapters.index import DueIndex
from keyturn.adapters.process import now_ms
from keyturn.adapters.table import Table
from keyturn.core.breaker import Breaker
from keyturn.core.state import Phase, Queue
from tests.endtoend.stack import Stack

KEYS: Final = 30
ROUTE: Final = "order-paid"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an AWS user has them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


def keyturn(stack: Stack, command: str, *arguments: str) -> Result:
    """Run a command as a user does."""
    reach = ("--endpoint-url", stack.settings.endpoint_url, "--region", stack.settings.region)
    return CliRunner().invoke(app, [command, *arguments, *reach, "--yes", "--reason", "the bank is down"])


def paid(key: str, number: int = 0, **demo: str) -> tuple[str, bytes]:
    """Write an event that says that an order was paid."""
    event = {"specversion": "1.0", "id": f"{key}/{number}", "source": "/controls", "type": "shop.order.paid"}
    data = {"order_id": "controlled", "sequence": number, "amount_cents": 5, "method": "card"}
    return key, json.dumps(event | {"data": data | ({"demo": demo} if demo else {})}).encode()


def table(stack: Stack) -> Table:
    return Table(stack.target.client("dynamodb"), stack.target.environment["STATE_TABLE"])


def breaker(stack: Stack) -> Breaker:
    return Controls(table(stack), 1).breaker("card-service")


def held(stack: Stack) -> int:
    """Count the keys that wait for the route's release."""
    return DueIndex(table(stack), int(stack.target.environment["INDEX_BUCKETS"])).count(Queue.HELD, ROUTE)


def until_in_effect(stack: Stack, route: str) -> None:
    """Wait until nobody goes by what was read before a hold: whoever saw the route free may start its runs so long."""
    hold = Controls(table(stack), 1).read().hold_of(route)
    assert hold is not None
    stack.until(lambda: now_ms() - hold.at_ms > READ_EVERY_MS)


@contextmanager
def outage(stack: Stack) -> Iterator[None]:
    """Switch the payment provider off, for events that ask for it."""
    client, name = stack.target.client("dynamodb"), stack.target.outputs.ledger_table_name
    place = {"pk": {"S": "demo"}, "sk": {"S": "outage#payment"}}
    client.put_item(TableName=name, Item=place | {"is_down": {"BOOL": True}})
    try:
        yield
    finally:
        client.put_item(TableName=name, Item=place | {"is_down": {"BOOL": False}})


def test_a_held_route_starts_nothing_until_it_is_released(stack: Stack) -> None:
    """Twelve keys wait; released, all of them run."""
    done = keyturn(stack, "hold", "--route", ROUTE)
    assert (done.exit_code, "Held route 'order-paid'" in done.stdout) == (0, True), done.output
    again = keyturn(stack, "hold", "--route", ROUTE)
    assert isinstance(again.exception, Refused)
    assert "is held already, by " in str(again.exception)
    until_in_effect(stack, ROUTE)
    keys = [f"held-{number}" for number in range(12)]
    stack.put([paid(key) for key in keys])
    stack.until(lambda: held(stack) == len(keys), lambda: held(stack))
    assert all(stack.state(key).fence == 0 for key in keys)
    released = keyturn(stack, "release", "--route", ROUTE, "--output", "json")
    assert json.loads(released.stdout)["is_held"] is False
    for key in keys:
        stack.until_done(key, 1)
    assert isinstance(keyturn(stack, "release", "--route", ROUTE).exception, Refused)


def test_everything_is_held_and_released(stack: Stack) -> None:
    """And a key by itself, past the release of everything."""
    stack.put([paid("alone")])
    stack.until_done("alone", 1)
    assert keyturn(stack, "hold", "--everything").exit_code == 0
    assert keyturn(stack, "hold", "alone").exit_code == 0
    until_in_effect(stack, "")
    stack.put([paid("alone", 1), paid("not-alone")])
    stack.until(lambda: stack.state("not-alone").admitted == 1 and stack.state("alone").admitted == 2)
    assert (stack.state("alone").fence, stack.state("not-alone").fence) == (1, 0)
    assert keyturn(stack, "release", "--everything").exit_code == 0
    stack.until_done("not-alone", 1)
    assert stack.state("alone").fence == 1
    assert keyturn(stack, "release", "alone").exit_code == 0
    stack.until_done("alone", 2)


def test_an_outage_opens_the_breaker_parks_nobody_and_heals(stack: Stack) -> None:
    """Thirty keys meet a provider that is down; once it is back they all go on by themselves."""
    keys = [f"outage-{number}" for number in range(KEYS)]
    with outage(stack):
        began_s = time.monotonic()
        stack.put([paid(key, payment="outage") for key in keys])
        stack.until(lambda: breaker(stack).is_holding, lambda: breaker(stack))
        opened_s = time.monotonic() - began_s
        refused = keyturn(stack, "release", "--route", ROUTE).exception
        assert "is held by the breaker 'card-service'" in str(refused)
        first_wait_ms = breaker(stack).wait_ms
        stack.until(lambda: breaker(stack).wait_ms > first_wait_ms, lambda: breaker(stack))
    ended_s = time.monotonic()
    for key in keys:
        stack.until_done(key, 1)
    print(
        f"\n{KEYS} keys: breaker open {opened_s:.1f} s after the outage began; "
        f"all done {time.monotonic() - ended_s:.1f} s after it ended (wait was {first_wait_ms * 2 / 1000:.0f} s)"
    )
    assert not breaker(stack).is_holding
    assert all(stack.state(key).phase is Phase.IDLE for key in keys)
    counted = Counter(attempt["outcome"] for attempt in _attempts(stack, keys))
    assert counted["failed"] <= 4 * 3, counted
    assert counted["unavailable"] >= 1


def _attempts(stack: Stack, keys: list[str]) -> Iterator[Any]:
    for key in keys:
        condition = {"KeyConditionExpression": "pk = :pk AND begins_with(sk, :sk)", "ConsistentRead": True}
        yield from table(stack).query(condition, {"pk": f"key#{key}", "sk": "attempt#"})
