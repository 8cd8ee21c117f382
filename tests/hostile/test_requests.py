"""Whatever a function is invoked with, it answers, or raises one of our own errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.adapters.wake import subject_of
from keyturn.core.answers import read_steps
from keyturn.core.event import Event
from keyturn.core.state import Phase
from keyturn.core.step_context import StepContext
from keyturn.core.task import Task
from keyturn.errors import KeyturnError, Permanent
from keyturn.shell.operator_requests import HANDLERS, answer
from keyturn.shell.replay_work import work_on_replay
from keyturn.shell.sequence import sequence
from keyturn.shell.watch_sources import watch_for
from keyturn.shell.work import work
from tests.hostile.effort import looking
from tests.hostile.junk import altered, altered_bytes, as_json, junk, nested, texts
from tests.shell.world import World


def world_at_work() -> World:
    """A world with a running key, a parked one, a quarantined record and a planned replay."""
    world = World()
    world.put("runs")
    world.put("parked", inventory="permanent")
    world.put_raw("broken", b"{")
    world.deliver()
    world.run(next(one for one in world.live() if one.key == "parked"))
    world.ask("replay-plan", keys=["runs"])
    return world


# Operator

PLACE = ["quarantine#2023-11-14", "shardId-000000000006#0001-" + "0" * 55 + "3-000000"]
REQUESTS: Mapping[str, Mapping[str, Any]] = {
    **{command: {"key": "parked"} for command in ("hold-key", "release-key", "resume", "skip")},
    **{command: {"route": "standard", "closes_breaker": True} for command in ("hold-route", "release-route")},
    **{command: {"places": [PLACE]} for command in ("quarantine-redrive", "deadletter-redrive", "discard")},
    "replay-plan": {
        "keys": ["runs"], "from_position": "0001-", "to_position": "~", "from_ms": 1, "to_ms": 2, "type": "a*",
        "rate": 3, "flow_id": "f", "route": "r", "outcome": "any", "is_new_generation": True, "accepts_scan": True,
    },
    "release-publish": {"number": 1, "machines": {"order-standard": "arn"}, "workers": {"inventory": "arn"}},
    "release-canary": {"number": 1, "share": 500, "ended_min": 2, "failed_percent": 9, "promote_after_runs": 1},
    **{command: {"number": 1} for command in ("release-promote", "release-rollback")},
    **{command: {"id": "20231114-221320-ab12"} for command in ("replay-apply", "replay-cancel")},
}  # fmt: skip


@looking(150)
@given(st.sampled_from(sorted(HANDLERS)), st.data())
def test_any_request_to_the_operator_is_answered(command: str, data: st.DataObject) -> None:
    """Done or refused, in one line; never an error."""
    whole = {"command": command, "by": "sam", "reason": "why", "is_fresh": False, **REQUESTS.get(command, {})}
    request = data.draw(altered(whole))
    done = answer(world_at_work().platform, request)
    assert isinstance(done, dict)
    json.dumps(done)
    assert "\n" not in str(done.get("refused", ""))


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("discard", ["key#runs", "state"]),
        ("quarantine-redrive", ["key#runs", "state"]),
        ("deadletter-redrive", ["control", "hold#everything"]),
        ("discard", ["capacity", "runs"]),
        ("discard", ["quarantine#2023-11-14\n", "x"]),
    ],
)
def test_nothing_but_open_items_can_be_closed(command: str, place: list[str]) -> None:
    """Closing a key's state would take the key out of the index: it would never run again."""
    world = world_at_work()
    before = world.items()
    assert "holds nothing of the kind" in world.ask(command, places=[place])["refused"]
    assert [one for one in world.items() if one not in before] == []


