"""The models answer as the emulators do: the same calls to both, and nothing that AWS would not say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from tests.adapters.aws import create_state_table
from tests.models.dynamodb import DynamoDB, Nature
from tests.models.s3 import S3

TABLE = "state"
PKS, SKS = st.sampled_from(["a", "b"]), st.sampled_from(["event#1", "event#2", "event#3", "state"])
KEYS = st.builds(lambda pk, sk: {"pk": {"S": pk}, "sk": {"S": sk}}, PKS, SKS)
NUMBERS = st.integers(0, 3).map(lambda number: {"N": str(number)})
VALUES = st.one_of(
    NUMBERS,
    st.sampled_from([{"S": "x"}, {"S": "event#2"}, {"BOOL": True}, {"B": b"raw"}, {"L": [{"N": "1"}]}]),
    st.just({"M": {"whom": {"S": "sam"}}}),
)
ITEMS = st.builds(
    lambda key, numbers, maker, entry: {**key, **numbers, **maker, **entry},
    KEYS,
    # moto fails where values of two types are compared, so these are numbers.
    st.dictionaries(st.sampled_from(["version", "turn"]), NUMBERS, max_size=2),
    st.dictionaries(st.just("maker"), VALUES, max_size=1),
    st.one_of(
        st.just({}),
        st.builds(lambda bucket, at: {"due_bucket": {"S": bucket}, "due_at": at}, st.sampled_from(["w", "r"]), NUMBERS),
    ),
)
CONDITIONS = st.sampled_from(
    [
        "attribute_not_exists(pk)",
        "attribute_exists(pk)",
        "version = :n",
        "version <> :n",
        "version <= :n OR attribute_not_exists(version)",
        "NOT version BETWEEN :n AND :m",
        "(version = :n OR version = :m) AND attribute_not_exists(closed)",
        "begins_with(sk, :event) AND (turn > :n OR turn >= :m)",
        "maker.whom = :sam",
        "#name = :sam OR attribute_exists(#name.whom)",
    ]
)
UPDATES = st.sampled_from(
    [
        "SET maker = :sam",
        "SET turn = :n, maker = :sam REMOVE version, due_bucket, due_at",
        "ADD counted :n",
        "ADD running :n, waiting :m",
        "SET counted = if_not_exists(counted, :n) + :m",
        "REMOVE turn",
    ]
)
RANGES = st.sampled_from(
    [
        "pk = :pk",
        "pk = :pk AND sk BETWEEN :low AND :event2",
        "pk = :pk AND begins_with(sk, :event)",
        "pk = :pk AND sk > :event2",
        "pk = :pk AND sk >= :event2",
        "pk = :pk AND sk <= :event2",
        "pk = :pk AND sk = :event2",
    ]
)
LITERALS: dict[str, Any] = {
    ":sam": {"S": "sam"},
    ":event": {"S": "event#"},
    ":event2": {"S": "event#2"},
    ":low": {"S": "event#1"},
}


def used(texts: list[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names and values that expressions use: DynamoDB refuses others."""
    text = " ".join(texts)
    found = {
        name: value for name, value in values.items() if f"{name} " in f"{text.replace(',', ' ').replace(')', ' ')} "
    }
    arguments: dict[str, Any] = {"ExpressionAttributeValues": found} if found else {}
    return arguments | ({"ExpressionAttributeNames": {"#name": "maker"}} if "#name" in text else {})


