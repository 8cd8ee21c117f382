"""Step results: what is stored, what is found again, and what both cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from keyturn.adapters.keys import KeyStore
from keyturn.adapters.steps import Sought, StepResult, StepStore, StoredResults, decode_results, results_of
from keyturn.adapters.table import Table, encode_item
from keyturn.core.positions import Position
from keyturn.errors import Unreadable
from keyturn.limits import RUN_EVENTS_MAX, STEP_RESULT_BYTES_MAX
from tests.adapters.aws import Edited, edited
from tests.adapters.results import results
from tests.core import states as make
from tests.core.states import at
from tests.guard.limits import ITEM_BYTES_MAX, item_bytes
from tests.models.dynamodb import DynamoDB

READ_UNIT_BYTES = 4_096
"""DynamoDB Developer Guide, "DynamoDB read consistency": a strongly consistent read of so much is one unit."""

WRITE_UNIT_BYTES = 1_024
"""DynamoDB Developer Guide, "Read/write capacity mode": a write of so much is one unit."""

Way = Mapping[str, Any]
FORWARD: Way = {"is_forward": True, "may_overlap": False}
EITHER_WAY: pytest.MarkDecorator = pytest.mark.parametrize("way", [FORWARD, {}], ids=["forward", "replayed"])


def in_memory() -> Table:
    return Table(DynamoDB(), "state")


def sought(*positions: Position, step: str = "payment", generations: range = range(1), **way: Any) -> Sought:
    return Sought("k", step, positions, generations, **way)


def found(table: Table, *positions: Position, **asked: Any) -> dict[Position, Any]:
    return StepStore(table, 100).load(sought(*positions, **asked))[1]


def items(table: Table) -> list[dict[str, Any]]:
    return [item for item in table.client.all_items() if item["sk"]["S"].startswith("result#")]


def places(first: int, last: int) -> list[Position]:
    return [at(number) for number in range(first, last + 1)]


@pytest.mark.parametrize("value", [None, {}, {"é": [1, 2.5, None]}, "text", 0, False])
@pytest.mark.parametrize("count", [1, 3], ids=["one event", "several"])
@EITHER_WAY
def test_any_json_comes_back(table: Table, value: Any, count: int, way: Way) -> None:
    made = results(places(1, count), value=value)
    assert StepStore(table, 100).store("k", made) == dict.fromkeys(places(1, count), value)
    assert found(table, *places(1, 4), **way) == dict.fromkeys(places(1, count), value)


def test_each_events_own_result_and_times_come_back() -> None:
    """However much of their positions the events share, and whenever they were done."""
    table = in_memory()
    made = tuple(StepResult(at(n), {"n": n}, 1_000 + n, 1_500 + 2 * n) for n in (9, 10, 11, 123_456))
    stored = StoredResults("line#7", 2, 5, 3, "an execution", made)
    StepStore(table, 100).store("k", stored)
    assert list(results_of(table, "k", at(1), at(200_000))) == [stored]


@EITHER_WAY
def test_the_key_state_comes_with_them(table: Table, way: Way) -> None:
    """A key that has none is empty."""
    assert StepStore(table, 100).load(sought(at(1), **way))[0].version == 0
    saved = KeyStore(table, 8, 60_000).save(replace(make.bound(), version=0))
    StepStore(table, 100).store("k", results([at(1)], value=7))
    assert StepStore(table, 100).load(sought(at(1), **way)) == (saved, {at(1): 7})


def test_the_first_writers_results_stand() -> None:
    """Of several events too: what has none yet is stored beside them."""
    table = in_memory()
    steps = StepStore(table, 100)
    steps.store("k", results(places(2, 4), value="first"))
    standing = dict.fromkeys(places(2, 4), "first")
    assert steps.store("k", results([at(4)], value="second", fence=2)) == {at(4): "first"}
    assert steps.store("k", results(places(1, 4), value="third", fence=3)) == {at(1): "third", **standing}
    assert found(table, *places(1, 5)) == {at(1): "third", **standing}


def test_an_item_that_was_written_late_changes_nothing_for_who_did_not_see_it() -> None:
    """The workflow got the later attempt's results, so those count."""
    table = in_memory()
    steps = StepStore(table, 100)
    steps.store("k", results(places(1, 4), value="later", fence=2))
    steps.store("k", results(places(1, 3), value="earlier", fence=1))
    for way in (FORWARD, {}):
        assert found(table, *places(1, 4), **way) == dict.fromkeys(places(1, 4), "later")


@EITHER_WAY
def test_another_generation_or_step_is_another_result(table: Table, way: Way) -> None:
    """The generation that was asked for is a floor, and the latest counts."""
    steps = StepStore(table, 100)
    for generation in (0, 2):
        steps.store("k", results(places(1, 2), value=generation, generation=generation))
    assert found(table, at(1), generations=range(1), **way) == {at(1): 0}
    assert found(table, at(1), generations=range(1, 2), **way) == {}
    assert found(table, at(1), generations=range(1, 4), **way) == {at(1): 2}
    assert found(table, at(1), generations=range(4), **way) == {at(1): 2}
    assert found(table, at(1), step="inventory", **way) == {}


