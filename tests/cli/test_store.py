"""What the platform and the sample's workers write, the command line reads back: on moto's tables."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from keyturn_cli.facts import gather
from keyturn_cli.guarantees import Fate, fate, violations
from keyturn_cli.putter import Put
from keyturn_cli.records import Record
from keyturn_cli.store import Store
from moto import mock_aws

from keyturn.adapters.duplicates import DuplicateIndex, Identified
from keyturn.adapters.keys import KeyStore
from keyturn.adapters.payloads import PayloadStore
from keyturn.adapters.quarantine import Quarantine
from keyturn.adapters.table import Table
from keyturn.core.event import Event, Reason, Rejection
from keyturn.core.positions import position
from keyturn.core.state import KeyState, Phase
from keyturn.core.step_context import StepContext
from keyturn_sample.ledger import Ledger

NOW_MS = time.time_ns() // 1_000_000


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store over moto's DynamoDB and S3."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        dynamodb = boto3.client("dynamodb", region_name="us-east-1")
        s3 = boto3.client("s3", region_name="us-east-1")
        for name in ("state", "ledger"):
            _make_table(dynamodb, name)
        s3.create_bucket(Bucket="failures")
        yield Store(Table(dynamodb, "state"), "ledger", s3, "failures", epoch=1)


def _make_table(dynamodb: Any, name: str) -> None:
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": part, "AttributeType": "S"} for part in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )


def _event(number: int, key: str = "order-1") -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"{key}/{number}",
        "source": "/shop",
        "type": "shop.order.paid",
        "subject": key,
        "data": {"order_id": key, "sequence": number, "amount_cents": 5, "method": "card"},
    }


def _put(number: int, data: bytes | None = None, key: str = "order-1") -> Put:
    content = json.dumps(_event(number, key)).encode() if data is None else data
    return Put(Record(key, content, number), str(number), "shardId-000000000000", NOW_MS)


def _work(store: Store, number: int, steps: tuple[str, ...] = ("inventory", "payment", "notification")) -> None:
    ledger = Ledger(store.table.client, "ledger")
    for step in steps:
        context = StepContext(
            step=step,
            key="order-1",
            position=position(1, str(number)),
            flow_id="f",
            attempt=1,
            fence=number,
            idempotency_key=f"keyhash#{position(1, str(number))}#0#{step}",
            deadline_ms=0,
        )
        ledger.record(Event.from_attributes(_event(number)), context, time.time_ns() // 1_000_000)


def _save(store: Store, key: str = "order-1", *, cursor: int, tail: int) -> None:
    KeyStore(store.table, 8, 1000).save(
        KeyState(key, phase=Phase.IDLE, cursor=position(1, str(cursor)), tail=position(1, str(tail)), fence=cursor)
    )


def test_what_was_put_is_found_again_whatever_became_of_it(store: Store) -> None:
    """Done, duplicate, quarantined, set aside by the event source: each from where it is kept."""
    quarantine = Quarantine(store.table, PayloadStore(store.s3, "failures"), 3600, 8)
    duplicates = DuplicateIndex(store.table, 3600)
    puts = [_put(1), _put(2, json.dumps(_event(1)).encode()), _put(3, b"no json"), _put(4)]
    _work(store, 1)
    _save(store, cursor=1, tail=1)
    duplicates.record(Identified("order-1", "h", position(1, "2")), position(1, "1"), NOW_MS)
    quarantine.put(
        Rejection(
            shard="shardId-000000000000",
            position=position(1, "3"),
            key="order-1",
            reason=Reason.NOT_JSON,
            detail="line 1",
            raw=b"no json",
            arrived_at_ms=NOW_MS,
        ),
        NOW_MS,
    )
    _give_up(store, "order-1", "4")
    history = gather(store, puts, is_whole=True, is_local=True).history
    fates = [fate(sent, history) for sent in history.sent]
    assert fates == [Fate.DONE, Fate.DUPLICATE, Fate.QUARANTINED, Fate.SET_ASIDE]
    assert violations(history) == []


@pytest.mark.parametrize("as_text", [True, False])
def test_records_in_the_failure_bucket_are_found(store: Store, as_text: bool) -> None:
    """Whether the payload is JSON or a text of JSON: AWS's documentation leaves that open."""
    _give_up(store, "k", "7", as_text=as_text)
    assert store.set_aside() == {store.place("k", "7")}


def _give_up(store: Store, key: str, sequence_number: str, *, as_text: bool = True) -> None:
    batch = {"Records": [{"kinesis": {"partitionKey": key, "sequenceNumber": sequence_number}}]}
    body = {"payload": json.dumps(batch) if as_text else batch}
    store.s3.put_object(Bucket="failures", Key="aws/lambda/x/shard/1", Body=json.dumps(body))


def test_a_missing_effect_is_lost_although_the_cursor_is_past(store: Store) -> None:
    """What counts is what the worker wrote, not what the platform says of itself."""
    _work(store, 1, ("inventory", "payment"))
    _save(store, cursor=1, tail=1)
    history = gather(store, [_put(1)], is_whole=True, is_local=True).history
    assert [str(found) for found in violations(history)] == [
        "nothing lost: key 'order-1': event order-1/1 (line 1) lacks notification"
    ]


def test_effects_of_others_are_left_out_unless_the_stack_is_ours_alone(store: Store) -> None:
    """A push is checked by its own records."""
    _work(store, 1)
    _work(store, 2)
    _save(store, cursor=2, tail=2)
    assert len(gather(store, [_put(2)], is_whole=False, is_local=True).history.effects) == 3
    alone = gather(store, [_put(2)], is_whole=True, is_local=True).history
    assert len(violations(alone)) == 3


def test_repeated_tries_are_counted(store: Store) -> None:
    """By the sample's steps that fail on purpose."""
    context = StepContext("payment", "k", "p", "f", 1, 1, "idem", 0)
    for _ in range(3):
        Ledger(store.table.client, "ledger").tries(context)
    assert store.ledger().repeated_tries == 2
