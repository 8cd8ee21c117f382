"""What becomes of a key's runs when people resume, skip and rewind it, and when its log or its writes fail it."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.core.state import Phase
from keyturn.errors import LogIncomplete
from tests.shell.operated import OperatedWorld
from tests.shell.world import STEPS


def only(world: OperatedWorld, key: str = "k") -> Any:
    """Return the one live execution of a key."""
    (execution,) = [one for one in world.live() if one.key == key]
    return execution


def steps_of(world: OperatedWorld, place: str) -> list[str]:
    """Return which steps were done for an event, in order."""
    return [effect.step for effect in world.effects if effect.position == place]


def failed_at_payment(world: OperatedWorld) -> tuple[str, str]:
    """Park a key whose first event failed at its second step, with another behind it; return their positions."""
    places = world.put("k", payment="fail"), world.put("k")
    world.settle()
    assert world.state("k").phase is Phase.PARKED
    return places


class TestParkedKeys:
    def test_a_resumed_key_goes_on_at_the_step_that_failed(self) -> None:
        world = OperatedWorld()
        first, second = failed_at_payment(world)
        world.is_repaired = True
        told = world.operate("resume", "k")
        assert (told["phase"], told["waits_for"]) == ("waiting", "slot")
        world.settle()
        world.check()
        assert steps_of(world, first).count("inventory") == 1
        assert set(steps_of(world, second)) == set(STEPS)
        assert world.operations("k") == ["Resume"]

    def test_a_key_that_is_resumed_afresh_does_its_finished_steps_again(self) -> None:
        world = OperatedWorld()
        first, second = failed_at_payment(world)
        world.is_repaired = True
        world.operate("resume", "k", is_fresh=True)
        world.settle()
        world.check()
        assert steps_of(world, first).count("inventory") == 2
        assert steps_of(world, second).count("inventory") == 1
        assert world.operations("k") == ["ResumeFresh"]

    def test_a_skipped_run_is_dead_lettered_and_what_queues_behind_runs(self) -> None:
        world = OperatedWorld()
        first, second = failed_at_payment(world)
        world.operate("skip", "k")
        world.settle()
        world.check()
        (letter,) = world.items("deadletter#")
        assert (letter["position"], letter["reason"]) == (first, "skipped by somebody: because")
        assert set(steps_of(world, second)) == set(STEPS)
        assert (world.state("k").phase, world.state("k").finished) == (Phase.IDLE, 2)

    def test_what_was_parked_since_somebody_looked_is_not_skipped(self) -> None:
        """It wasn't parked then, so nobody has seen at what it failed."""
        world = OperatedWorld()
        world.put("k", payment="permanent")
        world.deliver()
        assert "not parked" in world.operate("skip", "k", parked_at_ms=1)["refused"]
        world.settle()
        assert "parked anew" in world.operate("skip", "k", parked_at_ms=1)["refused"]
        assert world.state("k").phase is Phase.PARKED

    def test_of_two_people_who_skip_what_they_saw_one_skips(self) -> None:
        """The key may have failed at its next event by then, which neither of them has seen."""
        world = OperatedWorld()
        first = world.put("k", payment="permanent")
        world.put("k", payment="permanent")
        world.settle()
        parked = world.state("k").parked
        assert parked is not None
        world.operate("skip", "k", parked_at_ms=parked.at_ms)
        world.settle()
        assert world.state("k").phase is Phase.PARKED
        assert "parked anew" in world.operate("skip", "k", parked_at_ms=parked.at_ms)["refused"]
        assert [letter["position"] for letter in world.items("deadletter#")] == [first]
        world.operate("skip", "k")
        world.settle()
        assert world.state("k").phase is Phase.IDLE

    @pytest.mark.parametrize("command", ["resume", "skip"])
    def test_no_run_begins_while_a_worker_of_the_failed_one_may_act(self, command: str) -> None:
        world = OperatedWorld()
        world.put("k", inventory="vanish once", payment="permanent")
        world.put("k")
        world.deliver()
        world.run(only(world))
        (effect,) = [one for one in world.effects if one.step == "inventory"]
        assert world.state("k").phase is Phase.PARKED
        world.is_repaired = True
        world.operate(command, "k")
        assert world.state("k").not_before_ms >= effect.ended_by_ms
        world.settle()
        world.check()


class TestReplays:
    def test_finished_events_run_again_in_order_before_what_is_new(self) -> None:
        world = OperatedWorld()
        places = [world.put("k") for _ in range(3)]
        world.settle()
        world.operate("hold-key", "k")
        places.append(world.put("k"))
        world.settle()
        before = world.items("key#k", "event#")
        world.rewind("k", [places[2], places[0]], fresh=True)
        world.operate("release-key", "k")
        world.settle()
        world.check()
        inventory = [effect.position for effect in world.effects if effect.step == "inventory"]
        assert inventory == [*places[:3], places[0], places[2], places[3]]
        state = world.state("k")
        assert (state.cursor, state.admitted, state.finished, state.replay) == (places[3], 4, 4, None)
        assert world.items("key#k", "event#") == before, "the log is never rewritten"

    def test_without_a_new_generation_finished_steps_are_left_out(self) -> None:
        world = OperatedWorld()
        place = world.put("k")
        world.settle()
        world.rewind("k", [place])
        world.settle()
        world.check()
        assert len(world.states.executions) == 2
        assert len(steps_of(world, place)) == len(STEPS)

    def test_asked_for_during_a_run_it_begins_when_that_has_passed(self) -> None:
        world = OperatedWorld()
        first = world.put("k")
        world.settle()
        second, third = world.put("k", inventory="fail once"), world.put("k")
        world.deliver()
        world.rewind("k", [first], fresh=True)
        world.settle()
        world.check()
        payments = [effect.position for effect in world.effects if effect.step == "payment"]
        assert list(dict.fromkeys(payments[1:])) == [second, first, third]

    def test_a_canceled_replay_ends_behind_the_run_that_is_under_way(self) -> None:
        world = OperatedWorld()
        places = [world.put("k") for _ in range(3)]
        world.settle()
        world.rewind("k", places, fresh=True, replay="r")
        world.now_ms += 2_000
        world.watch()
        execution = only(world)
        world.cancel("k", "r")
        world.run(execution)
        assert (world.state("k").phase, world.state("k").cursor) == (Phase.IDLE, places[2])
        assert [steps_of(world, place).count("payment") for place in places] == [2, 1, 1]