@pytest.mark.parametrize(
    "subject",
    [
        {"command": "hold-key", "key": "\ud800"},
        {"command": "hold-key", "key": "k" * 3_000},
        {"command": "hold-key", "key": 5},
        {"command": "hold-key", "key": "runs", "reason": "x" * 500_000},
        {"command": "hold-key", "key": "runs", "by": "\udfff"},
        {"command": "discard", "places": ["ab"]},
        {"command": "discard", "places": [["a"]]},
        {"command": "replay-plan", "keys": "runs"},
        {"command": "replay-plan", "keys": 5},
        {"command": "replay-plan", "keys": ["runs"], "rate": "fast"},
        {"command": "replay-plan", "from_ms": "yesterday"},
        {"command": "replay-plan", "from_ms": 10**30},
        {"command": "replay-plan", "keys": ["runs"], "outcome": ["any"]},
        {"command": "replay-plan", "keys": ["runs"], "from_position": "0" * 2_000},
        {"command": ["hold-key"]},
        [],
        None,
    ],
    ids=lambda subject: str(subject)[:60],
)
def test_a_request_that_makes_no_sense_is_refused(subject: Any) -> None:
    """In words, and nothing is changed."""
    world = world_at_work()
    before = world.items()
    assert "refused" in answer(world.platform, subject)
    assert world.items() == before


# Watchdog


def asked_by(message: Any) -> dict[str, Any]:
    return {"Records": [{"messageId": "m", "body": message}]}


@looking(150)
@given(
    st.one_of(
        altered({"key": "runs", "at_ms": 5}).map(as_json).map(bytes.decode),
        altered({"key": "", "ramp": "standard", "breaker": "b"}).map(as_json).map(bytes.decode),
        altered_bytes(b'{"key": "runs", "at_ms": 5}').map(lambda raw: raw.decode("latin-1")),
        junk,
    )
)
def test_any_wake_up_message_is_done_or_left(body: Any) -> None:
    """What can't be read comes again until the queue sets it aside; it never fails its neighbours."""
    world = world_at_work()
    done = watch_for(world.platform, asked_by(body), lambda: True)
    assert done["batchItemFailures"] in ([], [{"itemIdentifier": "m"}])


@pytest.mark.parametrize(
    "body", ["", "5", "[]", "{}", '{"key":5}', '{"key":{}}', '{"key":"\\ud800"}', "[" * 100_000, None]
)
def test_a_message_that_is_none_of_ours_names_nothing(body: Any) -> None:
    """Whatever put it there."""
    with pytest.raises(ValueError, match=r"."):
        subject_of(body)


@looking(150)
@given(st.data())
def test_any_status_change_is_taken_up_or_passed_over(data: st.DataObject) -> None:
    """An execution may be started by hand, with any input."""
    world = world_at_work()
    execution = world.live()[0]
    event = world.status_change(execution)
    inner = data.draw(altered(json.loads(event["detail"]["input"])).map(as_json).map(bytes.decode))
    event["detail"]["input"] = inner
    watch_for(world.platform, data.draw(altered(event, changes_max=2)), lambda: True)


@pytest.mark.parametrize(
    "detail",
    [
        None,
        {},
        [],
        {"input": "[" * 100_000},
        {"input": '{"run":{"key":5}}', "name": "n", "status": "FAILED"},
        {"input": '{"run":{"key":"\\ud800"}}', "name": "n", "status": "FAILED"},
        {"input": {"run": 5}, "name": "n", "status": "FAILED"},
        {"input": '{"run":{"key":"k"}}', "status": "FAILED"},
    ],
    ids=lambda detail: str(detail)[:40],
)
def test_a_status_change_that_tells_of_no_run_is_passed_over(detail: Any) -> None:
    """The deadline finds a run that it did tell of."""
    event = {"detail-type": "Step Functions Execution Status Change", "detail": detail}
    done = watch_for(World().platform, event, lambda: True)
    assert done["status"] in {"not a run", "left to the deadline"}


@looking(60)
@given(
    altered({"detail-type": "CloudWatch Alarm State Change", "detail": {"alarmName": "a", "state": {"value": "ALARM"}}})
)
def test_any_alarm_is_taken_up_or_passed_over(event: Any) -> None:
    """The rule hands over whatever EventBridge makes of one."""
    assert watch_for(World().platform, event, lambda: True)


def test_the_run_of_a_deeply_nested_event_is_found_by_its_input() -> None:
    """As deep as an event may be, and deeper by what is around it."""
    world = World()
    world.put("deep", deep=nested(60))
    world.deliver()
    world.fail(world.live()[0])
    world.now_ms += 1
    assert world.ask_watchdog(world.status_change(world.states.executions[0])) == {"status": "FAILED"}
    assert world.state("deep").phase is Phase.WAITING


