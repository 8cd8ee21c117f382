"""Releases with the real shell: who takes which, what a bad one does, and how everything finds back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from keyturn.adapters.table import encode_item
from keyturn.core.event import Event
from keyturn.core.rollout import Canary, Health, Rollout, stepped
from keyturn.core.route import Kind, parse_routes
from keyturn.core.state import KeyState, Phase
from keyturn.core.step_context import StepContext
from keyturn.shell import recovering
from keyturn.shell.operator_requests import answer
from keyturn.shell.platform import Platform
from tests.shell.faults import Fault
from tests.shell.operated import OperatedWorld
from tests.shell.step_functions import PREFIX, Execution
from tests.shell.world import ROUTE, STEPS, World, routes

SHARE = 5_000
HALF = {"share": SHARE, "ended_min": 4, "failed_percent": 50}


class ReleasedWorld(OperatedWorld):
    """A stack with a release, and with one more whose workers fail wherever `bad` says so."""

    def __init__(self, *arguments: Any, releases: int = 2, **settings: Any) -> None:
        """Publish the releases; the first one is stable."""
        super().__init__(*arguments, **settings)
        self.bad: set[int] = set()
        for _ in range(releases):
            self.publish()

    def publish(self) -> int:
        """Publish what is deployed, as the command does."""
        number = self.ask("release-begin").get("number", 0)
        for kind in Kind:
            self.states.versions[f"order-{kind}"] = number + 100
        assert "refused" not in self.ask("release-publish", **self.versions(number))
        return int(number)

    @staticmethod
    def versions(number: int) -> dict[str, Any]:
        """Return the versions that a release published."""
        machines = {f"order-{kind}": f"{PREFIX}order-{kind}:{number + 100}" for kind in Kind}
        return {"number": number, "machines": machines, "workers": {step: f"arn:{step}:{number}" for step in STEPS}}

    def _function(self, execution: Execution, began_at_ms: int) -> Callable[[Event, StepContext], Any]:
        good = super()._function(execution, began_at_ms)

        def bad(_event: Event, _step: StepContext) -> Any:
            raise OSError("this version has a bug")

        return bad if execution.input["run"]["release"] in self.bad else good

    @property
    def rollout(self) -> Rollout:
        """The releases as they stand."""
        self.faults.revive()
        return self.platform.controls.read().rollout

    def taken(self, key: str) -> list[int]:
        """Return the releases that a key's executions took, in order."""
        return [int(one.input["run"]["release"]) for one in self.states.executions if one.key == key]

    def story(self, number: int) -> list[tuple[str, str]]:
        """Return what was done with a release, and by whom."""
        record = self.platform.releases.get(number)
        assert record is not None
        return [(entry["done"], entry["by"]) for entry in record.story]


def keys_by_side(amount: int, share: int = SHARE) -> tuple[list[str], list[str]]:
    """Return that many keys which a canary takes, and as many which it doesn't."""
    taken: list[str] = []
    left: list[str] = []
    for number in count():
        side = taken if Canary(2, share, 0).takes(f"k{number}") else left
        side.append(f"k{number}")
        if min(len(taken), len(left)) >= amount:
            return taken[:amount], left[:amount]
    raise AssertionError


def test_without_a_release_everything_is_as_before() -> None:
    """The newest state machine, the plain functions, and nothing in the key's item."""
    world = World()
    world.put("k")
    world.deliver()
    (execution,) = world.live()
    assert (execution.version, execution.input["run"]["qualifier"]) == ("", "")
    (item,) = world.items("key#k", "state")
    assert "release" not in item
    world.settle()
    world.check()


def test_runs_take_the_versions_of_the_stable_release() -> None:
    """Its state machine's version and its workers' alias, standard and express."""
    world = ReleasedWorld(releases=2)
    world.put("a")
    world.put("b", "express")
    world.deliver()
    assert {(one.version, one.input["run"]["qualifier"]) for one in world.live()} == {("101", ":release-1")}
    world.settle()
    world.check()
    assert all(state.release == 0 for state in world.key_states().values())


