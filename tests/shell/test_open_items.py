"""Quarantined records and dead letters: listed, redriven in order, discarded, each by one operator only."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from keyturn.adapters.open_items import Closing, How, Kind, OpenItems, id_of
from keyturn.adapters.table import ItemKey
from keyturn.core.event import Event
from keyturn.core.state import Phase
from keyturn.core.step_context import StepContext
from keyturn.errors import CannotOperate, Throttled
from keyturn.shell.operator_requests import answer
from tests.shell.faults import Fault, throttled
from tests.shell.step_functions import Execution
from tests.shell.world import STEPS, World, routes


def event(number: int, kind: str = "later", **data: Any) -> bytes:
    """An event of a type that no route takes, unless told otherwise."""
    return json.dumps(
        {"specversion": "1.0", "id": f"q-{number}", "source": "/test", "type": kind, "data": data}
    ).encode()


def places(world: World, kind: Kind = Kind.QUARANTINE) -> list[ItemKey]:
    return [(entry.pk, entry.sk) for entry in world.platform.open_items.listed(kind)]


def ask(world: World, command: str, which: list[ItemKey], **more: Any) -> dict[str, tuple[str, str]]:
    """Send a request; return fate and detail by ID."""
    request = {"command": command, "by": "sam", "reason": "mended", "places": [list(one) for one in which], **more}
    told = answer(world.platform, json.loads(json.dumps(request)))
    return {item["id"]: (item["fate"], item["detail"]) for item in told["items"]}


def deploy(world: World) -> None:
    """Deploy routes that take the type `later`."""
    entries = [*routes().routes]
    world.platform = replace(
        world.platform, routes=replace(routes(), routes=(*entries, replace(entries[0], name="later", type="later")))
    )


def heal(world: World) -> list[tuple[str, str]]:
    """Let every worker succeed from now on; the list fills with event and step."""
    done: list[tuple[str, str]] = []

    def function(_execution: Execution, _began_at_ms: int) -> Callable[[Event, StepContext], Any]:
        return lambda event, step: done.append((event.id, step.step))

    world.function_of = function
    return done


class TestQuarantine:
    def world(self, *keys: str) -> World:
        """Records of a type that isn't deployed yet, one for each key named."""
        world = World()
        for number, key in enumerate(keys, start=1):
            world.put_raw(key, event(number), f"q-{number}")
            world.now_ms += 10
        world.settle()
        return world

    def test_what_is_open_is_listed_the_oldest_first_and_counted(self) -> None:
        """By the index, page by page."""
        world = self.world("c", "b", "a", "b", "a")
        listed = list(world.platform.open_items.listed(Kind.QUARANTINE))
        assert [entry.at_ms for entry in listed] == sorted(entry.at_ms for entry in listed)
        assert (len(listed), world.platform.open_items.count(Kind.QUARANTINE)) == (5, 5)
        assert list(world.platform.open_items.listed(Kind.QUARANTINE, after=listed[1])) == listed[2:]

    def test_records_of_one_moment_are_paged_without_a_gap(self) -> None:
        """A batch's records can share their millisecond."""
        world = World()
        for number in range(9):
            world.put_raw(f"k{number % 3}", event(number))
        world.settle()
        listed = list(world.platform.open_items.listed(Kind.QUARANTINE))
        for at, entry in enumerate(listed):
            assert list(world.platform.open_items.listed(Kind.QUARANTINE, after=entry)) == listed[at + 1 :]

    def test_what_would_go_wrong_again_is_left(self) -> None:
        """It is checked against the routes that are deployed now, before anything is put."""
        world = self.world("a")
        records = len(world.records)
        assert set(ask(world, "quarantine-redrive", places(world)).values()) == {
            ("left", "unknown_type: type: no route takes it; routes.json names those that are taken")
        }
        assert (len(world.records), len(places(world))) == (records, 1)

    def test_after_a_deploy_they_run_in_their_old_order(self) -> None:
        """Within each key, however the request names them."""
        world = self.world("a", "b", "a", "a", "b")
        deploy(world)
        told = ask(world, "quarantine-redrive", places(world)[::-1])
        assert {fate for fate, _ in told.values()} == {"done"}
        assert not places(world)
        world.settle()
        world.check()
        done = [(effect.key, effect.event_id) for effect in world.effects if effect.step == "payment"]
        assert [id_ for key, id_ in done if key == "a"] == ["q-1", "q-3", "q-4"]
        assert [id_ for key, id_ in done if key == "b"] == ["q-2", "q-5"]

    def test_a_forced_one_is_put_though_it_is_still_bad(self) -> None:
        """And is in quarantine again, as a record of its own."""
        world = self.world("a")
        before = places(world)
        ((fate, number),) = ask(world, "quarantine-redrive", before, is_forced=True).values()
        assert (fate, number) == ("done", "2")
        world.settle()
        assert len(places(world)) == 1
        assert places(world) != before

    def test_it_says_afterwards_who_redrove_it_why_and_to_where(self) -> None:
        world = self.world("a")
        deploy(world)
        (place,) = places(world)
        ask(world, "quarantine-redrive", [place])
        item = world.platform.open_items.table.get(*place)
        assert item is not None
        assert item["closed"] == {
            "how": "redriven", "by": "sam", "because": "mended", "at_ms": item["closed"]["at_ms"], "to": "2",
        }  # fmt: skip
        assert item["expires_at"] == item["closed"]["at_ms"] // 1000 + world.settings.event_retention_s
        assert not {"due_bucket", "due_at", "claimed_by"} & item.keys()

    @pytest.mark.parametrize("command", ["quarantine-redrive", "discard"])
    def test_what_is_closed_is_not_closed_again(self, command: str) -> None:
        world = self.world("a")
        (place,) = places(world)
        assert ask(world, "discard", [place]) == {id_of(place): ("done", "")}
        told = ask(world, command, [place], is_forced=True)
        assert told == {id_of(place): ("refused", f"{id_of(place)} was discarded already, by sam: mended")}
        assert len(world.records) == 1

    def test_of_two_operators_at_one_item_one_is_refused(self) -> None:
        """Whoever redrives it has it to themselves, until they are done or surely dead."""
        world = self.world("a")
        (place,) = places(world)
        items = world.platform.open_items
        items.claim(place, "first", world.now_ms)
        for command in ("quarantine-redrive", "discard"):
            ((fate, detail),) = ask(world, command, [place], is_forced=True).values()
            assert (fate, "somebody is redriving" in detail) == ("refused", True)
        assert len(world.records) == 1
        world.now_ms += 91_000
        assert set(ask(world, "discard", [place])) == {id_of(place)}
        with pytest.raises(CannotOperate, match="discarded already"):
            items.close(place, Closing(How.REDRIVEN, "first", "", world.now_ms), "first")

    def test_a_crash_between_put_and_mark_runs_it_once_all_the_same(self) -> None:
        """It is put a second time, which its source and id give away."""
        world = self.world("a")
        deploy(world)
        calls = 0
        while True:
            calls += 1
            world.faults.revive()
            world.faults.arm(calls, Fault.DIES_AFTER)
            ask_and_die(world)
            if world.faults.struck == "put_record":
                break
            world.now_ms += 91_000
        world.faults.arm(None)
        world.faults.revive()
        world.now_ms += 91_000
        assert {fate for fate, _ in ask(world, "quarantine-redrive", places(world)).values()} == {"done"}
        world.settle()
        world.check()
        assert [effect.event_id for effect in world.effects] == ["q-1"] * len(STEPS)
        assert [item for item in world.items("key#a") if item["sk"].startswith("duplicate#")]

    def test_nothing_of_a_key_overtakes_what_could_not_be_put(self) -> None:
        """The rest of its key isn't begun; other keys are done."""
        world = self.world("a", "a", "b")
        deploy(world)
        first, second, _ = sorted(places(world), key=lambda place: place[1])
        world.client("kinesis")._inner.put_record = _refusing(world)
        told = ask(world, "quarantine-redrive", places(world))
        assert told[id_of(first)][0] == "failed"
        assert told[id_of(second)] == ("undone", "")
        assert sorted(fate for fate, _ in told.values()) == ["done", "failed", "undone"]
        del world.client("kinesis")._inner.put_record
        assert {fate for fate, _ in ask(world, "quarantine-redrive", [first, second]).values()} == {"done"}

    def test_one_whose_bytes_are_gone_holds_up_no_other(self) -> None:
        """It is refused, with why; what is asked for after a failed call would stop at it each time."""
        world = World()
        for key in ("gone", "gone", "fine"):
            world.put_raw(key, b"{" + b" " * 200_000 if key == "gone" else event(1))
        world.settle()
        first, *others = places(world)
        (item,) = [one for one in world.items("quarantine#") if (one["pk"], one["sk"]) == first]
        world.client("s3").delete_object(Bucket="payloads", Key=item["payload"]["object"])
        told = ask(world, "quarantine-redrive", [first, *others], is_forced=True)
        fate, detail = told[id_of(first)]
        assert fate == "refused"
        assert detail.startswith("what it holds can't be had: fetching payload")
        assert {told[id_of(place)][0] for place in others} == {"done"}

    def test_a_large_record_comes_back_whole(self) -> None:
        """From the payload bucket."""
        world = World()
        world.put_raw("a", event(1, text="x" * 300_000), "q-1")
        world.settle()
        deploy(world)
        ask(world, "quarantine-redrive", places(world))
        assert world.records[-1]["kinesis"]["data"] == world.records[0]["kinesis"]["data"]

    def test_a_late_record_runs_behind_what_its_key_has_done_since(self) -> None:
        world = World()
        late = world.put("a")
        world.put("a")
        world.checkpoint = 1
        world.settle()
        world.checkpoint = 0
        world.deliver(1)
        world.checkpoint = 2
        ask(world, "quarantine-redrive", places(world))
        world.settle()
        assert [effect.event_id for effect in world.effects if effect.step == "payment"] == ["e-2", "e-1"]
        assert late < world.state("a").cursor

    def test_an_id_leads_to_its_item_open_or_not(self) -> None:
        world = self.world("a", "b")
        found = places(world)
        ask(world, "discard", found[:1])
        ids = {id_of(place): place for place in found}
        assert world.platform.open_items.places_of(Kind.QUARANTINE, list(ids)) == ids
        assert world.platform.open_items.places_of(Kind.QUARANTINE, ["20260105-nosuchid", "x", ""]) == {}

    @pytest.mark.parametrize("which", [[], [["p", "s"]] * 51, None])
    def test_a_request_names_a_page_of_items(self, which: Any) -> None:
        told = answer(World().platform, {"command": "discard", "by": "sam", "places": which})
        assert told == {"refused": "the request names no items, or more than 50"}