# Sequencer, replayer, workers


def own_errors_only(call: Callable[[], Any]) -> None:
    with suppress(KeyturnError):
        call()


STEP = {"step": "payment", "execution_id": "x", "outcome": "done", "results": [None]}
CAUGHT = {"step": "payment", "error": {"Error": "StepFailed", "Cause": '{"errorMessage":"no","stackTrace":[]}'}}


@looking(150)
@given(st.data())
def test_the_sequencer_takes_anything(data: st.DataObject) -> None:
    """A finish by hand, or of a workflow that somebody else wrote."""
    world = world_at_work()
    payload = {"run": world.live()[0].input["run"], "steps": [STEP, [CAUGHT], {"Error": "x", "Cause": "y"}]}
    own_errors_only(lambda: sequence(world.platform, data.draw(altered(payload))))


@looking(300)
@given(altered([STEP, [[STEP], {"a": CAUGHT}], {"Error": "States.Timeout"}]))
def test_any_result_of_a_fan_out_has_a_verdict(steps: Any) -> None:
    """Silence and nonsense are failures of the run, not of the sequencer."""
    verdict = read_steps(steps)
    assert verdict.ending is None or len(verdict.ending.reason) <= 300


@pytest.mark.parametrize("depth", [10, 1_000, 50_000])
def test_a_fan_out_may_nest_its_answers_as_deep_as_it_likes(depth: int) -> None:
    """Maps in branches in maps."""
    deep: Any = STEP
    for _ in range(depth):
        deep = [deep]
    verdict = read_steps(deep)
    assert verdict.ending is not None
    assert verdict.ending.outcome == "succeeded"


@looking(100)
@given(altered({"id": "r", "turn": 1}))
def test_the_replayer_takes_anything(request: Any) -> None:
    """A call by hand is told what to do instead."""
    world = world_at_work()
    own_errors_only(lambda: work_on_replay(world.platform, request, lambda: True, 30_000))


@looking(200)
@given(st.data())
def test_a_worker_takes_anything(data: st.DataObject) -> None:
    """A state machine that passes on something else fails its step in words."""
    world = world_at_work()
    task = {"step": "payment", "execution_id": "uuid-0", **world.live()[0].input}

    def function(event: Event, _step: StepContext) -> Any:
        return {"seen": event.type}

    own_errors_only(lambda: work(world.bench, Task.from_payload(data.draw(altered(task))), lambda: 3_000, function))


@looking(100)
@given(st.one_of(junk, texts))
def test_a_worker_may_return_anything(result: Any) -> None:
    """What is no JSON, or too much of it, fails the step for good."""
    world = World()
    world.put("k")
    world.deliver()
    execution = world.live()[0]
    task = Task.from_payload({"step": "payment", "execution_id": execution.execution_id, **execution.input})
    done = work(world.bench, task, lambda: 3_000, lambda _event, _step: result)
    assert done["outcome"] in {"done", "failed"}


class Unspeakable(Exception):
    """An error of somebody's library whose message can't be made."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "error", [Unspeakable(), ValueError("half \ud800"), Permanent("half \ud800"), KeyError("\udfff")]
)
def test_a_worker_may_raise_anything(error: Exception) -> None:
    """What an item couldn't hold, or what has no message, is told as far as it can be, and recorded."""
    world = World()
    world.put("k")
    world.deliver()
    execution = world.live()[0]

    def function(_event: Event, _step: StepContext) -> Any:
        raise error

    world.function_of = lambda _execution, _began_at_ms: function
    world.run(execution)
    (attempt,) = world.items("key#k", "attempt#")
    assert attempt["outcome"] == "failed"
    attempt["reason"].encode()


def test_a_cause_that_no_item_can_hold_is_written_out() -> None:
    """JSON can carry half a character from a branch to the sequencer; the attempt record can't."""
    world = World()
    world.put("k")
    world.deliver()
    caught = {"step": "payment\ud800", "error": {"Error": "E\ud800", "Cause": "half \udfff"}}
    sequence(world.platform, {"run": world.live()[0].input["run"], "steps": [caught]})
    (attempt,) = world.items("key#k", "attempt#")
    assert "half \\udfff" in attempt["reason"]
