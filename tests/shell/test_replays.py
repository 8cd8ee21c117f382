"""What a replay promises, over the real shell: exactly the plan, in order, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from keyturn.adapters.archive import Archive
from keyturn.adapters.log import EventLog
from keyturn.adapters.open_items import Kind as OpenKind
from keyturn.adapters.outcomes import OutcomeStore
from keyturn.core.positions import Position
from keyturn.core.replay_job import JobState, Source
from keyturn.core.replay_plan import Fate
from keyturn.core.state import Phase
from keyturn.shell.sweep import sweep
from tests.shell.faults import Fault, throttled
from tests.shell.step_functions import DEFINITION
from tests.shell.world import SLICE_MS, STEPS, World


def done(world: World, generation: int) -> Counter[tuple[str, str]]:
    """Count the effects of a generation, by event and step."""
    return Counter((one.event_id, one.step) for one in world.effects if one.generation == generation)


def each_step_of(*events: str) -> Counter[tuple[str, str]]:
    """Count each step of some events once."""
    return Counter((event, step) for event in events for step in STEPS)


def world_with(*events: tuple[str, str, str], **settings: Any) -> World:
    """Return a world in which events (key, type, id) are finished."""
    world = World(**settings)
    for key, kind, event_id in events:
        world.put(key, kind, event_id)
    world.settle()
    return world


THREE_KEYS = tuple((key, kind, f"{key}-{kind}") for kind in ("standard", "express") for key in "abc")


class TestPlan:
    def test_it_counts_what_would_run_and_what_would_be_skipped(self) -> None:
        world = world_with(*THREE_KEYS)
        again = world.plan(keys=["a", "b"], is_new_generation=True).tally
        assert (again.keys, again.events, again.runs, again.steps_to_run, again.steps_to_skip) == (2, 4, 4, 8, 0)
        rest = world.plan(keys=["a", "b"]).tally
        assert (rest.steps_to_run, rest.steps_to_skip) == (0, 8)
        # Work, its two steps and the sequencer, for each of the two standard runs
        assert (again.transitions, again.express_runs, again.invocations) == (8, 2, 12)

    def test_it_changes_no_key(self) -> None:
        world = world_with(*THREE_KEYS)
        before = world.key_states()
        world.plan(keys=["a", "b", "c"], is_new_generation=True)
        assert world.key_states() == before

    def test_what_is_not_finished_runs_anyway_and_is_only_counted(self) -> None:
        world = world_with(("k", "standard", "one"))
        world.put("k", "standard", "two", inventory="permanent")
        world.put("k", "standard", "three")
        world.settle()
        tally = world.plan(keys=["k"], is_new_generation=True).tally
        assert (tally.events, tally.unfinished, tally.parked) == (1, 2, 1)

    def test_a_type_selects_its_events_alone(self) -> None:
        """They aren't neighbours in the log, so each is a span of its own."""
        world = world_with(*(("k", kind, f"{n}") for n, kind in enumerate(["standard", "express"] * 3)))
        job = world.plan(type="expr*", is_new_generation=True, accepts_scan=True)
        assert (job.source, job.tally.events, job.tally.spans) == (Source.SCAN, 3, 3)

    def test_a_scan_is_priced_first_and_then_accepted(self) -> None:
        world = world_with(*THREE_KEYS)
        asked = world.ask("replay-plan", type="express")
        assert asked["scan"]["items"] > 0
        assert not world.replaying()

    def test_what_was_given_up_is_found_by_its_dead_letters(self) -> None:
        world = World()
        world.put("a", "skip", "lost", inventory="permanent")
        world.put("a", "skip", "kept")
        world.put("b", "standard", "skipped", inventory="permanent")
        world.settle()
        world.ask("skip", key="b")
        world.settle()
        assert world.plan(outcome="dead-lettered").tally.events == 2
        skipped = world.plan(outcome="skipped")
        assert (skipped.source, list(world.planned(skipped.id))) == (Source.DEAD_LETTERS, ["b"])

    def test_what_was_given_up_late_is_found_however_long_ago_it_arrived(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its key was parked for longer than events live: it is open, so it was renewed."""
        monkeypatch.setattr("keyturn.shell.replay_planning._LETTERS_A_PIECE", 1)
        world = World()
        arrived_ms = world.now_ms
        for key in "ab":
            world.put(key, "standard", f"{key}-old", inventory="permanent")
        world.settle()
        for _ in range(5):
            world.now_ms += 8 * 86_400_000
            sweep(world.platform, lambda: True)
        for key in "ab":
            world.ask("skip", key=key)
        today_ms = world.now_ms
        world.put("c", "skip", "c-new", inventory="permanent")
        world.settle()
        assert set(world.planned(world.plan(outcome="skipped").id)) == {"a", "b"}
        assert world.plan(outcome="dead-lettered").tally.events == 3
        assert set(world.planned(world.plan(outcome="skipped", from_ms=arrived_ms).id)) == {"a", "b"}
        assert set(world.planned(world.plan(outcome="dead-lettered", from_ms=today_ms).id)) == {"c"}

    def test_what_was_tried_again_is_found_by_its_attempt_records(self) -> None:
        world = World()
        world.put("k", "standard", "smooth")
        world.put("k", "express", "rough", inventory="vanish once")
        world.settle()
        job = world.plan(keys=["k"], outcome="retried", is_new_generation=True)
        assert job.tally.events == 1

    @pytest.mark.parametrize(
        ("selection", "said"),
        [
            ({}, "nothing is selected"),
            ({"keys": ["a", "b"], "from_position": "1"}, "positions are those of one key"),
            ({"keys": [""]}, "a key is empty"),
            ({"keys": ["a"], "rate": 0}, "must be 1 to"),
            ({"keys": ["a"], "outcome": "lost"}, "there is no outcome 'lost'"),
        ],
    )
    def test_what_can_not_be_planned_is_refused_in_a_line(self, selection: dict[str, object], said: str) -> None:
        world = World()
        assert said in world.ask("replay-plan", **selection)["refused"]
        assert world.items("replay") == []


class TestApply:
    def test_each_step_of_the_plan_runs_once_more_in_order_and_nothing_else(self) -> None:
        world = world_with(*THREE_KEYS)
        job = world.replay(keys=["a", "c"], is_new_generation=True)
        assert job.state is JobState.DONE
        assert job.counts == {Fate.DONE: 2}
        assert done(world, 1) == each_step_of("a-standard", "a-express", "c-standard", "c-express")
        assert done(world, 0) == each_step_of(*(event_id for _, _, event_id in THREE_KEYS))
        world.check()

    def test_finished_steps_are_skipped_unless_a_new_generation_is_asked_for(self) -> None:
        world = world_with(*THREE_KEYS)
        before = len(world.effects)
        assert world.replay(keys=["a"]).state is JobState.DONE
        assert len(world.effects) == before
        assert world.state("a").fence == 4

    def test_a_type_over_many_keys_runs_again(self) -> None:
        world = world_with(*THREE_KEYS)
        world.replay(type="express", is_new_generation=True, accepts_scan=True)
        assert done(world, 1) == each_step_of("a-express", "b-express", "c-express")
        world.check()

    def test_what_was_given_up_runs_where_it_stands(self) -> None:
        """Its failed step is done; the step that had worked is not done again."""
        world = World()
        world.put("k", "skip", "lost", payment="permanent")
        world.put("k", "skip", "later")
        world.settle()
        job = world.plan(outcome="dead-lettered")
        assert (job.tally.steps_to_run, job.tally.steps_to_skip) == (1, 1)

    def test_new_events_queue_behind_the_replay(self) -> None:
        world = world_with(("k", "standard", "one"), ("k", "standard", "two"))
        job = world.plan(keys=["k"], is_new_generation=True)
        world.ask("replay-apply", id=job.id)
        world.slice_of(world.replaying()[0])
        world.put("k", "standard", "three")
        world.settle()
        assert [(one.event_id, one.generation) for one in world.effects if one.step == "inventory"] == [
            ("one", 0),
            ("two", 0),
            ("one", 1),
            ("two", 1),
            ("three", 0),
        ]

    def test_events_that_arrived_since_the_plan_do_not_count_as_a_change(self) -> None:
        world = world_with(("k", "standard", "one"))
        job = world.plan(keys=["k"], is_new_generation=True)
        world.put("k", "standard", "two")
        world.settle()
        world.ask("replay-apply", id=job.id)
        world.settle()
        assert done(world, 1) == each_step_of("one")

    @pytest.mark.parametrize("change", ["held", "parked", "replayed", "released"])
    def test_only_the_key_that_changed_since_is_refused(self, change: str) -> None:
        world = world_with(*THREE_KEYS)
        if change == "released":
            world.ask("hold-key", key="a")
        job = world.plan(keys=["a", "b", "c"], is_new_generation=True)
        match change:
            case "held":
                world.ask("hold-key", key="a")
            case "released":
                world.ask("release-key", key="a")
            case "parked":
                world.put("a", "standard", "bad", inventory="permanent")
                world.settle()
            case "replayed":
                world.replay(keys=["a"], is_new_generation=True)
        so_far = done(world, 1)
        world.ask("replay-apply", id=job.id)
        world.settle()
        after = world.job(job.id)
        assert after.counts == {Fate.REFUSED: 1, Fate.DONE: 2}
        refused = world.planned(job.id)["a"]
        assert refused.fate is Fate.REFUSED
        assert ("parked" if change == "parked" else "plan again") in refused.why
        assert done(world, 1) - so_far == each_step_of("b-standard", "b-express", "c-standard", "c-express")

    def test_a_key_whose_workflow_was_changed_since_is_refused(self) -> None:
        world = world_with(("a", "standard", "1"), ("b", "express", "2"))
        job = world.plan(keys=["a", "b"], is_new_generation=True)
        world.states.definitions["order-express"] = DEFINITION.replace("Sequence", "Finish")
        world.ask("replay-apply", id=job.id)
        world.settle()
        assert {key: one.fate for key, one in world.planned(job.id).items()} == {"a": Fate.DONE, "b": Fate.REFUSED}
        assert "route of its events was changed" in world.planned(job.id)["b"].why

    def test_a_key_that_parks_in_its_replay_is_reported_and_the_rest_of_its_rewinds_can_be_asked_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A resume or skip runs what was rewound; applied again, the replay does what wasn't, and only that."""
        monkeypatch.setattr("keyturn.core.replay_plan.CHUNK_SPANS_MAX", 2)
        world = World()
        world.put("k", "standard", "bad", inventory="permanent")
        for number, kind in enumerate(["express", "standard"] * 4):
            world.put("k", kind, f"{number}")
        world.settle()
        world.ask("skip", key="k")
        world.settle()
        job = world.plan(keys=["k"], type="standard", is_new_generation=True)
        world.ask("replay-apply", id=job.id)
        for _ in range(2):  # asked for again while it is still parked, nothing of it changes
            world.settle()
            assert (world.job(job.id).state, world.job(job.id).counts) == (JobState.DONE, {Fate.PARKED: 1})
            assert "inventory" in world.planned(job.id)["k"].why
            assert not done(world, 1) - Counter({("bad", "payment"): 1})
            world.ask("replay-apply", id=job.id)
        world.settle()
        world.ask("skip", key="k")
        world.settle()
        assert done(world, 1) - each_step_of("bad") == each_step_of("1")
        assert world.state("k").phase is Phase.IDLE
        world.ask("replay-apply", id=job.id)
        world.settle()
        again = [one.event_id for one in world.effects if one.generation and one.step == "payment"]
        assert again == ["bad", "1", "3", "5", "7"]
        assert world.job(job.id).counts == {Fate.DONE: 1}
        assert "was applied already" in world.ask("replay-apply", id=job.id)["refused"]

    def test_more_spans_than_a_rewind_carries_follow_in_further_rewinds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every other event, each a span of its own, two a rewind: in order, none before the one before it."""
        monkeypatch.setattr("keyturn.core.replay_plan.CHUNK_SPANS_MAX", 2)
        kinds = ["standard", "express"] * 5
        world = World()
        for number, kind in enumerate(kinds):
            world.put("k", kind, f"{number:03d}")
        world.settle()
        job = world.plan(keys=["k"], type="express", is_new_generation=True)
        assert (job.tally.spans, world.planned(job.id)["k"].chunks) == (5, 3)
        world.ask("replay-apply", id=job.id)
        world.settle()
        again = [one.event_id for one in world.effects if one.generation and one.step == "inventory"]
        assert again == [f"{number:03d}" for number, kind in enumerate(kinds) if kind == "express"]
        assert world.job(job.id).counts == {Fate.DONE: 1}

    def test_keys_are_rewound_at_the_plans_rate(self) -> None:
        keys = [f"k{number}" for number in range(12)]
        world = world_with(*((key, "express", key) for key in keys))
        job = world.plan(keys=keys, is_new_generation=True, rate=2)
        began_ms = world.now_ms
        world.ask("replay-apply", id=job.id)
        world.slice_of(world.replaying()[0])
        assert 5_000 <= world.now_ms - began_ms <= 8_000

    def test_no_slice_waits_longer_for_the_rate_than_it_may_take(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Many keys are due for their next rewind at once; a slice that slept for all of them would be killed."""
        monkeypatch.setattr("keyturn.core.replay_plan.CHUNK_SPANS_MAX", 1)
        keys = [f"k{number}" for number in range(12)]
        kinds = ["express", "standard", "express"]
        world = world_with(*((key, kind, f"{key}-{n}") for key in keys for n, kind in enumerate(kinds)))
        job = world.plan(keys=keys, type="express", is_new_generation=True, rate=1)
        world.ask("replay-apply", id=job.id)
        (execution,) = world.replaying()
        world.slice_of(execution, pieces=len(keys))
        for _ in keys:
            world.fill()
            for run in world.live():
                world.run(run)
        longest_ms = 0
        for _ in range(2 * len(keys)):
            began_ms = world.now_ms
            world.slice_of(execution, pieces=1)
            longest_ms = max(longest_ms, world.now_ms - began_ms)
            world.now_ms += 1_000
        assert longest_ms <= 2_000
        world.settle()
        assert done(world, 1) == each_step_of(*(f"{key}-0" for key in keys))
        assert done(world, 2) == each_step_of(*(f"{key}-2" for key in keys))

    def test_applying_twice_is_refused_and_says_by_whom(self) -> None:
        world = world_with(*THREE_KEYS)
        job = world.plan(keys=["a"], is_new_generation=True)
        world.ask("replay-apply", id=job.id)
        assert "was applied already by sam at" in world.ask("replay-apply", id=job.id)["refused"]
        world.settle()
        assert "was applied already by sam at" in world.ask("replay-apply", id=job.id)["refused"]
        assert done(world, 1) == each_step_of("a-standard", "a-express")

    def test_an_unknown_replay_is_refused(self) -> None:
        for command in ("replay-apply", "replay-cancel"):
            assert "there is no replay 'x'" in World().ask(command, id="x")["refused"]


class TestCancel:
    def test_runs_under_way_end_and_no_other_begins(self) -> None:
        world = world_with(*THREE_KEYS, ("a", "standard", "a-last"))
        job = world.plan(keys=["a", "b", "c"], is_new_generation=True, rate=1)
        world.ask("replay-apply", id=job.id)
        world.slice_of(world.replaying()[0], pieces=1)
        world.fill()
        (key,) = {one.key for one in world.live()}
        world.ask("replay-cancel", id=job.id)
        world.slice_of(world.replaying()[0])
        world.settle()
        assert world.job(job.id).state is JobState.CANCELLED
        assert done(world, 1) == each_step_of(f"{key}-standard")
        assert {state.phase for state in world.key_states().values()} == {Phase.IDLE}
        world.check()

    @pytest.mark.parametrize("fault", [Fault.DIES_AFTER, Fault.LOSES_ANSWER, Fault.THROTTLES], ids=lambda one: one.name)
    def test_a_further_rewind_that_was_not_written_down_is_called_off_too(
        self, fault: Fault, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever began it died, or was throttled, before the plan told of it."""
        monkeypatch.setattr("keyturn.core.replay_plan.CHUNK_SPANS_MAX", 1)
        for strike_at in range(1, 30):
            world = world_with(*(("k", kind, f"{n}") for n, kind in enumerate(["express", "standard"] * 3)))
            job = world.plan(keys=["k"], type="express", is_new_generation=True)
            world.ask("replay-apply", id=job.id)
            (execution,) = world.replaying()
            world.slice_of(execution)
            world.now_ms += 2_000
            world.fill()
            for run in world.live():
                world.run(run)
            assert done(world, 1) == each_step_of("0")
            world.faults.arm(strike_at, fault)
            world.slice_of(execution)
            has_struck = world.faults.has_struck
            world.faults.arm(None)
            world.ask("replay-cancel", id=job.id)
            while world.replaying():
                world.slice_of(execution)
                world.now_ms += 1_000
            world.settle()
            told = f"call {strike_at} ({world.faults.struck})"
            assert world.job(job.id).state is JobState.CANCELLED, told
            assert (done(world, 1), done(world, 2)) == (each_step_of("0"), Counter()), told
            assert world.state("k").phase is Phase.IDLE
            if not has_struck:
                assert strike_at > 1
                return
        raise AssertionError("the replayer makes more calls than that")

    def test_a_plan_that_was_called_off_can_not_be_applied(self) -> None:
        world = world_with(*THREE_KEYS)
        job = world.plan(keys=["a"])
        world.ask("replay-cancel", id=job.id)
        assert "was cancelled by sam at" in world.ask("replay-apply", id=job.id)["refused"]
        assert "was cancelled by sam at" in world.ask("replay-cancel", id=job.id)["refused"]


@pytest.mark.parametrize("fault", [Fault.DIES_AFTER, Fault.LOSES_ANSWER, Fault.THROTTLES], ids=lambda one: one.name)
@pytest.mark.parametrize("stage", ["planning", "applying", "cancelling"])
def test_a_fault_at_any_call_of_the_replayer_changes_nothing_of_the_outcome(stage: str, fault: Fault) -> None:
    """It goes on where it was: what is planned runs once more, in order, and nothing else does."""
    for strike_at in range(1, 60):
        world = world_with(("a", "standard", "a1"), ("b", "express", "b1"))
        asked = world.ask("replay-plan", keys=["a", "b"], is_new_generation=True)
        if stage != "planning":
            world.settle()
            world.ask("replay-apply", id=asked["id"])
        if stage == "cancelling":
            world.slice_of(world.replaying()[0])
            world.ask("replay-cancel", id=asked["id"])
        world.faults.arm(strike_at, fault)
        world.slice_of(world.replaying()[0])
        has_struck = world.faults.has_struck
        world.faults.arm(None)
        world.settle()
        if stage == "planning":
            assert world.job(asked["id"]).tally.events == 2
            world.ask("replay-apply", id=asked["id"])
            world.settle()
        told = f"{stage}, call {strike_at} ({world.faults.struck}): {fault}"
        job = world.job(asked["id"])
        if stage == "cancelling":
            assert job.state is JobState.CANCELLED, told
            assert done(world, 1) == Counter(), told
        else:
            assert (job.state, job.counts) == (JobState.DONE, {Fate.DONE: 2}), told
            assert done(world, 1) == each_step_of("a1", "b1"), told
        assert all(state.replay is None for state in world.key_states().values()), told
        world.check()
        if not has_struck:
            assert strike_at > 1
            return
    raise AssertionError("the replayer makes more calls than that")


def test_an_interrupted_replay_goes_on_when_it_is_applied_again() -> None:
    """Its execution was stopped half-way: what it did stays done, and the rest is done once."""
    world = world_with(*THREE_KEYS)
    job = world.plan(keys=["a", "b", "c"], is_new_generation=True, rate=1)
    world.ask("replay-apply", id=job.id)
    (execution,) = world.replaying()
    world.slice_of(execution, pieces=1)
    execution.status = "ABORTED"
    assert world.ask("replay-apply", id=job.id)["state"] == "applying"
    world.settle()
    assert world.job(job.id).counts == {Fate.DONE: 3}
    assert done(world, 1) == each_step_of(*(event_id for _, _, event_id in THREE_KEYS))
    world.check()


def test_a_replay_that_a_clock_took_for_hours_goes_on() -> None:
    """A slice that died, whose clock was ahead, isn't waited for until its own time."""
    world = world_with(*THREE_KEYS)
    job = world.plan(keys=["a", "b", "c"], is_new_generation=True)
    world.ask("replay-apply", id=job.id)
    began_ms = world.now_ms
    world.platform.replays.save(replace(world.job(job.id), busy_until_ms=began_ms + 6 * 3_600_000))
    world.settle()
    assert world.job(job.id).counts == {Fate.DONE: 3}
    assert world.now_ms - began_ms < 3_600_000


def test_a_long_replay_is_handed_to_another_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    """An execution's history is bounded; the replay is not."""
    monkeypatch.setattr("keyturn.shell.replay_work.TURNS_MAX", 2)
    world = world_with(*THREE_KEYS)
    job = world.replay(keys=["a", "b", "c"], is_new_generation=True)
    assert job.executions > 2
    assert done(world, 1) == each_step_of(*(event_id for _, _, event_id in THREE_KEYS))


def test_no_payload_reaches_the_plan() -> None:
    world = World()
    world.put("k", "standard", "one", secret="nobody-may-read-this")
    world.settle()
    job = world.plan(keys=["k"], is_new_generation=True)
    assert "nobody-may-read-this" not in json.dumps(world.items(f"replay#{job.id}"), default=str)


def test_a_time_window_is_read_from_the_stream_piece_by_piece() -> None:
    """Its keys alone are planned, and only the events of the window."""
    world = World()
    for number in range(30):
        world.put(f"early{number}", "express")
    world.settle()
    world.now_ms += 3_600_000
    since_ms = world.now_ms
    for number in range(30):
        world.put(f"late{number}", "express")
    world.put("early0", "express")
    world.settle()
    job = world.plan(from_ms=since_ms, is_new_generation=True)
    assert (job.source, job.searched, job.tally.keys, job.tally.events) == (Source.STREAM, 31, 31, 31)
    assert set(world.planned(job.id)) == {"early0", *(f"late{number}" for number in range(30))}


@pytest.mark.parametrize("source", [Source.STREAM, Source.ARCHIVE])
@pytest.mark.parametrize("keys", [[], ["k"]])
def test_what_has_left_the_log_comes_from_the_stream_or_the_archive(source: Source, keys: list[str]) -> None:
    """It is put back where it was, so that it runs again; what its producer had sent twice still runs once."""
    world = World(archive_bucket="archive" if source is Source.ARCHIVE else "")
    world.stream_retention_h = 24 if source is Source.ARCHIVE else 8_760
    since_ms = world.now_ms
    for _ in range(2):
        world.put("k", "standard", "one")
    world.put("k", "express", "two")
    world.put("other", "express", "three")
    world.settle()
    for item in world.items("key#", "event#") + world.items("key#", "id#") + world.items("key#", "duplicate#"):
        place = {"pk": {"S": item["pk"]}, "sk": {"S": item["sk"]}}
        world.dynamodb.delete_item(TableName=world.settings.state_table, Key=place)
    world.now_ms += 31 * 86_400_000
    world.next_pass_ms = world.now_ms
    job = world.replay(from_ms=since_ms, keys=keys, is_new_generation=True)
    assert (job.source, job.tally.restored) == (source, 2 if keys else 3)
    assert done(world, 1) == each_step_of("one", "two", *([] if keys else ["three"]))


def test_a_time_before_the_archive_began_is_refused() -> None:
    """A plan of what the archive has alone would look like a whole one."""
    world = World(archive_bucket="archive")
    archive, world.platform = world.platform.archive, replace(world.platform, archive=Archive(world.client, ""))
    since_ms = world.now_ms
    world.put("k", "standard", "not archived")
    world.settle()
    world.platform = replace(world.platform, archive=archive)
    world.now_ms += 31 * 86_400_000
    world.next_pass_ms = world.now_ms
    refused = world.ask("replay-plan", from_ms=since_ms)["refused"]
    assert "the archive is empty: choose a later --from" in refused
    world.put("k", "standard", "archived")
    world.settle()
    refused = world.ask("replay-plan", from_ms=since_ms)["refused"]
    assert "the archive begins at 2023-12-15T22:00:00Z: choose a later --from" in refused


def test_a_stream_that_is_younger_than_the_time_is_not_searched_for_it() -> None:
    """It was replaced: what came before it is found in the log."""
    world = World(stream_epoch=2)
    since_ms = world.now_ms
    world.put("k", "standard", "into the old stream")
    world.settle()
    world.now_ms += 3_600_000
    world.records.clear()
    world.stream_created_ms = world.now_ms
    asked = {"from_ms": since_ms, "is_new_generation": True}
    assert "scan" in world.ask("replay-plan", **asked)
    assert world.plan(**asked, accepts_scan=True).tally.events == 1


def test_what_neither_log_nor_stream_nor_archive_has_is_refused() -> None:
    world = World()
    refused = world.ask("replay-plan", from_ms=world.now_ms - 31 * 86_400_000)["refused"]
    assert "this stack has no archive" in refused


class TestWhatWasGivenUp:
    """A dead letter is open as long as its event waits for a person, and no longer."""

    def world(self, kind: str = "skip", events: int = 2) -> World:
        """Events of one key that were given up in an outage that is over."""
        world = World()
        world.outage.add("payment")
        for number in range(events):
            world.put("k", kind, f"e{number}")
        world.settle()
        world.outage.clear()
        return world

    def open_letters(self, world: World) -> list[str]:
        """The positions of those that are open."""
        found = world.platform.open_items.listed(OpenKind.DEAD_LETTER)
        return sorted(entry.sk.rpartition("#")[2].split("-")[1].lstrip("0") for entry in found)

    @pytest.mark.parametrize("selection", [{"outcome": "dead-lettered"}, {"keys": ["k"]}])
    def test_it_is_closed_by_the_replay_that_ran_it_again(self, selection: dict[str, Any]) -> None:
        """Else the next plan would run it once more, and a redrive from its first step would do its effects twice."""
        world = self.world()
        assert self.open_letters(world) == ["1", "2"]
        job = world.replay(**selection, is_new_generation=True)
        assert job.counts == {Fate.DONE: 1}
        assert self.open_letters(world) == []
        assert world.plan(outcome="dead-lettered").tally.events == 0
        assert {item["closed"]["to"] for item in world.items("deadletter#")} == {f"{job.id}:0"}
        assert {item["closed"]["by"] for item in world.items("deadletter#")} == {"sam"}

    def test_it_stays_open_when_it_is_given_up_again(self) -> None:
        world = self.world()
        world.outage.add("payment")
        world.replay(outcome="dead-lettered", is_new_generation=True)
        assert self.open_letters(world) == ["1", "2"]

    def test_it_stays_open_when_it_is_diverted_again(self) -> None:
        """Behind a run that failed for good once more, it wasn't tried."""
        world = self.world("behind", events=3)
        world.ask("resume", key="k")
        world.settle()
        job = world.plan(outcome="dead-lettered", is_new_generation=True)
        assert job.tally.events == 3
        world.outage.add("payment")
        world.ask("replay-apply", id=job.id)
        world.settle()
        world.ask("resume", key="k")
        world.outage.clear()
        world.settle()
        assert world.job(job.id).state is JobState.DONE
        assert self.open_letters(world) == ["1", "2", "3"]

    def test_it_stays_open_when_the_replay_is_called_off(self) -> None:
        world = self.world()
        job = world.plan(outcome="dead-lettered", is_new_generation=True)
        world.ask("hold-route", route="skip")
        world.now_ms += 2_000
        world.ask("replay-apply", id=job.id)
        world.slice_of(world.replaying()[0])
        world.ask("replay-cancel", id=job.id)
        world.slice_of(world.replaying()[0])
        world.ask("release-route", route="skip")
        world.settle()
        assert world.job(job.id).counts == {Fate.CANCELLED: 1}
        assert self.open_letters(world) == ["1", "2"]

    @pytest.mark.parametrize("fault", [Fault.DIES_AFTER, Fault.LOSES_ANSWER, Fault.THROTTLES])
    @pytest.mark.parametrize("call", range(1, 10))
    def test_it_stays_open_when_who_called_the_replay_off_died(self, call: int, fault: Fault) -> None:
        """The key has no replay any more, as if all of it had run: nothing of it has."""
        world = self.world()
        job = world.plan(outcome="dead-lettered", is_new_generation=True)
        world.ask("hold-route", route="skip")
        world.now_ms += 2_000
        world.ask("replay-apply", id=job.id)
        (execution,) = world.replaying()
        world.slice_of(execution)
        world.ask("replay-cancel", id=job.id)
        world.faults.arm(call, fault)
        world.slice_of(execution)
        assert world.faults.has_struck
        world.faults.arm(None)
        world.pass_time(60)
        if execution.status == "RUNNING":
            world.slice_of(execution)
        assert world.job(job.id).counts == {Fate.CANCELLED: 1}
        assert self.open_letters(world) == ["1", "2"]

    def test_one_that_was_not_selected_stays_open(self) -> None:
        world = self.world()
        (first, _) = [item["position"] for item in world.items("deadletter#")]
        world.replay(keys=["k"], to_position=first, is_new_generation=True)
        assert self.open_letters(world) == ["2"]

    def test_one_that_arrived_on_another_day_is_closed_too(self) -> None:
        """Dead letters stand by the day on which their events arrived."""
        world = World()
        world.outage.add("payment")
        for number in range(3):
            world.put("k", "skip", f"e{number}")
            world.settle()
            world.now_ms += 86_400_000
            world.next_pass_ms = world.now_ms
        world.outage.clear()
        assert self.open_letters(world) == ["1", "2", "3"]
        world.replay(outcome="dead-lettered")
        assert self.open_letters(world) == []


def test_no_piece_of_a_pass_outlives_the_replayer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead letters of keys whose events came over a year are looked for in hundreds of days, of many keys at once."""
    world = World(max_in_flight_runs=40)
    for number in range(40):
        world.put(f"k{number}", "express")
    world.settle()
    usual = OutcomeStore.open_letters_between

    def slow(*args: Any) -> Any:
        world.now_ms += 1_000
        return usual(*args)

    monkeypatch.setattr(OutcomeStore, "open_letters_between", slow)
    job = world.plan(keys=[f"k{number}" for number in range(40)], is_new_generation=True)
    world.ask("replay-apply", id=job.id)
    world.slice_of(world.replaying()[0])
    world.now_ms += 2_000
    world.fill()
    for execution in world.live():
        world.run(execution)
    took_ms = []
    while world.replaying():
        began_ms = world.now_ms
        world.slice_of(world.replaying()[0], pieces=1)
        took_ms.append(world.now_ms - began_ms)
        world.now_ms += 2_000
    assert max(took_ms) < SLICE_MS / 2
    assert world.job(job.id).counts == {Fate.DONE: 40}


def took_by_each_piece_ms(world: World) -> list[int]:
    """Work on a replay to its end; return how long each piece of the work took."""
    took_ms = []
    while world.replaying():
        began_ms = world.now_ms
        world.slice_of(world.replaying()[0], pieces=1)
        took_ms.append(world.now_ms - began_ms)
    return took_ms


class TestBusyStream:
    """A shard gives 2 MB a second: a call waits for what the one before it took."""

    def world(self, monkeypatch: pytest.MonkeyPatch, between: Callable[[World, int], None]) -> tuple[World, int]:
        """Forty events of a time window; `between` happens before each call that reads the stream."""
        world = World()
        since_ms = world.now_ms
        for number in range(40):
            world.put(f"k{number}", "express")
        world.settle()
        stream, calls = world.client("kinesis"), count(1)
        usual = stream.get_records

        def get_records(**call: Any) -> Any:
            between(world, next(calls))
            return usual(**call)

        monkeypatch.setattr(stream, "get_records", get_records, raising=False)
        return world, since_ms

    def test_no_piece_of_the_search_outlives_the_replayer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Killed, it would begin at the same place again, for ever."""

        def wait(world: World, _number: int) -> None:
            world.now_ms += 5_000

        world, since_ms = self.world(monkeypatch, wait)
        job_id = world.ask("replay-plan", from_ms=since_ms)["id"]
        assert max(took_by_each_piece_ms(world)) < SLICE_MS / 2
        assert (world.job(job_id).state, world.job(job_id).tally.keys) == (JobState.PLANNED, 40)

    def test_no_piece_of_the_planning_outlives_it_either(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Logs of many keys may be long, too."""
        world, _ = self.world(monkeypatch, lambda _world, _number: None)
        usual = EventLog.headings

        def headings(log: EventLog, key: str, first: Position, last: Position) -> Any:
            world.now_ms += 1_000  # of eight side by side
            return usual(log, key, first, last)

        monkeypatch.setattr(EventLog, "headings", headings)
        job_id = world.ask("replay-plan", keys=[f"k{number}" for number in range(40)])["id"]
        assert max(took_by_each_piece_ms(world)) < SLICE_MS / 2
        assert (world.job(job_id).state, world.job(job_id).tally.keys) == (JobState.PLANNED, 40)

    def test_what_was_read_before_a_throttled_call_is_not_read_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else a shard that throttles every third call would never be read."""

        def throttle(_world: World, number: int) -> None:
            if number % 3 == 0:
                raise throttled("GetRecords", "ProvisionedThroughputExceededException")

        world, since_ms = self.world(monkeypatch, throttle)
        job = world.plan(from_ms=since_ms)
        assert (job.tally.keys, job.searched) == (40, 40)
