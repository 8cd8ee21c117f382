"""How slots pass from key to key where the index lags, hands are many, and figures are wrong."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from unittest.mock import patch

import pytest

from keyturn.core.state import Phase
from keyturn.errors import Throttled
from keyturn.shell import apply as applying
from keyturn.shell.change import Applied, Change
from keyturn.shell.watch_sources import watch_for
from tests.models.dynamodb import Nature
from tests.shell.test_cases import only
from tests.shell.world import World

CAPACITY = {"pk": {"S": "capacity"}, "sk": {"S": "runs"}}


def world_of_two(**settings: Any) -> World:
    """Return a world of one slot: `first` has it, and `second` has waited for longer than anybody looks for slots."""
    world = World(max_in_flight_runs=1, **settings)
    for key in ("first", "second"):
        world.put(key)
    world.deliver()
    world.pass_time(5)
    while due := [message for message in world.messages if message.due_ms <= world.now_ms]:
        world.wake(due[0])
    assert not world.messages
    world.pass_time(5)
    return world


def set_figures(world: World, **figures: int) -> None:
    """Write what is stored of the load, counted just now, when nobody believes what was read before."""
    world.pass_time(0.5)
    numbers = {name: {"N": str(value)} for name, value in figures.items()}
    item = CAPACITY | numbers | {"counted_at_ms": {"N": str(world.now_ms)}}
    world.dynamodb.put_item(TableName=world.settings.state_table, Item=item)


@pytest.mark.parametrize("lag_ms", [0, 50, 500])
def test_a_slot_is_handed_on_though_the_index_still_has_the_run_that_ended(lag_ms: int) -> None:
    """Who counts at its end can't tell. Taken for one run too many, its slot would lie idle until the next pass."""
    world = world_of_two()
    world.dynamodb.clock = lambda: world.now_ms
    world.dynamodb.nature = Nature(lag_ms=lambda: lag_ms)
    world.run(only(world, "first"))
    assert only(world, "second")


def test_a_slot_that_was_dropped_by_a_wrong_figure_is_looked_for_soon() -> None:
    """Else it lies idle for up to a minute, should no other run end."""
    world = world_of_two()
    set_figures(world, running=2, waiting=1)
    world.run(only(world, "first"))
    assert not world.live()
    (message,) = world.messages
    world.pass_time((message.due_ms - world.now_ms) / 1_000)
    world.wake(message)
    assert only(world, "second")


class TestManyHands:
    """Hundreds of runs end while one of the waiting keys is claimed."""

    def of(self, slots: int, waiting: int) -> World:
        world = World(max_in_flight_runs=slots, index_buckets=1)
        for number in range(waiting):
            world.put(f"k{number}")
        with patch.object(type(world.platform.capacity), "take", return_value=0):
            world.deliver()
        world.messages.clear()
        set_figures(world, running=slots, waiting=waiting)
        return world

    def offered(self, world: World, hands: int) -> Counter[str]:
        """Let hands come that find each key taken; return what was offered how often."""
        offered: Counter[str] = Counter()

        def taken_by_another(_platform: object, key: str, **_how: object) -> Applied:
            offered[key] += 1
            state = world.state(key)
            assert state.phase is Phase.WAITING
            return Applied(state, Change(world.platform, key).decide(lambda _state: None).transition, False)

        with patch.object(applying, "claim", taken_by_another):
            for _ in range(hands):
                applying.hand_on(Change(world.platform, "ended"))
        return offered

    def test_they_seldom_reach_for_the_same_keys(self) -> None:
        """All would find the four oldest taken, and leave their slots idle."""
        offered = self.offered(self.of(slots=400, waiting=100), hands=10)
        assert offered.total() == 40
        assert len(offered) > 20

    def test_a_few_slots_go_to_the_keys_that_wait_longest(self) -> None:
        offered = self.offered(self.of(slots=4, waiting=10), hands=10)
        assert set(offered) == {"k0", "k1", "k2", "k3"}

    def test_who_comes_in_vain_writes_nothing(self) -> None:
        """The item takes a thousand writes a second; beyond that dispatchers were throttled, and records came again."""
        world = self.of(slots=400, waiting=100)
        world.faults.made.clear()
        self.offered(world, hands=10)
        assert world.faults.made["update_item"] == 0


def test_messages_that_ask_for_free_slots_are_one_question() -> None:
    """Thousands of hands that come in vain send one each: a key whose time has come would stand behind them all."""
    world = World()
    message = {"messageId": "m", "body": json.dumps({"key": "", "at_ms": 0})}
    world.faults.made.clear()
    assert watch_for(world.platform, {"Records": [message] * 10}, lambda: True) == {"batchItemFailures": []}
    assert world.faults.made["get_item"] == 1


def test_a_busy_item_keeps_no_records_from_being_taken_in() -> None:
    """All of a shard would stand still, and come again, until fewer runs end."""
    world = World()
    world.put("k")
    with patch.object(type(world.platform.capacity), "take", side_effect=Throttled("slow down")):
        assert world.deliver()
    (message,) = world.messages
    world.pass_time((message.due_ms - world.now_ms) / 1_000)
    world.wake(message)
    assert only(world)