def test_a_workflow_that_a_release_lacks_takes_the_newest_of_everything() -> None:
    """A route was deployed with it after the release: its workers have no alias there."""
    world = ReleasedWorld(releases=0)
    number = world.ask("release-begin")["number"]
    versions = world.versions(number)
    del versions["machines"]["order-express"]
    world.states.versions["order-standard"] = 101
    assert world.ask("release-publish", **versions)["stable"] == number
    world.put("a", "express")
    world.deliver()
    (execution,) = world.live()
    assert (execution.version, execution.input["run"]["qualifier"]) == ("", "")
    world.settle()
    world.check()


def test_a_nested_run_takes_the_express_machine_of_its_release() -> None:
    """Its own machine's version, and what that adds to the Express one's ARN; nothing where there is no release."""
    world = World()
    world.put("a", "nested")
    world.deliver()
    (execution,) = world.live()
    assert (execution.version, execution.input["run"]["express"]) == ("", "")

    world = ReleasedWorld(releases=2)
    world.put("a", "nested")
    world.put("b", "express")
    world.deliver()
    express, nested = sorted(world.live(), key=lambda execution: execution.machine)
    assert (nested.machine, nested.input["run"]["qualifier"]) == ("order-nested", ":release-1")
    assert nested.input["run"]["express"] == f":{express.version}"
    assert "express" not in express.input["run"]
    world.settle()
    world.check()


def test_a_canary_takes_its_share_of_the_keys_and_no_other() -> None:
    """By key: however many runs a key has, all are on one side."""
    world = ReleasedWorld()
    taken, left = keys_by_side(5)
    assert world.ask("release-canary", number=2, **HALF)["canary"]["number"] == 2
    for _ in range(3):
        for key in (*taken, *left):
            world.put(key)
        world.settle()
    assert {number for key in taken for number in world.taken(key)} == {2}
    assert {number for key in left for number in world.taken(key)} == {1}
    world.check()


def test_a_key_stays_on_its_release_until_it_is_idle() -> None:
    """Its queue is worked off by one version, though another was made everybody's meanwhile."""
    world = ReleasedWorld()
    for _ in range(3):
        world.put("k")
    world.deliver()
    world.ask("release-promote", number=2)
    world.now_ms += 1_000
    world.settle()
    assert world.taken("k") == [1, 1, 1]
    world.put("k")
    world.settle()
    assert world.taken("k") == [1, 1, 1, 2]
    world.check()


def test_a_bad_canary_is_rolled_back_by_itself_and_nothing_is_lost() -> None:
    """Its keys' retries go back to the stable release with all their attempts; who watches sees why."""
    world = ReleasedWorld()
    taken, left = keys_by_side(6)
    world.bad = {2}
    world.ask("release-canary", number=2, **HALF)
    for _ in range(2):
        for key in (*taken, *left):
            world.put(key)
    world.settle()
    assert (world.rollout.canary, world.rollout.stable, world.rollout.rolled_back) == (None, 1, (2,))
    assert world.story(2)[-1] == ("RollBack", "keyturn")
    assert all(state.phase is Phase.IDLE for state in world.key_states().values())
    world.check()
    for key in (*taken, *left):
        assert world.taken(key) == sorted(world.taken(key), reverse=True), "back once, and never forth again"
        assert world.taken(key)[-1] == 1
    assert not any(2 in world.taken(key) for key in left)
    reasons = [item["outcome"] for item in world.items("key#", "attempt#") if item.get("release") == 2]
    assert {"failed"} <= set(reasons) <= {"failed", "rolled_back"}