@st.composite
def writes(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Make a call that writes."""
    values = LITERALS | {":n": draw(NUMBERS), ":m": draw(NUMBERS)}
    condition = draw(st.one_of(st.none(), CONDITIONS))
    guard: dict[str, Any] = {"ConditionExpression": condition} if condition else {}
    shown = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"} if condition and draw(st.booleans()) else {}
    names = used([condition or ""], values)
    match draw(st.sampled_from(["put", "put", "update", "delete", "batch", "transact"])):
        case "put":
            return "put_item", {"TableName": TABLE, "Item": draw(ITEMS), **guard, **shown, **names}
        case "update":
            expression = draw(UPDATES)
            names = used([expression, condition or ""], values)
            call = {"TableName": TABLE, "Key": draw(KEYS), "UpdateExpression": expression, "ReturnValues": "ALL_NEW"}
            return "update_item", call | guard | shown | names
        case "delete":
            return "delete_item", {"TableName": TABLE, "Key": draw(KEYS), **guard, **names, "ReturnValues": "ALL_OLD"}
        case "batch":
            items = draw(st.lists(ITEMS, min_size=1, max_size=3, unique_by=place))
            return "batch_write_item", {"RequestItems": {TABLE: [{"PutRequest": {"Item": item}} for item in items]}}
        case _:
            items = draw(st.lists(ITEMS, min_size=1, max_size=3, unique_by=place))
            first = {"TableName": TABLE, "Item": items[0], **guard, **shown, **names}
            puts = [first, *({"TableName": TABLE, "Item": item} for item in items[1:])]
            return "transact_write_items", {"TransactItems": [{"Put": put} for put in puts]}


@st.composite
def reads(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Make a call that reads."""
    values = LITERALS | {":n": draw(NUMBERS), ":m": draw(NUMBERS)}
    only: dict[str, Any] = {"ProjectionExpression": "pk, sk, version"} if draw(st.booleans()) else {}
    limit: dict[str, Any] = {"Limit": draw(st.integers(1, 3))} if draw(st.booleans()) else {}
    order: dict[str, Any] = {"ScanIndexForward": draw(st.booleans())}
    match draw(st.sampled_from(["get", "many", "query", "index", "scan"])):
        case "get":
            return "get_item", {"TableName": TABLE, "Key": draw(KEYS), "ConsistentRead": True, **only}
        case "many":
            keys = draw(st.lists(KEYS, min_size=1, max_size=4, unique_by=place))
            return "batch_get_item", {"RequestItems": {TABLE: {"Keys": keys, "ConsistentRead": True, **only}}}
        case "query":
            filter_: dict[str, Any] = {"FilterExpression": "version = :n"} if draw(st.booleans()) else {}
            call: dict[str, Any] = {
                "TableName": TABLE,
                "KeyConditionExpression": draw(RANGES),
                **only,
                **limit,
                **order,
                **filter_,
            }
            own = values | {":pk": {"S": draw(PKS)}}
            return "query", call | used([call["KeyConditionExpression"], filter_.get("FilterExpression", "")], own)
        case "index":
            condition = draw(st.sampled_from(["due_bucket = :b", "due_bucket = :b AND due_at <= :n"]))
            call = {"TableName": TABLE, "IndexName": "due", "KeyConditionExpression": condition, **limit}
            count = {"Select": "COUNT"} if draw(st.booleans()) else {}
            return "query", call | count | used([condition], values | {":b": {"S": draw(st.sampled_from(["w", "r"]))}})
        case _:
            wanted = draw(CONDITIONS)
            return "scan", {"TableName": TABLE, "FilterExpression": wanted, **only, **used([wanted], values)}


def place(item: Mapping[str, Any]) -> tuple[str, str]:
    """Return where an item stands."""
    return item["pk"]["S"], item["sk"]["S"]


def said(client: Any, name: str, call: dict[str, Any]) -> Any:
    """Make a call; return what matters of its answer, pages read to their end."""
    try:
        answer = getattr(client, name)(**call)
    except ClientError as error:
        response: Any = error.response
        reasons = [(reason["Code"], reason.get("Item")) for reason in response.get("CancellationReasons", [])]
        return response["Error"]["Code"], response.get("Item"), reasons
    kept = {field: answer[field] for field in ("Item", "Attributes", "Count", "ScannedCount") if field in answer}
    if "Responses" in answer:
        kept["Responses"] = sorted(answer["Responses"].get(TABLE, []), key=place)
    if "Items" in answer:
        kept["Items"] = (
            answer["Items"] if name == "query" and "IndexName" not in call else sorted_items(answer["Items"])
        )
    if "LastEvaluatedKey" in answer:
        # At a limit DynamoDB names a last key though nothing may follow it; moto doesn't.
        rest = said(client, name, call | {"ExclusiveStartKey": answer["LastEvaluatedKey"]})
        kept = {field: kept[field] + rest[field] for field in kept}
    return kept


def sorted_items(items: list[Any]) -> list[Any]:
    """Put items in an order of our own, where DynamoDB promises none."""
    return sorted(items, key=place)


@pytest.fixture(scope="module")
def moto() -> Iterator[Any]:
    """Return moto's DynamoDB."""
    with mock_aws():
        yield boto3.client("dynamodb", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


@settings(max_examples=120)
@given(calls=st.lists(st.one_of(writes(), reads()), max_size=12))
def test_dynamodb_is_as_moto_has_it(moto: Any, calls: list[tuple[str, dict[str, Any]]]) -> None:
    """Items, conditions, updates, batches, transactions, pages and refusals."""
    model, table = DynamoDB(), create_state_table(moto)
    for name, call in calls:
        assert said(model, name, call) == said(Renamed(moto, table), name, call), (name, call)


class Renamed:
    """A client whose calls go to a table of another name."""

    def __init__(self, client: Any, table: str) -> None:
        """Wrap a client."""
        self.client, self.table = client, table

    def __getattr__(self, name: str) -> Any:
        """Return a method."""

        def call(**arguments: Any) -> Any:
            answer = getattr(self.client, name)(**self._renamed(arguments))
            if "Responses" in answer:
                answer["Responses"] = {TABLE: answer["Responses"].get(self.table, [])}
            return answer

        return call

    def _renamed(self, call: dict[str, Any]) -> dict[str, Any]:
        if "RequestItems" in call:
            return {"RequestItems": {self.table: call["RequestItems"][TABLE]}}
        if "TransactItems" in call:
            return {"TransactItems": [{"Put": one["Put"] | {"TableName": self.table}} for one in call["TransactItems"]]}
        return call | {"TableName": self.table}


class TestWhatDynamodbLeavesOpen:
    """No emulator does these; the Developer Guide says that DynamoDB may."""

    def test_the_index_and_lax_reads_lag_behind(self) -> None:
        """A consistent read sees a write at once; the index, and a read that doesn't ask for it, later."""
        now = [1_000]
        model = DynamoDB(lambda: now[0], Nature(lag_ms=lambda: 500))
        key = {"pk": {"S": "a"}, "sk": {"S": "state"}}
        model.put_item(TableName=TABLE, Item=key | {"due_bucket": {"S": "w"}, "due_at": {"N": "1"}})
        due = {"IndexName": "due", "KeyConditionExpression": "due_bucket = :b"}
        query = {"TableName": TABLE, **due, "ExpressionAttributeValues": {":b": {"S": "w"}}}
        assert "Item" in model.get_item(TableName=TABLE, Key=key, ConsistentRead=True)
        assert "Item" not in model.get_item(TableName=TABLE, Key=key)
        assert model.query(**query)["Count"] == 0
        now[0] += 500
        assert "Item" in model.get_item(TableName=TABLE, Key=key)
        assert model.query(**query)["Count"] == 1

    def test_one_items_changes_reach_the_index_in_their_order(self) -> None:
        """A write that is seen late keeps the next one of its item back."""
        now, lags = [0], iter([900, 0])
        model = DynamoDB(lambda: now[0], Nature(lag_ms=lambda: next(lags)))
        key = {"pk": {"S": "a"}, "sk": {"S": "state"}}
        for bucket in ("w", "r"):
            model.put_item(TableName=TABLE, Item=key | {"due_bucket": {"S": bucket}, "due_at": {"N": "1"}})
        model.index.catch_up(899)
        assert model.index.entries == {}
        model.index.catch_up(900)
        assert model.index.entries == {("a", "state"): ("r", 1)}

    def test_a_batch_may_be_done_in_part(self) -> None:
        """The rest is handed back, to be sent again."""
        model = DynamoDB(nature=Nature(done_of=lambda size: size - 1))
        items = [{"pk": {"S": "a"}, "sk": {"S": str(number)}} for number in range(3)]
        wrote = model.batch_write_item(RequestItems={TABLE: [{"PutRequest": {"Item": item}} for item in items]})
        assert wrote["UnprocessedItems"] == {TABLE: [{"PutRequest": {"Item": items[2]}}]}
        read = model.batch_get_item(RequestItems={TABLE: {"Keys": items, "ConsistentRead": True}})
        assert read["Responses"] == {TABLE: items[:2]}
        assert read["UnprocessedKeys"] == {TABLE: {"Keys": items[2:], "ConsistentRead": True}}

    def test_a_page_may_be_short(self) -> None:
        """Then it says where the next one begins."""
        model = DynamoDB(nature=Nature(page_items=lambda: 2))
        for number in range(3):
            model.put_item(TableName=TABLE, Item={"pk": {"S": "a"}, "sk": {"S": str(number)}})
        query = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": "a"}}}
        page = model.query(TableName=TABLE, **query)
        assert page["LastEvaluatedKey"] == {"pk": {"S": "a"}, "sk": {"S": "1"}}
        rest = model.query(TableName=TABLE, **query, ExclusiveStartKey=page["LastEvaluatedKey"])
        assert [item["sk"]["S"] for item in rest["Items"]] == ["2"]
        assert "LastEvaluatedKey" not in rest


@pytest.mark.usefixtures("moto")
def test_s3_is_as_moto_has_it() -> None:
    """Objects, copies, lists in pages, and what isn't there."""
    real = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    model: Any = S3()
    found = []
    itself: Any = {"Bucket": "bucket", "Key": "a/1"}
    for client in (model, real):
        client.create_bucket(Bucket="bucket")
        for name in ("a/1", "a/2", "c/3"):
            client.put_object(Bucket="bucket", Key=name, Body=name.encode())
        client.copy_object(Bucket="bucket", Key="a/1", CopySource=itself, MetadataDirective="REPLACE")
        client.delete_object(Bucket="bucket", Key="a/2")
        listed = client.list_objects_v2(Bucket="bucket", Prefix="a/")
        found.append(
            [
                client.get_object(Bucket="bucket", Key="a/1")["Body"].read(),
                [entry["Key"] for entry in listed["Contents"]],
                listed["IsTruncated"],
                s3_said(client, "get_object", Bucket="bucket", Key="a/2"),
                s3_said(client, "copy_object", Bucket="bucket", Key="x", CopySource={"Bucket": "bucket", "Key": "a/2"}),
                s3_said(client, "put_object", Bucket="none", Key="x", Body=b""),
                s3_said(client, "copy_object", **itself, CopySource=itself),
                s3_said(client, "delete_bucket", Bucket="bucket"),
            ]
        )
    assert found[0] == found[1]


def s3_said(client: Any, name: str, **call: Any) -> str:
    """Return the code of a refusal."""
    with pytest.raises(ClientError) as refused:
        getattr(client, name)(**call)
    return str(refused.value.response["Error"]["Code"])
