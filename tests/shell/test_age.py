"""How long events have been unfinished is told, wherever they wait: an alarm goes by it."""

from __future__ import annotations

import pytest

from keyturn.adapters import telemetry
from keyturn.core.route import parse_routes
from tests.shell.world import ROUTE, World

HOUR_MS = 3_600_000


@pytest.fixture
def ages(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What all functions tell, in seconds."""
    told = list[float]()

    monkeypatch.setattr(telemetry, "oldest_unfinished", lambda age_ms: told.append(age_ms / 1_000))
    return told


def test_a_busy_key_that_is_far_behind_is_told_of(ages: list[float]) -> None:
    """Each of its runs has a new deadline, so among many running keys it never stands at the head of the index."""
    world = World(max_in_flight_runs=20)
    for number in range(10):
        world.put(f"k{number}", "express")
    world.deliver()
    for _ in range(3):
        world.put("hot", "express")
        world.records[-1]["kinesis"]["approximateArrivalTimestamp"] -= 3_600
    world.now_ms += 10_000
    world.deliver()
    world.run([one for one in world.live() if one.input["run"]["key"] == "hot"][-1])
    assert max(ages) > 3_600
    ages.clear()
    world.watch()
    assert max(ages) < 60  # the watchdog alone doesn't see it


def test_a_key_that_keeps_up_costs_no_line(ages: list[float]) -> None:
    """A run's log is a fifth of what it costs."""
    world = World()
    for _ in range(3):
        world.put("k", "express")
    world.settle()
    assert not ages or max(ages) == 0


@pytest.mark.parametrize("command", [("hold-route", "standard"), ("hold-everything", None)])
def test_what_waits_for_a_held_route_is_told_of(ages: list[float], command: tuple[str, str | None]) -> None:
    """A hold that was forgotten keeps its events for days, and nothing else rings."""
    world = World()
    world.ask(command[0], route=command[1])
    world.now_ms += 2_000
    world.put("k", "standard")
    world.deliver()
    world.now_ms += HOUR_MS
    world.watch()
    assert max(ages) > 3_599


def test_what_waits_for_an_open_breaker_is_told_of(ages: list[float]) -> None:
    """By the pass, as what waits for a person."""
    rules = {"keys": 1, "window_s": 60, "probe_after_s": 7_200, "probe_after_max_s": 7_200}
    route = {**ROUTE, "name": "r", "type": "r", "breaker": "b"}
    world = World(parse_routes({"routes": [route], "breakers": {"b": rules}}))
    world.outage.add("payment")
    world.put("k", "r")
    world.put("other", "r")
    world.go_on(30)
    world.put("k2", "r")
    world.deliver()
    world.now_ms += HOUR_MS
    world.next_pass_ms = world.now_ms
    ages.clear()
    world.watch()
    assert max(ages) > 3_599