def parked_by_the_canary(amount: int = 3) -> tuple[ReleasedWorld, list[str]]:
    """Some keys that a canary parked, before anybody noticed."""
    world = ReleasedWorld()
    taken, _ = keys_by_side(amount)
    world.bad = {2}
    world.ask("release-canary", number=2, share=SHARE, ended_min=1_000)
    for key in taken:
        world.put(key)
    world.settle()
    assert {world.state(key).phase for key in taken} == {Phase.PARKED}
    assert {world.state(key).release for key in taken} == {2}
    return world, taken


def test_keys_that_a_rolled_back_release_parked_are_resumed_and_it_is_recorded() -> None:
    """By the watchdog, in the name of keyturn; one that another release parked waits for its person still."""
    world, taken = parked_by_the_canary()
    _, left = keys_by_side(3)
    world.put(left[0], payment="fail")
    world.settle()
    assert world.state(left[0]).phase is Phase.PARKED
    world.ask("release-rollback")
    world.settle()
    for key in taken:
        assert (world.state(key).phase, world.taken(key)) == (Phase.IDLE, [2, 2, 1])
        (item,) = world.items(f"key#{key}", "operation#")
        assert (item["command"], item["by"], item["reason"]) == ("Resume", "keyturn", "release 2 was rolled back")
    assert world.state(left[0]).phase is Phase.PARKED
    world.check()


def test_parked_keys_are_resumed_at_a_bounded_rate() -> None:
    """Not all in one second, however many messages ask for it."""
    world, taken = parked_by_the_canary(25)
    world.ask("release-rollback")
    message = {"Records": [{"messageId": "m", "body": '{"key": "", "at_ms": 0, "release": "2"}'}]}
    for _ in range(3):
        world.ask_watchdog(message)
    assert sum(world.state(key).phase is not Phase.PARKED for key in taken) == 20
    (recovery,) = world.rollout.recoveries
    assert 0 < recovery.next_at_ms - world.now_ms <= 1_000
    world.settle()
    world.now_ms += 6 * 60_000
    world.watch()
    assert world.rollout.recoveries == ()
    assert {world.state(key).phase for key in taken} == {Phase.IDLE}


def test_keys_that_a_clock_put_off_for_hours_are_resumed() -> None:
    """The one that took the keys before them was ahead."""
    world, taken = parked_by_the_canary(2)
    world.ask("release-rollback")
    (recovery,) = world.rollout.recoveries
    later = stepped(world.rollout, recovery, recovery.since_ms, world.now_ms + 6 * 3_600_000)
    world.platform.controls.save_rollout(later, ())
    world.watch()
    assert all(world.state(key).phase is not Phase.PARKED for key in taken)