def ask_and_die(world: World) -> None:
    """Redrive; the process may die on the way."""
    try:
        ask(world, "quarantine-redrive", places(world))
    except BaseException as died:  # noqa: BLE001 - Killed is one, so that no code under test catches it
        assert type(died).__name__ == "Killed"  # noqa: PT017


def _refusing(world: World) -> Any:
    def put_record(**call: Any) -> Any:
        if call["PartitionKey"] == "a":
            raise throttled("PutRecord", "ProvisionedThroughputExceededException")
        world.put_raw(call["PartitionKey"], call["Data"])
        return {"SequenceNumber": str(len(world.records))}

    return put_record


class TestDeadLetters:
    def world(self, kind: str = "skip", **data: str) -> World:
        """One event that was given up, and one behind it that went well."""
        world = World()
        world.put("k", kind, **data or {"payment": "permanent"})
        world.put("k", kind)
        world.settle()
        return world

    def test_a_given_up_event_runs_again_and_its_finished_steps_do_not(self) -> None:
        world = self.world()
        (place,) = places(world, Kind.DEAD_LETTER)
        before = [effect.step for effect in world.effects if effect.event_id == "e-1"]
        assert before == ["inventory"]
        done = heal(world)
        ((fate, replay),) = ask(world, "deadletter-redrive", [place]).values()
        assert fate == "done"
        assert replay.startswith("deadletter-")
        world.settle()
        assert done == [("e-1", "payment")]
        assert not places(world, Kind.DEAD_LETTER)
        assert (world.state("k").phase, world.state("k").finished) == (Phase.IDLE, 2)

    def test_fresh_does_all_its_steps_again(self) -> None:
        world = self.world()
        done = heal(world)
        ask(world, "deadletter-redrive", places(world, Kind.DEAD_LETTER), is_fresh=True)
        world.settle()
        assert sorted(step for _, step in done) == sorted(STEPS)

    def test_given_up_again_it_is_open_again(self) -> None:
        """Nothing unprocessed drops out of sight."""
        world = self.world()
        (place,) = places(world, Kind.DEAD_LETTER)
        for _ in range(2):
            assert {fate for fate, _ in ask(world, "deadletter-redrive", [place]).values()} == {"done"}
            assert not places(world, Kind.DEAD_LETTER)
            world.settle()
            assert places(world, Kind.DEAD_LETTER) == [place]

    def test_several_of_a_key_run_in_one_replay_in_order(self) -> None:
        world = World()
        for _ in range(3):
            world.put("k", "skip", payment="permanent")
        world.settle()
        done = heal(world)
        told = ask(world, "deadletter-redrive", places(world, Kind.DEAD_LETTER)[::-1])
        assert {fate for fate, _ in told.values()} == {"done"}
        world.settle()
        assert [id_ for id_, step in done if step == "payment"] == ["e-1", "e-2", "e-3"]

    @pytest.mark.parametrize("is_fresh", [False, True])
    def test_a_crash_between_rewind_and_mark_runs_it_once_all_the_same(
        self, monkeypatch: pytest.MonkeyPatch, is_fresh: bool
    ) -> None:
        """What was asked for with others, and what was given up since, is another replay."""
        world = World()
        for _ in range(3):
            world.put("k", "skip", payment="permanent")
        world.settle()
        first, second, third = places(world, Kind.DEAD_LETTER)
        done = heal(world)
        with monkeypatch.context() as patched:
            patched.setattr(OpenItems, "close", lambda *_: (_ for _ in ()).throw(Throttled("died")))
            ask(world, "deadletter-redrive", [first, second], is_fresh=is_fresh)
        world.settle()
        world.now_ms += 3_600_000
        told = ask(world, "deadletter-redrive", [first, second], is_fresh=is_fresh)
        assert {fate for fate, _ in told.values()} == {"done"}
        world.settle()
        assert [id_ for id_, step in done if step == "payment"] == ["e-1", "e-2"]
        assert places(world, Kind.DEAD_LETTER) == [third]
        ask(world, "deadletter-redrive", [third])
        world.settle()
        assert ("e-3", "payment") in done

    def test_a_crash_between_two_marks_runs_no_event_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is left open is asked for again, alone and with others: it has begun, so it is closed only."""
        world = World()
        for _ in range(3):
            world.put("k", "skip", payment="permanent")
        world.settle()
        first, second, third = places(world, Kind.DEAD_LETTER)
        done = heal(world)
        close = OpenItems.close

        def close_first(self: OpenItems, place: ItemKey, *arguments: Any) -> None:
            if place == second:
                raise Throttled("died")
            close(self, place, *arguments)

        with monkeypatch.context() as patched:
            patched.setattr(OpenItems, "close", close_first)
            ask(world, "deadletter-redrive", [first, second], is_fresh=True)
        world.settle()
        world.now_ms += 3_600_000
        assert places(world, Kind.DEAD_LETTER) == [second, third]
        told = ask(world, "deadletter-redrive", [second, third], is_fresh=True)
        assert {fate for fate, _ in told.values()} == {"done"}
        world.settle()
        assert [id_ for id_, step in done if step == "payment"] == ["e-1", "e-2", "e-3"]
        assert not places(world, Kind.DEAD_LETTER)

    def test_given_up_again_behind_a_failed_run_it_is_not_taken_for_done(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its redrive died before it closed it; then the run before it failed again, which gave it up once more."""
        world = self.world("behind", payment="permanent")
        world.ask("resume", key="k")
        world.settle()
        both = places(world, Kind.DEAD_LETTER)
        assert len(both) == 2
        with monkeypatch.context() as patched:
            patched.setattr(OpenItems, "close", lambda *_: (_ for _ in ()).throw(Throttled("died")))
            ask(world, "deadletter-redrive", both)
        world.settle()
        world.ask("resume", key="k")
        world.settle()
        world.now_ms += 3_600_000
        done = heal(world)
        ask(world, "deadletter-redrive", places(world, Kind.DEAD_LETTER))
        world.settle()
        assert [id_ for id_, step in done if step == "payment"] == ["e-1", "e-2"]

    def test_a_parked_key_is_for_a_person_first(self) -> None:
        world = self.world()
        world.put("k", "standard", payment="permanent")
        world.settle()
        assert world.state("k").phase is Phase.PARKED
        ((fate, detail),) = ask(world, "deadletter-redrive", places(world, Kind.DEAD_LETTER)).values()
        assert (fate, detail) == ("refused", "key 'k' is parked: resume or skip it first")
        assert len(places(world, Kind.DEAD_LETTER)) == 1

    def test_a_key_that_is_replaying_is_left_alone(self) -> None:
        world = World()
        for _ in range(2):
            world.put("k", "skip", payment="permanent")
        world.settle()
        first, second = places(world, Kind.DEAD_LETTER)
        ask(world, "deadletter-redrive", [first])
        ((fate, detail),) = ask(world, "deadletter-redrive", [second]).values()
        assert (fate, "a replay" in detail) == ("refused", True)
        assert places(world, Kind.DEAD_LETTER) == [second]

    def test_one_whose_event_is_gone_says_so(self) -> None:
        world = self.world()
        (place,) = places(world, Kind.DEAD_LETTER)
        event_place = world.platform.open_items.load([place], ("position",))[place]["position"]
        world.dynamodb.delete_item(
            TableName=world.settings.state_table, Key={"pk": {"S": "key#k"}, "sk": {"S": f"event#{event_place}"}}
        )
        ((fate, detail),) = ask(world, "deadletter-redrive", [place]).values()
        assert (fate, "not in the log any more" in detail) == ("refused", True)

    def test_what_queued_behind_a_failed_run_is_listed_too(self) -> None:
        """Policy fail-behind: written piece by piece, not with the key state."""
        world = self.world("behind")
        assert len(places(world, Kind.DEAD_LETTER)) == 2
        assert world.platform.open_items.count(Kind.DEAD_LETTER) == 2
