"""The sample's effects are written once, in their true order, and its misbehaviour counts durably."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from keyturn import Event, Permanent, StepContext
from keyturn.adapters.clients import client
from keyturn_sample import ledger as ledger_module
from keyturn_sample import misbehaviour
from keyturn_sample.ledger import ledger
from keyturn_sample.misbehaviour import ProviderDown, misbehave

TABLE = "ledger"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty ledger, as the template makes it."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "LEDGER_TABLE": TABLE,
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        made = boto3.resource("dynamodb").create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        _forget()
        yield made
        _forget()


def _forget() -> None:
    """Have this process open the ledger anew, by a client of its own."""
    ledger.cache_clear()
    client.cache_clear()


def event(**data: Any) -> Event:
    return Event.from_attributes(
        {"source": "/s", "id": "e", "type": "shop.order.placed", "data": {"sequence": 3} | data}
    )


def step(name: str = "payment", idempotency_key: str = "i", attempt: int = 1) -> StepContext:
    return StepContext(name, "order-1", "p", "f", attempt, 1, idempotency_key, 0)


def effects(table: Any) -> list[dict[str, Any]]:
    return [item for item in table.scan()["Items"] if item["sk"].startswith("effect#")]


def test_effects_are_numbered_in_their_true_order(table: Any) -> None:
    """By a counter of the key, whatever the clocks say."""
    for key in ("x", "y", "z"):
        ledger().record(event(), step(idempotency_key=key), 1)
    assert {item["sk"]: item["sequence"] for item in effects(table)} == {"effect#x": 1, "effect#y": 2, "effect#z": 3}


def test_an_effect_is_written_once_however_often_its_step_is_tried(table: Any) -> None:
    """The first try stands: that is what an idempotency key is for."""
    for attempt in (1, 2):
        ledger().record(event(), step(attempt=attempt), 1)
    (effect,) = effects(table)
    assert (effect["attempt"], effect["ordinal"], effect["event_id"]) == (1, 3, "e")


@pytest.mark.usefixtures("table")
def test_a_step_that_fails_twice_works_the_third_time() -> None:
    """Counted in the table, so another process goes on counting; each step for itself."""
    wanted = event(demo={"payment": "fail_twice"})
    for _ in range(2):
        with pytest.raises(ProviderDown):
            misbehave(wanted, step())
        ledger.cache_clear()
    misbehave(wanted, step())
    with pytest.raises(ProviderDown):
        misbehave(wanted, step(idempotency_key="another"))


@pytest.mark.usefixtures("table")
def test_a_step_that_hangs_does_so_once_and_past_its_lambdas_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample workers may take 3 s; one that nothing stopped does no effect when it wakes."""
    slept: list[float] = []
    monkeypatch.setattr(misbehaviour, "time", SimpleNamespace(sleep=slept.append))
    with pytest.raises(ProviderDown):
        misbehave(event(demo={"payment": "hang"}), step())
    misbehave(event(demo={"payment": "hang"}), step())
    assert len(slept) == 1
    assert slept[0] > 3


@pytest.mark.usefixtures("table")
def test_a_step_may_fail_for_good_or_say_that_no_retry_helps() -> None:
    """The first uses the attempts up, the second doesn't."""
    for _ in range(5):
        with pytest.raises(ProviderDown):
            misbehave(event(demo={"payment": "fail_for_good"}), step())
    with pytest.raises(Permanent):
        misbehave(event(demo={"payment": "permanent"}), step())


def test_only_the_worker_that_is_named_misbehaves() -> None:
    """A Map's iterations count as their worker."""
    misbehave(event(demo={"inventory": "permanent"}), step())
    with pytest.raises(Permanent):
        misbehave(event(demo={"picking": "permanent"}), step("picking-7"))
    misbehave(event(), step())


def test_the_ledger_tells_the_time_in_milliseconds() -> None:
    """Of the epoch."""
    assert 1_700_000_000_000 < ledger_module.now_ms() < 10_000_000_000_000


def test_an_outage_lasts_as_long_as_somebody_has_it_switched_on(table: Any) -> None:
    """For the step it names, and only for events that ask to meet it."""
    table.put_item(Item={"pk": "demo", "sk": "outage#payment", "is_down": True})
    wanted = event(demo={"payment": "outage", "inventory": "outage"})
    with pytest.raises(ProviderDown):
        misbehave(wanted, step())
    misbehave(event(), step())
    misbehave(wanted, step("inventory"))
    table.put_item(Item={"pk": "demo", "sk": "outage#payment", "is_down": False})
    misbehave(wanted, step())