def test_a_result_is_found_as_far_behind_as_a_run_can_reach() -> None:
    """Whatever stands between; a run has so many events at most."""
    table = in_memory()
    steps = StepStore(table, 100)
    for place in places(1, RUN_EVENTS_MAX + 50):
        steps.store("k", results([place], "inventory"))
    steps.store("k", results(places(1, RUN_EVENTS_MAX), value="found"))
    assert found(table, at(1)) == {at(1): "found"}


def test_what_is_not_stored_is_not_looked_for_without_end() -> None:
    """As far as a run can reach, in pages."""
    table = in_memory()
    for place in places(2, 3 * RUN_EVENTS_MAX):
        StepStore(table, 100).store("k", results([place], "inventory"))
    client = Edited(table.client)
    assert found(replace(table, client=client), at(1)) == {}
    assert client.calls.count("query") <= RUN_EVENTS_MAX / 16 + 1


def test_the_next_result_behind_tells_that_there_is_none() -> None:
    """Events of one item are neighbours, so what comes first behind the last one decides: one page."""
    table = in_memory()
    for place in places(2, 60):
        StepStore(table, 100).store("k", results([place]))
    client = Edited(table.client)
    assert found(replace(table, client=client), at(1)) == {}
    assert client.calls == ["batch_get_item", "query"]


@pytest.mark.parametrize("count", [1, 10])
def test_fence_and_results_are_one_read_of_one_unit(count: int) -> None:
    """With what the other two workers of the fan-out have stored by then."""
    table = in_memory()
    KeyStore(table, 8, 60_000).save(replace(make.bound(), version=0))
    for step in ("inventory", "notification"):
        StepStore(table, 100).store("k", results(places(1, count), step, value={"did": step, "amount_cents": 4_200}))
    client = Edited(table.client)
    StepStore(replace(table, client=client), 100).load(sought(*places(1, count), **FORWARD))
    assert client.calls == ["query"]
    assert sum(item_bytes(item) for item in table.client.all_items()) <= READ_UNIT_BYTES


def test_a_batch_of_ten_is_one_write_unit() -> None:
    """Ten small results with their times, at positions as Kinesis deals them out."""
    table = in_memory()
    first = 49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898
    made = [
        StepResult(
            at(first + 97_531_086_420_971_531 * n), {"charged": True, "amount_cents": 4_200 + n}, n * 20, n * 20 + 15
        )
        for n in range(10)
    ]
    StepStore(table, 100).store("order-1001", replace(results([at(1)]), execution_id="x" * 36, results=tuple(made)))
    (item,) = items(table)
    assert item_bytes(item) <= WRITE_UNIT_BYTES


def test_the_most_and_largest_results_of_a_run_fit_an_item() -> None:
    """Of characters that take most bytes too."""
    table = in_memory()
    largest = "\x00" * ((STEP_RESULT_BYTES_MAX - 2) // 6)
    made = [StepResult(at(10**56 - 1 - n), largest, n, 10_000_000) for n in reversed(range(RUN_EVENTS_MAX))]
    StepStore(table, 100).store("k" * 1_024, replace(results([at(1)], "s" * 128), results=tuple(made)))
    assert item_bytes(items(table)[0]) < ITEM_BYTES_MAX


def test_a_map_of_many_lines_does_not_make_each_line_read_all_others() -> None:
    """Beyond some items only its own place is read."""
    table = in_memory()
    saved = KeyStore(table, 8, 60_000).save(replace(make.bound(), version=0))
    for line in range(200):
        StepStore(table, 100).store("k", results([at(1)], f"picking#{line}", value=line))
    read: list[int] = []

    def query(real: Any, **call: Any) -> Any:
        answer = real(**call)
        read.append(len(answer["Items"]))
        return answer

    for line in (0, 199, 200):
        asked = sought(at(1), step=f"picking#{line}", **FORWARD)
        assert StepStore(edited(table, query=query), 100).load(asked) == (saved, {at(1): line} if line < 200 else {})
    assert max(read) < 30


@pytest.mark.parametrize(
    "results_text", ["", "[]", "{", "[1]", '[["",0,0,1]]', '[["9",0,0]]', "[[1,0,0,1]]", '[["77",0,0,1]]', "null"]
)
def test_a_batch_that_cannot_be_read_is_said(results_text: str) -> None:
    """Not taken for none: the steps would run again."""
    table = in_memory()
    StepStore(table, 100).store("k", results(places(1, 2)))
    (item,) = items(table)
    table.client.put_item(TableName="state", Item=item | encode_item({"results": results_text}))
    for way in (FORWARD, {}):
        with pytest.raises(Unreadable, match="a step's stored result"):
            found(table, *places(1, 2), **way)


def test_a_result_of_a_later_format_is_read() -> None:
    """A deploy is not atomic: attributes of a newer function are passed over."""
    made = results([at(1)], value=1)
    item = {"pk": "key#k", "sk": f"result#{at(1)}#0#payment", "result": "1", "fence": 1, "attempt": 1, "later": 1}
    item |= {"execution_id": "x", "began_at_ms": 1_000, "ended_at_ms": 1_005}
    assert decode_results(item) == made