def test_a_releases_parked_keys_are_found_behind_many_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are looked at each time were parked before them, by the stable release."""
    monkeypatch.setattr(recovering, "_LOOKED_AT_MAX", 2)
    world = ReleasedWorld()
    taken, left = keys_by_side(5)
    world.bad = {2}
    world.ask("release-canary", number=2, share=SHARE, ended_min=1_000)
    for key in (*left, *taken):
        world.put(key, payment="fail" if key in left else "")
        world.settle()
    assert {world.state(key).phase for key in (*taken, *left)} == {Phase.PARKED}
    world.ask("release-rollback")
    for _ in range(10):
        world.now_ms += 60_000
        world.watch()
        world.settle()
    assert {world.state(key).phase for key in taken} == {Phase.IDLE}
    assert {world.state(key).phase for key in left} == {Phase.PARKED}


def test_what_fails_behind_is_left_to_a_person() -> None:
    """What queued behind it was given up too: resumed by itself, the key would go on past it."""
    world = ReleasedWorld()
    taken, _ = keys_by_side(1)
    world.bad = {2}
    world.ask("release-canary", number=2, share=SHARE, ended_min=1_000)
    world.put(taken[0], "behind")
    world.settle()
    world.ask("release-rollback")
    world.settle()
    assert world.state(taken[0]).phase is Phase.PARKED
    world.check()


def test_an_alarm_rolls_the_canary_back() -> None:
    """CanaryFailedAlarm, or one of the user's own; when it is over nothing more happens."""
    world = ReleasedWorld()
    world.ask("release-canary", number=2, **HALF)

    def alarm(state: str, ago_s: int = 0) -> Mapping[str, Any]:
        at = datetime.fromtimestamp(world.now_ms // 1_000 - ago_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        detail = {"alarmName": "keyturn-canary-failed", "state": {"value": state}}
        return {"detail-type": "CloudWatch Alarm State Change", "time": at, "detail": detail}

    assert world.ask_watchdog(alarm("ALARM", ago_s=60))["status"] == "the canary was begun after the alarm"
    assert world.ask_watchdog(alarm("OK"))["status"] == "no canary to roll back"
    assert world.ask_watchdog(alarm("ALARM")) == {"status": "rolled back", "release": 2}
    assert world.ask_watchdog(alarm("ALARM"))["status"] == "no canary to roll back"
    assert world.rollout.rolled_back == (2,)
    (entry,) = [one for one in world.platform.releases.get(2).story if one["done"] == "RollBack"]  # type: ignore[union-attr]
    assert (entry["by"], entry["reason"]) == ("keyturn", "alarm keyturn-canary-failed")


def test_a_canarys_failures_do_not_hold_everybodys_route() -> None:
    """The breaker would stop the good release's keys for the bad one's failures."""
    rules = {"keys": 3, "window_s": 600, "probe_after_s": 30, "probe_after_max_s": 60}
    entry = {**ROUTE, "name": "standard", "type": "standard", "breaker": "bank"}
    world = ReleasedWorld(parse_routes({"breakers": {"bank": rules}, "routes": [entry]}))
    taken, left = keys_by_side(6)
    world.bad = {2}
    world.ask("release-canary", number=2, share=SHARE, ended_min=1_000)
    for key in (*taken, *left):
        world.put(key)
    world.settle()
    assert not world.platform.controls.breaker("bank").is_holding
    assert {world.state(key).phase for key in left} == {Phase.IDLE}


def test_a_good_canary_is_promoted_by_itself_after_so_many_runs() -> None:
    """Recorded as keyturn's doing."""
    world = ReleasedWorld()
    taken, left = keys_by_side(6)
    world.ask("release-canary", number=2, **HALF, promote_after_runs=5)
    for key in (*taken, *left):
        world.put(key)
    world.settle()
    assert (world.rollout.stable, world.rollout.canary) == (2, None)
    assert world.story(2)[-1] == ("Promote", "keyturn")
    world.put(left[0])
    world.settle()
    assert world.taken(left[0]) == [1, 2]


def test_a_good_canary_is_promoted_by_itself_after_so_long() -> None:
    """By the watchdog, once enough attempts have ended."""
    world = ReleasedWorld()
    taken, _ = keys_by_side(4)
    world.ask("release-canary", number=2, **HALF, promote_after_ms=600_000)
    for key in taken:
        world.put(key)
    world.settle()
    world.watch()
    assert world.rollout.is_canary(2)
    world.now_ms += 600_000
    world.watch()
    assert world.rollout.stable == 2


def test_a_canary_whose_story_can_not_be_read_is_rolled_back_all_the_same() -> None:
    """Its record was written by another version; and keys that wait for slots get them in the same pass."""
    world = ReleasedWorld(max_in_flight_runs=0)
    world.ask("release-canary", number=2, share=SHARE, ended_min=1)
    canary = world.rollout.canary
    assert canary is not None
    world.platform.releases.count(canary, has_succeeded=False)
    (record,) = world.items("releases", "release#000000002")
    world.dynamodb.put_item(TableName="state", Item=encode_item({**record, "story": None}))
    world.put("k")
    world.deliver()
    settings = replace(world.settings, max_in_flight_runs=1)
    capacity = replace(world.platform.capacity, max_in_flight_runs=1)
    world.platform = replace(world.platform, settings=settings, capacity=capacity)
    world.now_ms += 60_000
    assert world.watch() is not None
    assert world.state("k").phase is Phase.RUNNING
    assert world.rollout.canary is None
    assert world.rollout.has_rolled_back(2)


@pytest.mark.parametrize("released_with_s", [9, 0])
def test_no_attempt_begins_while_a_worker_of_an_older_release_may_be_at_work(released_with_s: int) -> None:
    """A deploy made workers shorter; the key's release has the older ones, which live longer."""
    world = ReleasedWorld(releases=0)
    if released_with_s:
        world.redeploy(routes(worker_timeout_s=released_with_s))
    world.publish()
    world.redeploy(routes())
    world.put("k", inventory="hang once")
    world.deliver()
    (execution,) = world.live()
    for step in STEPS:
        world.step(execution, step)
    ended_ms = world.now_ms
    world.finish(execution)
    quiet_s = max(released_with_s, 3)
    assert world.state("k").not_before_ms >= min(ended_ms + quiet_s * 1_000, execution.input["run"]["deadline_ms"])
    world.settle()
    world.check()


def test_only_runs_of_a_canary_are_counted() -> None:
    """A stack without a canary makes no call for one."""
    world = ReleasedWorld()
    taken, left = keys_by_side(2)
    for key in (*taken, *left):
        world.put(key)
    world.settle()
    assert world.items("releases", "health#") == []
    world.ask("release-canary", number=2, **HALF)
    for key in (*taken, *left):
        world.put(key)
    world.settle()
    canary = world.rollout.canary
    assert canary is not None
    assert world.platform.releases.health(canary) == Health(succeeded=2, failed=0)


def test_who_comes_second_is_told_what_stands() -> None:
    """A promotion and a rollback at once, at every call of either: both are true of what came out."""
    for strike in range(1, 8):
        world = ReleasedWorld()
        world.ask("release-canary", number=2, **HALF)
        answers = _at_once(world, strike, {"command": "release-promote"}, {"command": "release-rollback", "number": 2})
        rollout, story = world.rollout, [done for done, _ in world.story(2)]
        assert rollout.canary is None
        refused = [one["refused"] for one in answers if "refused" in one]
        assert story == (
            ["Publish", "Canary", "Promote", "RollBack"]
            if not refused
            else ["Publish", "Canary", "RollBack" if rollout.rolled_back else "Promote"]
        )
        assert rollout.stable == (1 if rollout.rolled_back else 2)


def _at_once(
    world: ReleasedWorld, strike: int, request: Mapping[str, Any], of_another: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Ask for something, and at its so-manieth call let another process be asked; return both answers."""
    answers: list[dict[str, Any]] = []
    calls = count(1)
    other = Platform.build(world.settings, world.platform.routes, world.client, world.platform.process)
    told = {"by": "kim", "reason": "a test"}

    def tick() -> None:
        world.tick()
        if next(calls) == strike:
            answers.append(answer(other, {**of_another, **told}))

    world.faults.on_call = tick
    first = answer(world.platform, {**request, **told})
    world.faults.on_call = world.tick
    return [first, *(answers or [answer(other, {**of_another, **told})])]


def test_two_who_publish_at_once_get_two_numbers() -> None:
    """At every call of either, with one clock: with one number they would make aliases of one name."""
    for strike in range(1, 5):
        world = ReleasedWorld(releases=0)
        numbers = [one["number"] for one in _at_once(world, strike, *[{"command": "release-begin"}] * 2)]
        assert sorted(numbers) == [1, 2], strike


COMMANDS: tuple[tuple[str, Mapping[str, Any], Callable[[Rollout], bool]], ...] = (
    ("release-canary", {"number": 2, **HALF}, lambda rollout: rollout.is_canary(2)),
    ("release-promote", {"number": 2}, lambda rollout: rollout.stable == 2),
    ("release-rollback", {"number": 2}, lambda rollout: rollout.has_rolled_back(2)),
)


@pytest.mark.parametrize("fault", [Fault.DIES_AFTER, Fault.LOSES_ANSWER, Fault.THROTTLES])
@pytest.mark.parametrize(("command", "request_", "is_done"), COMMANDS, ids=[one[0] for one in COMMANDS])
def test_a_command_that_died_anywhere_is_repeated(
    fault: Fault, command: str, request_: Mapping[str, Any], is_done: Callable[[Rollout], bool]
) -> None:
    """It did everything or nothing, and its second time says so."""
    for strike in count(1):
        world = ReleasedWorld()
        world.faults.arm(strike, fault)
        world.ask(command, **request_)
        if not world.faults.has_struck:
            return
        world.faults.arm(None)
        world.ask(command, **request_)
        assert is_done(world.rollout), (strike, world.faults.struck)
        done = {"release-canary": "Canary", "release-promote": "Promote", "release-rollback": "RollBack"}[command]
        told = [entry for entry, _ in world.story(2)]
        assert done in told
        assert command == "release-canary" or told.count(done) == 1


@pytest.mark.parametrize("fault", [Fault.DIES_AFTER, Fault.LOSES_ANSWER, Fault.THROTTLES])
def test_a_canary_is_rolled_back_whatever_dies_on_the_way(fault: Fault) -> None:
    """The attempt that is one too many ends while the sequencer dies at any of its calls: the next one decides."""
    for strike in count(1):
        world = ReleasedWorld()
        taken, _ = keys_by_side(4)
        world.bad = {2}
        world.ask("release-canary", number=2, share=SHARE, ended_min=2, failed_percent=50)
        for key in taken:
            world.put(key)
        world.deliver()
        first, second = world.live()[:2]
        world.run(first)
        for step in STEPS:
            world.step(second, step)
        world.faults.arm(strike, fault)
        world.finish(second)
        has_struck = world.faults.has_struck
        world.faults.arm(None)
        world.settle()
        assert world.rollout.has_rolled_back(2), (strike, world.faults.struck)
        assert all(state.phase is Phase.IDLE for state in world.key_states().values())
        world.check()
        if not has_struck:
            return


def test_a_busy_key_of_before_there_were_releases_takes_one_at_its_next_claim() -> None:
    """What it ran on was whatever is deployed last, which changes under it."""
    world = ReleasedWorld(releases=0)
    for _ in range(2):
        world.put("k")
    world.deliver()
    world.publish()
    world.now_ms += 1_000
    world.settle()
    assert world.taken("k") == [0, 1]
    world.check()


def test_a_state_of_an_unknown_newer_release_is_left_on_it() -> None:
    """A function that read the releases a moment ago meets a key that another one put on the release since."""
    world = ReleasedWorld()
    rollout = world.rollout
    world.publish()
    assert rollout.next_of(KeyState("k", release=3)) == 3


@pytest.mark.parametrize(
    ("command", "request_", "told"),
    [
        ("release-canary", {"number": 2}, "share must be a whole number from 1 to 10000"),
        ("release-canary", {"number": 2, "share": 10_001}, "share must be"),
        ("release-canary", {"number": True, "share": 1}, "number must be"),
        ("release-canary", {"number": 9, "share": 1}, "there is no release 9"),
        ("release-promote", {}, "no release is being tried"),
        ("release-publish", {"number": 3, "machines": {}, "workers": {}}, "was never begun"),
        ("release-publish", {"number": 3, "machines": 5, "workers": {}}, "names no machines"),
        ("release-publish", {"number": 3, "machines": {"a": "arn"}, "workers": {}}, "must end in a number"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_in_words(command: str, request_: dict[str, Any], told: str) -> None:
    """And changes nothing."""
    world = ReleasedWorld()
    before = world.rollout
    assert told in world.ask(command, **request_)["refused"]
    assert world.rollout == before
