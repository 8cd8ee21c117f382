"""Holds of routes and circuit breakers, over the real shell."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from keyturn.adapters.controls import Controls
from keyturn.adapters.table import encode_item
from keyturn.core.breaker import Breaker, BreakerPhase, BreakerRules, Probe, Succeeded
from keyturn.core.route import Routes, parse_routes
from keyturn.core.state import KeyState, Phase, Queue, WaitsFor
from keyturn.shell.breakers import report
from keyturn.shell.operator_requests import answer
from keyturn.shell.sequence import sequence
from keyturn.shell.watch import expire
from tests.shell.faults import Fault
from tests.shell.step_functions import Execution
from tests.shell.world import ROUTE, STEPS, World

BREAKER = "card-service"
RULES = {"keys": 3, "window_s": 60, "probe_after_s": 10, "probe_after_max_s": 40}


def shop() -> Routes:
    """Return two routes that share a breaker, and two that have none."""
    entries = [
        {**ROUTE, "name": "paid", "type": "paid", "breaker": BREAKER},
        {**ROUTE, "name": "placed", "type": "placed", "breaker": BREAKER, "kind": "express"},
        {**ROUTE, "name": "scanned", "type": "scanned"},
        {**ROUTE, "name": "lossy", "type": "lossy", "on_exhaustion": "skip", "max_attempts": 1},
    ]
    return parse_routes({"routes": entries, "breakers": {BREAKER: RULES}})


def with_breaker_on(route: str, *, without_it: Sequence[str] = ()) -> Routes:
    """Return a route that has the breaker, and others that have none."""
    entries = [{**ROUTE, "name": route, "type": route, "breaker": BREAKER}]
    entries += [{**ROUTE, "name": name, "type": name} for name in without_it]
    return parse_routes({"routes": entries, "breakers": {BREAKER: RULES}})


def ask(world: World, command: str, **more: Any) -> dict[str, Any]:
    """Ask the operator function."""
    world.faults.revive()
    return answer(world.platform, {"command": command, "by": "ana", "reason": "the bank is down", **more})


def breaker(world: World) -> Breaker:
    """Read the breaker."""
    world.faults.revive()
    return world.platform.controls.breaker(BREAKER)


def outcomes(world: World) -> Counter[str]:
    """Count how attempts ended."""
    return Counter(item["outcome"] for item in world.items("key#", "attempt#"))


def phases(world: World) -> Counter[Phase]:
    """Count keys by phase."""
    return Counter(state.phase for state in world.key_states().values())


def waits_for_release(state: KeyState, route: str) -> bool:
    """Whether a key stands aside for its held route."""
    return (state.waits_for, state.held_route) == (WaitsFor.RELEASE, route)


def fall_out(world: World, keys: int = 6, events: int = 2) -> None:
    """Let the payments of many keys meet an outage, until the breaker is open and nothing runs."""
    world.outage = {"payment"}
    for number in range(keys * events):
        world.put(f"k{number % keys}", "placed" if (number // keys + number) % 2 else "paid")
    while not breaker(world).is_holding or world.live():
        world.go_on(0.5)


class TestRouteHold:
    def test_nothing_of_a_held_route_starts_until_it_is_released(self) -> None:
        """What runs goes on; other routes flow; released keys go on in order."""
        world = World(shop())
        world.put("runs", "paid")
        world.deliver()
        done = ask(world, "hold-route", route="paid")
        assert (done["is_held"], done["by"], done["reason"]) == (True, "ana", "the bank is down")
        world.now_ms += 1_000
        for _ in range(3):
            world.put("held", "paid")
        world.put("runs", "paid")
        world.put("free", "scanned")
        world.go_on(90)
        assert world.state("free").finished == 1
        assert world.state("runs").finished == 1
        assert waits_for_release(world.state("runs"), "paid")
        assert waits_for_release(world.state("held"), "paid")
        assert ask(world, "release-route", route="paid")["is_held"] is False
        world.settle()
        world.check()
        assert phases(world) == {Phase.IDLE: 3}

    def test_a_process_whose_clock_was_ahead_sees_a_hold_within_a_second(self) -> None:
        """And not when the time comes that its clock showed."""
        world = World(shop())
        process = Controls(world.platform.controls.table, 1)
        world.now_ms += 3_600_000
        process.recent()
        world.now_ms -= 3_600_000
        ask(world, "hold-route", route="paid")
        assert process.recent().is_held_by_person("paid")

    def test_everything_is_held_at_once(self) -> None:
        world = World(shop())
        ask(world, "hold-everything")
        for number in range(4):
            world.put(f"k{number}", ["paid", "scanned"][number % 2])
        world.go_on(90)
        assert not world.states.executions
        assert waits_for_release(world.state("k1"), "scanned")
        assert "everything is, by ana" in ask(world, "release-route", route="paid")["refused"]
        ask(world, "release-everything")
        world.settle()
        world.check()
        assert len(world.states.executions) == 4

    def test_released_keys_go_on_at_a_ramp(self) -> None:
        """10 in the first second, 20 in the next: a slot or a place in the queue for each."""
        world = World(shop(), index_buckets=1)
        ask(world, "hold-route", route="paid")
        for number in range(35):
            world.put(f"k{number}", "paid")
        world.deliver()
        assert world.platform.index.count(Queue.HELD, "paid") == 35
        ask(world, "release-route", route="paid")
        left = []
        while world.platform.index.count(Queue.HELD, "paid"):
            before = world.platform.index.count(Queue.HELD, "paid")
            world.go_on(0.1)
            moved = before - world.platform.index.count(Queue.HELD, "paid")
            left += [moved] if moved else []
        assert left == [10, 20, 5]

    def test_a_lost_message_only_makes_a_release_late(self) -> None:
        """The pass of each minute finds the ramp; it ends once nobody can have seen the hold any more."""
        world = World(shop())
        ask(world, "hold-route", route="paid")
        world.put("k", "paid")
        world.go_on(1)
        ask(world, "release-route", route="paid")
        world.messages.clear()
        world.go_on(61)
        assert world.state("k").finished == 1
        assert world.platform.controls.read().ramps
        world.go_on(310)
        assert not world.platform.controls.read().ramps

    def test_who_saw_the_hold_too_late_is_found(self) -> None:
        """A function that read the controls before the release puts a key aside after it."""
        world = World(shop())
        ask(world, "hold-route", route="paid")
        standing = world.platform.controls.read()
        ask(world, "release-route", route="paid")
        world.go_on(30)
        world.put("k", "paid")
        world.platform.controls._standing = standing
        world.platform.controls._read_at_ms = world.now_ms
        world.deliver()
        assert waits_for_release(world.state("k"), "paid")
        world.settle()
        world.check()

    def test_the_second_of_two_operators_learns_who_was_first(self) -> None:
        """Holding and releasing alike; nothing is changed by the refusal."""
        world = World(shop())
        ask(world, "hold-route", route="paid")
        before = world.items("control")
        refused = ask(world, "hold-route", route="paid", by="ben")["refused"]
        assert refused.startswith("route 'paid' is held already, by ana at 2023-11-14T22:13:20Z: the bank is down")
        assert world.items("control") == before
        ask(world, "release-route", route="paid", by="cleo", reason="it is back")
        before = world.items("control")
        assert "released, by cleo" in ask(world, "release-route", route="paid", by="ben")["refused"]
        assert world.items("control") == before

    def test_two_at_the_same_moment_get_one_winner(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both saw the hold; the write of the second finds it gone."""
        world = World(shop())
        ask(world, "hold-route", route="paid")
        seen, read = world.platform.controls.read(), Controls.read
        done = ask(world, "release-route", route="paid", by="ben")
        answers = iter([seen])
        monkeypatch.setattr(Controls, "read", lambda controls: next(answers, None) or read(controls))
        refused = ask(world, "release-route", route="paid", by="cleo")["refused"]
        assert "refused" not in done
        assert "released, by ben" in refused

    def test_who_when_and_why_is_kept(self) -> None:
        world = World(shop())
        ask(world, "hold-route", route="paid")
        ask(world, "release-route", route="paid", reason="it is back")
        done = world.platform.controls.operations(10)
        assert [(one.command, one.route, one.by, one.reason) for one in done] == [
            ("Release", "paid", "ana", "it is back"),
            ("Hold", "paid", "ana", "the bank is down"),
        ]

    @pytest.mark.parametrize("command", ["hold-route", "release-route"])
    def test_an_unknown_route_is_refused_with_the_ones_there_are(self, command: str) -> None:
        world = World(shop())
        refused = ask(world, command, route="piad")["refused"]
        assert refused == "there is no route 'piad': one of paid, placed, scanned, lossy"
        assert ask(world, command)["refused"] == "the request names no route"

    def test_a_hold_whose_route_a_deploy_removed_can_be_released(self) -> None:
        """Its keys are parked then, since no route takes their events: that is said, not lost."""
        world = World(shop())
        ask(world, "hold-route", route="scanned")
        world.put("k", "scanned")
        world.go_on(1)
        without = [route for route in shop().routes if route.name != "scanned"]
        world.redeploy(Routes(tuple(without)))
        ask(world, "release-route", route="scanned")
        world.settle()
        assert world.state("k").phase is Phase.PARKED

    def test_thousands_of_held_keys_do_not_stand_before_the_others(self) -> None:
        """They wait for slots when their route is held; the first look at free slots moves them aside."""
        world = World(shop(), max_in_flight_runs=1)
        for number in range(60):
            world.put(f"k{number}", "paid")
        world.deliver()
        world.put("last", "scanned")
        ask(world, "hold-route", route="paid")
        world.go_on(20)
        assert world.state("last").finished == 1
        assert world.platform.index.count(Queue.WAITING) == 0

    def test_a_key_that_may_not_start_yet_waits_for_its_time_once_released(self) -> None:
        """It doesn't keep the ramp from its end, and goes on when no earlier worker can be at work."""
        world = World(shop())
        world.put("k", "lossy", payment="hang")
        world.deliver()
        (execution,) = world.live()
        ask(world, "hold-route", route="lossy")
        world.now_ms += 1_000
        world.put("k", "lossy")
        world.deliver()
        world.run(execution)
        state = world.state("k")
        assert waits_for_release(state, "lossy")
        assert state.not_before_ms > world.now_ms
        ask(world, "release-route", route="lossy")
        world.go_on(0.5)
        assert world.state("k").waits_for is WaitsFor.TIME
        world.settle()
        world.check()
        assert world.state("k").finished == 2


