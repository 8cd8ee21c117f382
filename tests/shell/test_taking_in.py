"""What the dispatcher does while others change the same keys, and while its time runs out."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.adapters.log import EventLog
from keyturn.core.state import Phase, WaitsFor
from tests.shell.world import World


def take_in_while_it_finishes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a key's second event in; the run of its first one ends between the batch's sorting and its admission."""
    world.put("k")
    assert world.deliver()
    (execution,) = world.live()
    world.put("k")
    write = EventLog.write

    def finish_meanwhile(*arguments: Any) -> None:
        write(*arguments)
        world.run(execution)

    monkeypatch.setattr(EventLog, "write", finish_meanwhile)
    assert world.deliver()


def test_a_key_that_finishes_while_its_next_event_is_taken_in_goes_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was running when the batch was sorted, so no slot was asked for; the slot that its run gave up is free."""
    world = World()
    take_in_while_it_finishes(world, monkeypatch)
    assert world.platform.keys.load("k").phase is Phase.RUNNING
    assert len(world.live()) == 1


def test_no_more_runs_start_at_once_than_step_functions_takes() -> None:
    """Whatever is free: the keys beyond wait, and the watchdog is woken for them."""
    world = World(max_in_flight_runs=1_000)
    for number in range(410):
        world.put(f"k{number}")
    assert world.deliver(410)
    assert len(world.live()) == 400
    assert sum(state.waits_for is WaitsFor.SLOT for state in world.key_states().values()) == 10
    world.settle()
    world.check()


def test_resent_events_are_noted_while_there_is_time() -> None:
    """A producer that sends thousands again doesn't keep a batch past its time: what isn't noted comes again."""
    world = World()
    for number in range(6):
        world.put(f"k{number}", event_id="same")
    assert world.deliver()
    for number in range(6):
        world.put(f"k{number}", event_id="same")
    assert not world.deliver(has_time=lambda: False)
    assert not world.items("key#", "duplicate#")
    assert world.checkpoint == 6
    assert world.deliver()
    assert len(world.items("key#", "duplicate#")) == 6


def test_a_key_that_finds_no_slot_then_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others took the slot meanwhile: it waits for one, and the watchdog is asked to look soon."""
    world = World(max_in_flight_runs=1)
    take_in_while_it_finishes(world, monkeypatch)
    assert world.platform.keys.load("k").waits_for is WaitsFor.SLOT
    assert world.messages
    world.settle()
    assert len(world.effects) == 4
