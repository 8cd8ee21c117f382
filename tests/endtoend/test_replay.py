"""Replays on the deployed stack: exactly the plan, in order, and nothing else, whatever happens to the replayer."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest
from keyturn_cli.app import app
from keyturn_cli.errors import CliError
from keyturn_cli.guarantees import Effect, OneRunAtATime, Order
from keyturn_cli.guarantees.history import History
from keyturn_cli.operator import operate
from typer.testing import CliRunner

from keyturn.adapters.keys import KeyStore
from keyturn.adapters.log import EventLog
from keyturn.adapters.replays import ReplayStore
from keyturn.core.log_entry import LogEntry
from keyturn.core.positions import Position, position
from keyturn.core.replay_job import ACTIVE, JobState, ReplayJob
from keyturn.core.replay_plan import Fate
from keyturn.core.state import KeyState, Phase
from tests.endtoend.stack import Stack
from tests.endtoend.test_stack import STEPS, permit

MANY, WITH_TWO_EVENTS = 1_000, 100
WHY = ("--reason", "a test", "--yes")


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an AWS user has them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


def keyturn(stack: Stack, *arguments: str, exits: int = 0) -> str:
    """Run a command against the stack, as one on AWS is reached; raises what the command would say and exit by."""
    reach = ("--endpoint-url", stack.settings.endpoint_url, "--region", stack.settings.region)
    done = CliRunner().invoke(app, ["replay", *arguments, *reach])
    if isinstance(done.exception, CliError):
        raise done.exception
    assert done.exit_code == exits, done.output
    return done.stdout


def plan(stack: Stack, *arguments: str) -> dict[str, Any]:
    """Plan a replay."""
    told: dict[str, Any] = json.loads(keyturn(stack, "plan", *arguments, "--yes", "--output", "json"))
    assert told["state"] == "planned"
    return told


def job_of(stack: Stack, job_id: str) -> ReplayJob:
    """Read a replay."""
    found = ReplayStore(stack.store.table).load(job_id)
    assert found is not None
    return found


def second() -> str:
    """What a clock shows, to the second, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def effects_of(stack: Stack, keys: Collection[str], generation: int = 1) -> list[Effect]:
    """The effects that keys had in a generation, as they were written."""
    found = (one for one in stack.store.ledger().effects if one.place.key in keys and one.generation == generation)
    return sorted(found, key=lambda one: one.turn)


def counted(effects: list[Effect]) -> Counter[tuple[str, str, str]]:
    """How often each step of each event had its effect."""
    return Counter((one.place.key, one.place.position, one.step) for one in effects)


def permits(stack: Stack, keys: Collection[str], events: int) -> None:
    """Have some events done on each key."""
    puts = stack.put([(key, permit(key, number)) for number in range(events) for key in keys])
    stack.follow(puts)


def test_each_planned_step_runs_once_more_and_nothing_else(stack: Stack) -> None:
    """By key and position: the second event of two keys, in a new generation; then the plan is spent."""
    keys = ["replay-a", "replay-b", "replay-c"]
    permits(stack, keys, 3)
    before = counted(effects_of(stack, keys, 0))
    planned = plan(stack, "--key", "replay-a", "--key", "replay-b", "--new-generation")
    assert (planned["plan"]["events"], planned["plan"]["steps_to_run"]) == (6, 18)
    told = keyturn(stack, "apply", planned["id"], *WHY)
    assert "2 done of 2 keys" in told
    again = effects_of(stack, keys)
    assert counted(again) == Counter({place: 1 for place in before if place[0] != "replay-c"})
    assert list(Order().check(History(sent=(), effects=tuple(again)))) == []
    assert counted(effects_of(stack, keys, 0)) == before
    with pytest.raises(CliError, match=r"was applied already by .* a test"):
        keyturn(stack, "apply", planned["id"], *WHY)


def test_steps_that_are_done_are_not_done_again_without_a_new_generation(stack: Stack) -> None:
    permits(stack, ["replay-kept"], 1)
    planned = plan(stack, "--key", "replay-kept")
    assert (planned["plan"]["steps_to_run"], planned["plan"]["steps_to_skip"]) == (0, 3)
    keyturn(stack, "apply", planned["id"], *WHY)
    assert len(stack.steps_done("replay-kept")) == len(STEPS)
    assert stack.state("replay-kept").fence == 2


def test_a_time_window_and_a_type_are_found_in_the_stream(stack: Stack) -> None:
    """Only what arrived in the window, of that type; and the plan names its route while that is held."""
    permits(stack, ["replay-early"], 1)
    early = second()
    stack.until(lambda: second() > early)  # the window begins with a whole second
    since = second()
    permits(stack, ["replay-late"], 1)
    operate(stack.target, "hold-route", "a test", route="permit")
    planned = plan(stack, "--from", since, "--type", "permit.act*", "--new-generation")
    operate(stack.target, "release-route", "a test", route="permit")
    assert (planned["source"], planned["held_routes"]) == ("stream", ["permit"])
    assert json.loads(keyturn(stack, "status", planned["id"], "--output", "json"))["held_routes"] == []
    found = {one.key for _, one in ReplayStore(stack.store.table).keys(planned["id"], "") if one.tally.events}
    assert "replay-late" in found
    assert "replay-early" not in found


def test_only_a_key_that_changed_since_its_plan_is_refused(stack: Stack) -> None:
    keys = ["replay-held", "replay-free"]
    permits(stack, keys, 1)
    planned = plan(stack, *(word for key in keys for word in ("--key", key)), "--new-generation")
    operate(stack.target, "hold-key", "a test", key="replay-held")
    told = keyturn(stack, "apply", planned["id"], *WHY, exits=1)
    assert "1 done, 1 refused of 2 keys" in told
    assert "'replay-held'" in told
    assert {one.place.key for one in effects_of(stack, keys)} == {"replay-free"}