@pytest.mark.parametrize("seed", range(3))
def test_whatever_goes_down_is_held_and_dies_the_guarantees_hold(seed: int) -> None:
    """Outages, holds and releases, in any order with anything that AWS does; then all comes to rest, nobody parked."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, no secret
    world = World(shop(), max_in_flight_runs=2, index_buckets=1)
    for _ in range(12):
        world.put(f"k{chance.randrange(4)}", chance.choice(["paid", "placed", "scanned"]))
    for _ in range(60):
        world.outage = chance.choice([world.outage, world.outage, {"payment"}, set()])
        if chance.random() < 0.2:
            subject = {"route": chance.choice(["paid", "placed", "scanned"])}
            ask(
                world,
                chance.choice(["hold-route", "release-route", "hold-everything", "release-everything"]),
                **subject,
            )
        world.faults.arm(chance.randrange(1, 60), chance.choice(list(Fault)))
        moves = world.moves()
        if moves:
            chance.choice(moves)()
        else:
            world.now_ms += 2_000
        world.faults.arm(None)
    world.outage = set()
    for route in ("paid", "placed", "scanned"):
        ask(world, "release-route", route=route)
    ask(world, "release-everything")
    world.settle(chance)
    world.check()


class TestBreaker:
    def test_an_outage_parks_nobody_and_heals_by_itself(self) -> None:
        """It opens, holds its routes, sends one probe at a time, closes, and everything goes on in order."""
        world = World(shop(), max_in_flight_runs=4)
        fall_out(world)
        for _ in range(90):
            world.go_on(1)
            assert len(world.live()) <= 1, "more than one probe"
        assert breaker(world).is_holding
        counted = outcomes(world)
        assert counted["failed"] <= RULES["keys"] - 1
        assert counted["unavailable"] >= 4
        world.outage.clear()
        world.settle()
        world.check()
        assert not breaker(world).is_holding
        assert phases(world) == {Phase.IDLE: 6}
        assert outcomes(world)["failed"] == counted["failed"]

    def test_other_routes_flow_meanwhile(self) -> None:
        world = World(shop())
        fall_out(world)
        world.outage = set()
        world.put("free", "scanned")
        world.go_on(5)
        assert world.state("free").finished == 1

    def test_the_wait_between_probes_doubles(self) -> None:
        """10, 20, 40, 40 s after each failure: counted by the executions that were started while it was open."""
        world = World(shop(), max_in_flight_runs=4)
        fall_out(world)
        before, times = len(world.states.executions), []
        for _ in range(200):
            world.go_on(1)
            if len(world.states.executions) > before:
                before = len(world.states.executions)
                times.append(world.now_ms // 1_000)
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert [round(gap, -1) for gap in gaps[:3]] == [20, 40, 40]

    def test_a_lost_probe_lets_the_next_one_go(self) -> None:
        """Its execution is never heard of again; within the run's timeout and a minute another key tries."""
        world = World(shop(), max_in_flight_runs=4)
        fall_out(world)
        first = self._probe(world)
        first.status = "LOST"
        world.outage.clear()
        world.go_on(ROUTE["run_timeout_s"] + 62)
        assert not breaker(world).is_holding
        world.settle()
        assert phases(world) == {Phase.IDLE: 6}

    def test_a_probe_whose_start_was_never_claimed_makes_way_at_once(self) -> None:
        """Somebody held that very key meanwhile."""
        world = World(shop(), max_in_flight_runs=4)
        fall_out(world)
        world.go_on(5)
        for number in range(5):
            ask(world, "hold-key", key=f"k{number}")
        world.outage.clear()
        world.go_on(60)
        assert not breaker(world).is_holding
        assert world.state("k5").finished == 2

    def test_a_probe_that_is_refused_for_good_says_nothing(self) -> None:
        """Its key is parked as ever, and the next probe goes without a longer wait."""
        world = World(shop(), max_in_flight_runs=4)
        world.put("bad", "paid", inventory="permanent")
        ask(world, "hold-key", key="bad")
        fall_out(world)
        ask(world, "release-key", key="bad")
        world.outage.clear()
        world.settle()
        assert phases(world) == {Phase.IDLE: 6, Phase.PARKED: 1}
        assert not breaker(world).is_holding

    def test_one_bad_key_opens_nothing_and_is_parked(self) -> None:
        world = World(shop())
        for _ in range(4):
            world.put("bad", "paid", payment="fail")
        world.settle()
        assert world.state("bad").phase is Phase.PARKED
        assert not breaker(world).is_holding

    def test_no_probe_goes_while_a_person_holds_the_routes(self) -> None:
        """And a person's release leaves the breaker's hold in place."""
        world = World(shop(), max_in_flight_runs=4)
        fall_out(world)
        for route in ("paid", "placed"):
            ask(world, "hold-route", route=route)
        started = len(world.states.executions)
        world.outage.clear()
        world.go_on(130)
        assert len(world.states.executions) == started
        assert ask(world, "release-route", route="paid")["open_breaker"] == BREAKER
        world.go_on(70)
        assert not breaker(world).is_holding
        assert all(state.finished <= 1 for state in world.key_states().values())
        ask(world, "release-route", route="placed")
        world.settle()
        world.check()
        assert phases(world) == {Phase.IDLE: 6}

    def test_releasing_what_a_breaker_holds_is_refused_unless_it_is_to_be_closed(self) -> None:
        world = World(shop(), max_in_flight_runs=4)
        fall_out(world)
        refused = ask(world, "release-route", route="paid")["refused"]
        assert refused.startswith("route 'paid' is held by the breaker 'card-service', open since 2023-11-14T22:13:")
        assert "--close-breaker" in refused
        world.outage.clear()
        assert ask(world, "release-route", route="paid", closes_breaker=True)["open_breaker"] is None
        assert world.platform.controls.operations(1)[0].command == "CloseBreaker"
        world.settle()
        world.check()
        assert phases(world) == {Phase.IDLE: 6}

    def test_runs_that_hang_or_die_count_too(self) -> None:
        """The watchdog reports those that were never heard of: they were killed with the downstream."""
        world = World(shop(), max_in_flight_runs=4)
        for number in range(4):
            world.put(f"k{number}", "placed")
        world.deliver()
        for execution in world.live():
            world.step(execution, "inventory")
            execution.status = "LOST"
        world.go_on(ROUTE["run_timeout_s"] + 70)
        assert breaker(world).opened_at_ms
        assert world.platform.controls.read().breaker(BREAKER).opened_at_ms

    def test_a_breaker_that_a_deploy_removed_holds_nobody(self) -> None:
        """What it held goes on with the next pass."""
        world = World(shop(), max_in_flight_runs=4)
        fall_out(world)
        world.outage.clear()
        entries = [{**ROUTE, "name": name, "type": name} for name in ("paid", "placed", "scanned")]
        world.redeploy(parse_routes({"routes": entries}))
        world.settle()
        assert phases(world) == {Phase.IDLE: 6}
        assert not world.items("control", "breaker#")

    def test_a_route_that_a_deploy_took_from_an_open_breaker_goes_on(self) -> None:
        """Nothing holds it any more; the breaker holds what it has left."""
        world = World(shop(), max_in_flight_runs=4)
        fall_out(world)
        assert any(waits_for_release(state, "paid") for state in world.key_states().values())
        world.redeploy(with_breaker_on("placed", without_it=["paid"]))
        world.go_on(70)
        assert breaker(world).is_holding
        states = world.key_states().values()
        assert not any(waits_for_release(state, "paid") for state in states)
        assert any(waits_for_release(state, "placed") for state in states)

    def test_an_open_breaker_hears_of_the_routes_that_it_has_left(self) -> None:
        """More keys than a look takes wait for a route that is no more: none of them can be its probe."""
        world = World(shop(), max_in_flight_runs=4)
        world.outage = {"payment"}
        for number in range(16):
            world.put(f"k{number}", "paid")
        while not breaker(world).is_holding or world.live():
            world.go_on(0.5)
        world.redeploy(with_breaker_on("placed"))
        world.outage.clear()
        world.put("new", "placed")
        world.go_on(130)
        assert not breaker(world).is_holding
        assert world.state("new").finished == 1

    def test_a_held_key_that_can_not_be_read_holds_up_no_probe_and_no_pass(self) -> None:
        """A later version wrote its state; the watchdog does the rest all the same."""
        world = World(shop(), max_in_flight_runs=4)
        fall_out(world)
        world.outage.clear()
        held = [(state.waiting_since_ms, key) for key, state in world.key_states().items() if state.held_route]
        (item,) = world.items(f"key#{min(held)[1]}", "state")
        world.dynamodb.put_item(TableName="state", Item=encode_item({**item, "phase": "suspended"}))
        world.now_ms += 60_000
        assert world.watch() is not None
        world.go_on(70)
        assert not breaker(world).is_holding

    def test_while_nothing_fails_it_costs_no_write(self) -> None:
        """The same calls as without a breaker, but for what is read once a second."""
        calls = []
        for kind in ("paid", "scanned"):
            world = World(shop())
            for number in range(5):
                world.put(f"k{number}", kind)
            world.settle()
            calls.append({name: n for name, n in world.faults.made.items() if name.startswith(("put", "trans", "upd"))})
        assert calls[0] == calls[1]

    def test_a_success_ends_the_counting(self) -> None:
        """Two keys failed, others succeed: the two count no more."""
        world = World(shop())
        for number in range(2):
            world.put(f"k{number}", "paid", payment="hang once")
        world.put("fine", "paid")
        world.settle()
        assert breaker(world).failures == ()
        assert breaker(world).version

    def test_everybody_reads_the_watchdogs_old_messages(self) -> None:
        """A deploy meets messages of the version before it, and the version before it meets ours."""
        world = World(shop())
        world.put("k", "paid")
        world.deliver()
        old = {"messageId": "m", "body": json.dumps({"key": "k", "at_ms": 1})}
        assert world.ask_watchdog({"Records": [old]}) == {"batchItemFailures": []}
        ask(world, "hold-route", route="paid")
        ask(world, "release-route", route="paid")
        assert all("key" in json.loads(message.body) for message in world.messages)

    def test_a_finish_that_comes_again_is_no_news_for_the_breaker(self) -> None:
        """Its execution tells what the key was then; by now the key's next run is the probe, and has not ended."""
        world = World(shop())
        world.put("k", "paid")
        world.deliver()
        (execution,) = world.live()
        for step in STEPS:
            world.step(execution, step)
        payload = {"run": execution.input["run"], "steps": list(execution.answers.values())}
        assert sequence(world.platform, payload)["outcome"] == "succeeded"
        probing = Breaker(BREAKER, phase=BreakerPhase.PROBING, probe=Probe("k", world.now_ms + 60_000))
        world.platform.controls.save_breaker(probing)
        world.pass_time(2)
        assert sequence(world.platform, payload)["refusal"] == "wrong_phase"
        assert breaker(world).phase is BreakerPhase.PROBING

    def test_a_failure_that_is_told_when_its_attempt_is_over_is_no_news_for_the_breaker(self) -> None:
        """Its execution began from the state that came with its run, and tells of it after the watchdog gave it up."""
        world = World(shop())
        world.put("k", "placed")
        world.put("k", "placed", payment="fail")
        world.deliver()
        (execution,) = world.live()
        world.run(execution)
        for step in STEPS:
            world.step(execution, step)
        state = world.state("k")
        assert state.run is not None
        world.now_ms = state.run.deadline_ms
        expire(world.platform, state)
        assert len(breaker(world).failures) == 1
        report(world.platform, BreakerRules(BREAKER, **RULES), Succeeded("another"))
        world.pass_time(2)
        assert sequence(world.platform, execution.payload)["refusal"] == "wrong_phase"
        assert breaker(world).failures == ()

    @staticmethod
    def _probe(world: World) -> Execution:
        """Wait for the probe, and return its execution."""
        while breaker(world).phase is not BreakerPhase.PROBING:
            moves = world.moves()
            if moves:
                moves[0]()
            else:
                world.now_ms += 100
        (execution,) = world.live()
        assert set(execution.answers) < set(STEPS)
        return execution
