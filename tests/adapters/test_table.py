"""The calls on the state table: conditions, lost answers, unprocessed rests, throttles."""

from typing import Any

import pytest

from keyturn.adapters.table import ItemExists, Table
from keyturn.errors import StoreError, Throttled
from tests.adapters.aws import edited, refused, sent_twice, silent


def item(number: int, **more: Any) -> dict[str, Any]:
    return {"pk": "p", "sk": f"s{number:04d}", "n": number, **more}


def test_an_item_comes_back_as_it_was_written(table: Table) -> None:
    """Text, whole numbers, bytes (empty ones too), booleans and nested maps; None is left out."""
    written = item(1, text="é\x00", raw=b"\xff", none=None, empty=b"", flag=True, map={"deep": {"n": -5}}, big=2**100)
    table.put_many([written])
    assert table.get("p", "s0001") == {name: value for name, value in written.items() if value is not None}


def test_put_once_keeps_the_first(table: Table) -> None:
    assert table.put_once(item(1, by="first")) is None
    assert table.put_once(item(1, by="second")) == item(1, by="first")
    assert table.get("p", "s0001") == item(1, by="first")


def test_a_write_whose_answer_was_lost_is_no_conflict(table: Table) -> None:
    """The SDK sends it again, and the condition fails on the writer's own item."""
    again = edited(table, put_item=sent_twice)
    assert again.put_once(item(1)) is None
    again.put_if(item(1, version=2), "n = :n", {"n": 1})
    assert table.get("p", "s0001") == item(1, version=2)


def test_a_condition_that_fails_hands_out_what_stands_there(table: Table) -> None:
    table.put_once(item(1))
    with pytest.raises(ItemExists) as refusal:
        table.put_if(item(1, other=True), "n = :n", {"n": 7})
    assert refusal.value.item == item(1)


def test_more_than_a_batch_is_written_and_read_whole(table: Table) -> None:
    """25 a write, 100 a read; a key asked for twice is read once."""
    table.put_many([item(number) for number in range(130)])
    keys = [("p", f"s{number:04d}") for number in range(131)]
    found = table.get_many([*keys, *keys])
    assert found == {("p", f"s{number:04d}"): item(number) for number in range(130)}


def test_an_unprocessed_rest_is_sent_again(table: Table) -> None:
    """DynamoDB takes 10 items a call and gives the rest back."""

    def takes_ten(real: Any, **call: Any) -> Any:
        ((name, requests),) = call["RequestItems"].items()
        real(RequestItems={name: requests[:10]})
        return {"UnprocessedItems": {name: requests[10:]} if requests[10:] else {}}

    slow = edited(table, batch_write_item=takes_ten)
    slow.put_many([item(number) for number in range(25)])
    assert len(list(table.query({"KeyConditionExpression": "pk = :pk"}, {"pk": "p"}))) == 25
    assert slow.client.calls.count("batch_write_item") == 3


def test_unprocessed_keys_are_read_again(table: Table) -> None:
    table.put_many([item(number) for number in range(5)])

    def gives_two(real: Any, **call: Any) -> Any:
        ((name, request),) = call["RequestItems"].items()
        answer = real(RequestItems={name: {**request, "Keys": request["Keys"][:2]}})
        rest = request["Keys"][2:]
        return answer | {"UnprocessedKeys": {name: {**request, "Keys": rest}} if rest else {}}

    slow = edited(table, batch_get_item=gives_two)
    assert len(slow.get_many([("p", f"s{number:04d}") for number in range(5)])) == 5


def test_a_rest_that_stays_is_told_as_a_throttle(table: Table) -> None:
    """So the dispatcher admits nothing past it."""
    stuck = edited(table, batch_write_item=lambda _real, **call: {"UnprocessedItems": call["RequestItems"]})
    with pytest.raises(Throttled, match="UnprocessedItems"):
        stuck.put_many([item(1)])


@pytest.mark.parametrize(
    "code", ["ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"]
)
def test_a_throttle_is_told_as_one(table: Table, code: str) -> None:
    """By the call, not by the item: its key may be personal, and the message goes to logs."""
    with pytest.raises(Throttled, match=f"reading an item of the state table: {code}"):
        edited(table, get_item=refused(code)).get("p", "s")


def test_no_answer_and_a_server_error_may_pass(table: Table) -> None:
    with pytest.raises(Throttled, match="no answer"):
        edited(table, get_item=silent).get("p", "s")
    with pytest.raises(Throttled):
        edited(table, put_item=refused("Odd", 503)).put_once(item(1))


def test_what_stays_wrong_is_no_throttle(table: Table) -> None:
    with pytest.raises(StoreError, match="AccessDeniedException") as error:
        edited(table, query=refused("AccessDeniedException")).query({}, {}).__next__()
    assert not isinstance(error.value, Throttled)


def test_a_query_stops_at_its_limit_across_pages(table: Table) -> None:
    table.put_many([item(number) for number in range(10)])

    def pages_of_three(real: Any, **arguments: Any) -> Any:
        return real(**{**arguments, "Limit": min(3, arguments.get("Limit", 3))})

    small = edited(table, query=pages_of_three)
    arguments = {"KeyConditionExpression": "pk = :pk"}
    assert [one["n"] for one in small.query(arguments, {"pk": "p"}, limit=7)] == list(range(7))
    assert len(list(small.query(arguments, {"pk": "p"}))) == 10


def test_a_value_that_dynamodb_would_change_is_refused(table: Table) -> None:
    with pytest.raises(TypeError, match="float"):
        table.put_once(item(1, odd=1.5))