def test_a_replay_that_is_called_off_ends_what_runs_and_begins_nothing(stack: Stack) -> None:
    keys = [f"replay-off-{number}" for number in range(8)]
    permits(stack, keys, 2)
    planned = plan(stack, *(word for key in keys for word in ("--key", key)), "--new-generation", "--rate", "1")
    keyturn(stack, "apply", planned["id"], *WHY, "--no-wait")
    stack.until(lambda: bool(job_of(stack, planned["id"]).passing.get(Fate.APPLIED)))
    keyturn(stack, "cancel", planned["id"], *WHY)
    assert job_of(stack, planned["id"]).state is JobState.CANCELLED
    stack.until(lambda: all(state.phase is Phase.IDLE for state in stack.store.states(keys).values()))
    again = counted(effects_of(stack, keys))
    assert set(again.values()) <= {1}
    assert len({key for key, _, _ in again}) < len(keys)
    assert all(stack.state(key).cursor == stack.state(key).tail for key in keys)


@pytest.mark.parametrize("command", ["apply", "cancel", "status"])
def test_an_unknown_replay_is_one_line(stack: Stack, command: str) -> None:
    with pytest.raises(CliError, match="there is no replay 'nope' at"):
        keyturn(stack, command, "nope", *(WHY if command != "status" else ()))


def test_plans_are_listed_the_latest_first(stack: Stack) -> None:
    permits(stack, ["replay-listed"], 1)
    earlier = plan(stack, "--key", "replay-listed")["id"]
    planned_in = second()
    stack.until(lambda: second() > planned_in)  # plans of one second have no order
    later = plan(stack, "--key", "replay-listed")["id"]
    listed = [one["id"] for one in json.loads(keyturn(stack, "list", "--output", "json"))["replays"]]
    assert listed.index(later) < listed.index(earlier)
    assert "replay-listed" not in keyturn(stack, "status", earlier)


@pytest.fixture
def many(stack: Stack) -> Mapping[str, list[Position]]:
    """A thousand keys that are finished with an event each, some with two, as a day in the past has left them."""
    found: dict[str, list[Position]] = defaultdict(list)
    epoch = int(stack.target.environment["STREAM_EPOCH"])
    for number in range(MANY + WITH_TWO_EVENTS):
        found[f"many-{number % MANY:04d}"].append(position(epoch, str(10**50 + number)))
    now_ms = time.time_ns() // 1_000_000
    log = EventLog(stack.store.table, 86_400)
    log.write(((key, _scan(key, place, now_ms)) for key, places in found.items() for place in places), now_ms)
    _finish(stack, found)
    return found


def _scan(key: str, place: Position, now_ms: int) -> LogEntry:
    data = {"order_id": key, "sequence": 0, "parcel": "p", "city": "Berlin", "scan": 1}
    event = {"specversion": "1.0", "id": f"{key}@{place}", "source": "/shop", "type": "shop.order.tracked"}
    return LogEntry(place, "shop.order.tracked", "f" * 32, now_ms, json.dumps(event | {"data": data}).encode())


def _finish(stack: Stack, events: Mapping[str, list[Position]]) -> None:
    keys = KeyStore(stack.store.table, index_buckets=1, index_rounding_ms=1)
    for key, places in events.items():
        count = len(places)
        keys.save(KeyState(key, cursor=places[-1], tail=places[-1], admitted=count, finished=count))


@pytest.fixture
def killer(stack: Stack) -> Callable[[str], None]:
    """Kills the replayer's process and stops the execution that drives it."""

    def kill(execution: str) -> None:
        assert stack.kill_one("replayer")
        client = stack.target.client("stepfunctions")
        machine: str = stack.target.environment["STATE_MACHINE_PREFIX"] + "replay-standard"
        arn = machine.replace(":stateMachine:", ":execution:")
        client.stop_execution(executionArn=f"{arn}:{execution}")

    return kill


def test_a_thousand_keys_killed_half_way_and_resumed_run_exactly_as_planned(
    stack: Stack, many: Mapping[str, list[Position]], killer: Callable[[str], None], tmp_path: Any
) -> None:
    """Each step of each planned event once, in order; and nothing else."""
    file = tmp_path / "keys.txt"
    file.write_text("\n".join(many), encoding="utf-8")
    planned = plan(stack, "--keys-file", str(file), "--new-generation", "--rate", "50")
    assert (planned["plan"]["keys"], planned["plan"]["events"]) == (MANY, MANY + WITH_TWO_EVENTS)
    keyturn(stack, "apply", planned["id"], *WHY, "--no-wait")
    stack.until(lambda: job_of(stack, planned["id"]).passing.get(Fate.APPLIED, 0) >= MANY // 3)
    killer(job_of(stack, planned["id"]).execution_name)
    begun = sum(bool(state.last_replay) for state in stack.store.states(many).values())
    assert MANY // 3 <= begun < MANY, "it wasn't killed half-way"
    assert job_of(stack, planned["id"]).state in ACTIVE
    told = keyturn(stack, "apply", planned["id"], *WHY)
    assert f"{MANY:,} done of {MANY:,} keys" in told
    effects = effects_of(stack, many)
    wanted = {(key, place, "notification"): 1 for key, places in many.items() for place in places}
    assert counted(effects) == Counter(wanted)
    history = History(sent=(), effects=tuple(effects))
    assert [*Order().check(history), *OneRunAtATime().check(history)] == []
    assert effects_of(stack, many, 0) == []