class TestLostEvents:
    def lose(self, world: OperatedWorld, place: str) -> dict[str, Any]:
        """Remove an event from the log, as no function of ours can; return the item."""
        where = {"pk": {"S": "key#k"}, "sk": {"S": f"event#{place}"}}
        gone = world.dynamodb.delete_item(TableName=world.settings.state_table, Key=where, ReturnValues="ALL_OLD")
        item: dict[str, Any] = gone["Attributes"]
        return item

    def test_a_key_whose_log_lost_an_event_is_parked_and_goes_on_when_it_is_back(self) -> None:
        world = OperatedWorld()
        world.put("k")
        world.deliver()
        second = world.put("k")
        world.deliver()
        item = self.lose(world, second)
        world.settle()
        state = world.state("k")
        assert state.parked is not None
        assert "the log holds nothing between" in state.parked.reason
        assert LogIncomplete.__name__ not in state.parked.reason, "a person reads this"
        world.operate("resume", "k")
        world.settle()
        assert world.state("k").phase is Phase.PARKED, "it is still lost"
        world.dynamodb.put_item(TableName=world.settings.state_table, Item=item)
        world.operate("resume", "k")
        world.settle()
        world.check()
        assert set(steps_of(world, second)) == set(STEPS)

    def test_one_that_is_lost_between_others_is_told_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """The others run; the key's counts tell what never came up, and the metric rings."""
        world = OperatedWorld()
        world.put("k")
        world.deliver()
        lost, last = world.put("k"), world.put("k")
        world.deliver()
        self.lose(world, lost)
        world.settle()
        state = world.state("k")
        assert (state.phase, state.cursor, state.admitted, state.finished, state.missing) == (Phase.IDLE, last, 3, 3, 1)
        world.put("k")
        world.settle()
        assert world.state("k").missing == 1
        assert [record.message for record in caplog.records].count("events missing") == 1

    def test_a_skip_passes_over_what_is_lost(self) -> None:
        world = OperatedWorld()
        world.put("k")
        world.deliver()
        second = world.put("k")
        world.deliver()
        self.lose(world, second)
        world.settle()
        world.operate("skip", "k")
        state = world.state("k")
        assert (state.phase, state.cursor, state.admitted, state.finished) == (Phase.IDLE, second, 2, 2)
        third = world.put("k")
        world.settle()
        assert set(steps_of(world, third)) == set(STEPS)

    def test_a_replay_passes_over_what_is_lost_of_it_and_runs_the_rest(self) -> None:
        world = OperatedWorld()
        places = [world.put("k") for _ in range(3)]
        world.settle()
        world.operate("hold-key", "k")
        world.rewind("k", places, fresh=True)
        self.lose(world, places[1])
        world.operate("release-key", "k")
        world.settle()
        assert world.state("k").phase is Phase.PARKED
        world.operate("skip", "k")
        world.settle()
        assert [steps_of(world, place).count("payment") for place in places] == [2, 1, 2]
        assert (world.state("k").phase, world.state("k").cursor) == (Phase.IDLE, places[2])


class TestSlowWrites:
    @pytest.mark.parametrize("slow_ms", [400, 3_000, 9_000])
    def test_a_worker_that_began_while_an_attempt_was_being_ended_is_outwaited(
        self, monkeypatch: pytest.MonkeyPatch, slow_ms: int
    ) -> None:
        """The state that ends an attempt is written late: until then, a worker may still begin."""
        world = OperatedWorld()
        world.put("k", inventory="vanish once", payment="vanish once")
        world.deliver()
        execution = only(world)
        world.step(execution, "inventory")
        write = world.dynamodb.transact_write_items
        is_first = True

        def slow(**call: Any) -> Any:
            nonlocal is_first
            if is_first:
                is_first = False
                world.now_ms += slow_ms
                world.work(execution, "payment")
            return write(**call)

        monkeypatch.setattr(world.dynamodb, "transact_write_items", slow)
        timed_out = {"Error": "States.Timeout", "Cause": ""}
        execution.answers["payment"] = {"step": "payment", "execution_id": execution.execution_id, "error": timed_out}
        world.finish(execution)
        (late,) = [effect for effect in world.effects if effect.step == "payment"]
        state = world.state("k")
        assert state.not_before_ms >= late.ended_by_ms
        world.settle()
        world.check()
