"""People who act on keys: each command once, recorded, and told when somebody else was first."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from keyturn.core.commands import Operator
from keyturn.core.state import Phase
from keyturn.errors import CannotOperate
from keyturn.shell.change import Applied
from keyturn.shell.operate import hold, release, resume, skip
from keyturn.shell.operator_requests import answer
from tests.shell.world import STEPS, World

ANNA, BORIS = Operator("anna", "card service is back"), Operator("boris", "customer called")


def parked() -> World:
    """Return a world whose key k is parked at its first event, with a second one behind."""
    world = World()
    world.put("k", inventory="permanent")
    world.put("k")
    world.settle()
    assert world.state("k").phase is Phase.PARKED
    return world


def operations(world: World) -> list[tuple[str, str, str]]:
    """Return what was recorded of people, in order."""
    return [(item["command"], item["by"], item["reason"]) for item in world.items("key#k", "operation#")]


def at_once(*calls: Callable[[], Applied]) -> tuple[int, list[str]]:
    """Make calls at the same moment; return how many changed something, and what the others were told."""
    start = Barrier(len(calls))

    def call(one: Callable[[], Applied]) -> str:
        start.wait()
        try:
            one()
        except CannotOperate as refused:
            return str(refused)
        return ""

    with ThreadPoolExecutor(len(calls)) as threads:
        told = list(threads.map(call, calls))
    return told.count(""), [one for one in told if one]


class TestTwoAtOnce:
    @pytest.mark.parametrize("_round", range(5))
    def test_one_resumes_and_the_other_is_told_who_did(self, _round: int) -> None:
        world = parked()
        done, told = at_once(
            lambda: resume(world.platform, "k", ANNA, is_fresh=False),
            lambda: resume(world.platform, "k", BORIS, is_fresh=False),
        )
        ((_, first, _),) = operations(world)
        assert (done, len(told)) == (1, 1)
        assert f"Resume by {first}" in told[0]

    @pytest.mark.parametrize("_round", range(5))
    def test_a_run_is_resumed_or_skipped_never_both(self, _round: int) -> None:
        world = parked()
        done, told = at_once(
            lambda: resume(world.platform, "k", ANNA, is_fresh=False), lambda: skip(world.platform, "k", BORIS)
        )
        ((command, _, _),) = operations(world)
        assert (done, len(told)) == (1, 1)
        assert len(world.items("deadletter#")) == (command == "Skip")

    def test_one_holds_and_the_other_is_told_who_did(self) -> None:
        world = parked()
        hold(world.platform, "k", ANNA)
        with pytest.raises(CannotOperate, match="held already, by anna: card service is back"):
            hold(world.platform, "k", BORIS)
        release(world.platform, "k", BORIS)
        with pytest.raises(CannotOperate, match="not held"):
            release(world.platform, "k", ANNA)
        assert [(command, by) for command, by, _ in operations(world)] == [("Hold", "anna"), ("Release", "boris")]


class TestWhatTheyDo:
    def test_skip_dead_letters_the_failed_run_and_the_next_one_starts(self) -> None:
        world = parked()
        skip(world.platform, "k", ANNA)
        world.settle()
        done_before = 1  # the step that didn't fail
        assert [effect.event_id for effect in world.effects][done_before:] == ["e-2"] * len(STEPS)
        (letter,) = world.items("deadletter#")
        assert letter["reason"] == "skipped by anna: card service is back"
        world.check()

    def test_a_held_key_starts_nothing_until_it_is_released(self) -> None:
        world = World()
        world.put("k")
        world.deliver()
        hold(world.platform, "k", ANNA)
        (execution,) = world.live()
        world.put("k")
        world.deliver()
        world.run(execution)
        for _ in range(3):
            world.now_ms += 60_000
            world.watch()
        assert not world.live()
        assert {effect.event_id for effect in world.effects} == {"e-1"}, "the run under way went on, no other began"
        release(world.platform, "k", BORIS)
        world.settle()
        assert world.state("k").phase is Phase.IDLE
        world.check()


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"command": "resume", "key": "nobody"}, "key 'nobody' has never had an event in this stack"),
        ({"command": "skip", "key": ""}, "the request names no key"),
        ({"command": "hold-key"}, "the request names no key"),
        ({"command": "release-key", "key": "k"}, "key 'k' is not held"),
        ({"command": "dance"}, "unknown command 'dance'"),
        ({}, "unknown command ''"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_in_a_line_and_changes_nothing(request_: dict[str, str], told: str) -> None:
    world = parked()
    before = world.items()
    assert told in answer(world.platform, request_)["refused"]
    assert world.items() == before
