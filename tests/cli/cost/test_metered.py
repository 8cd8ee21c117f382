"""Usage is read back from the functions' logs, whatever else stands there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest
from keyturn_cli.cost.metered import NotMetered, read_metered
from keyturn_cli.target import Target
from moto import mock_aws

SINCE_MS = (time.time_ns() // 1_000_000_000 - 3_600) * 1_000
"""An hour ago: CloudWatch takes no line that is older than 14 days, and moto neither."""


class World:
    """The logs of a stack, on moto."""

    def __init__(self) -> None:
        self.logs = boto3.client("logs", region_name="us-east-1")
        self.target = cast(
            "Target",
            SimpleNamespace(
                stack_name="keyturn",
                outputs=SimpleNamespace(state_table_name="state"),
                client=self.client,
                environment={"STATE_MACHINE_PREFIX": "arn:aws:states:us-east-1:1:stateMachine:keyturn-"},
            ),
        )

    def client(self, service: str) -> Any:
        """Logs by moto; Lambda and Step Functions as far as they are asked."""
        return {"logs": self.logs, "lambda": _Lambda(), "stepfunctions": _StepFunctions()}[service]

    def write(self, function: str, *messages: str, at_ms: int = SINCE_MS) -> None:
        """Log lines of a function."""
        group = f"/aws/lambda/keyturn-{function}"
        self.logs.create_log_group(logGroupName=group)
        self.logs.create_log_stream(logGroupName=group, logStreamName="one")
        events = [{"timestamp": at_ms, "message": message} for message in messages]
        self.logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=events)  # type: ignore[arg-type]


class _Lambda:
    def get_function_configuration(self, FunctionName: str) -> dict[str, Any]:  # noqa: N803 - AWS's name
        stack = "keyturn-staging" if FunctionName.startswith("keyturn-staging-") else "keyturn"
        memory_mb = 1_024 if FunctionName.endswith("dispatcher") else 256
        return {"MemorySize": memory_mb, "Environment": {"Variables": {"STACK_NAME": stack}}}


class _StepFunctions:
    """Two Standard executions that ended, one clean, one whose payment was tried twice; many newer ones that run."""

    ended = ("clean", "tried twice")

    def list_executions(self, statusFilter: str = "", maxResults: int = 50, **_: Any) -> dict[str, Any]:  # noqa: N803 - AWS's
        began = SimpleNamespace(timestamp=lambda: SINCE_MS / 1_000)
        running = [{"executionArn": "running", "startDate": began, "status": "RUNNING"}] * 60
        ended = [
            {"executionArn": name, "startDate": began, "stopDate": began, "status": "FAILED"} for name in self.ended
        ]
        found = [one for one in (*running, *ended) if statusFilter in {"", one["status"]}]
        return {"executions": found[:maxResults]}

    def get_paginator(self, _name: str) -> Any:
        def pages(executionArn: str) -> list[dict[str, Any]]:  # noqa: N803 - AWS's name
            kinds = ["ExecutionStarted", "ParallelStateEntered", *["TaskStateEntered", "TaskScheduled"] * 4]
            retried = ["TaskScheduled"] if executionArn == "tried twice" else []
            return [{"events": [{"type": kind} for kind in (*kinds, *retried)]}]

        return SimpleNamespace(paginate=pages)


@pytest.fixture
def world() -> Iterator[World]:
    """A stack that logged nothing yet."""
    with mock_aws():
        yield World()


def usage(**used: float) -> str:
    """A line as the functions write it."""
    return json.dumps({"level": "INFO", "message": "usage", "used": {k.replace("_", " "): v for k, v in used.items()}})


def test_invocations_units_and_log_bytes_are_summed_up_by_function(world: World) -> None:
    """A usage line is an invocation; it isn't what the function would log without metering, nor are Lambda's own."""
    finished = json.dumps({"message": "run finished"})
    world.write("sequencer", usage(counted_Finished=1), "START RequestId: 1", finished, usage(counted_Finished=2))
    (sequencer,) = read_metered(world.target, SINCE_MS, SINCE_MS + 1_000).functions
    assert (sequencer.invocations, sequencer.counted("Finished")) == (2, 3)
    assert sequencer.log_bytes == len(finished)
    assert sequencer.memory_mb == 256


def test_a_stack_whose_name_begins_alike_is_another_one(world: World) -> None:
    """Its functions' logs begin as this stack's do."""
    world.write("sequencer", usage(counted_Finished=1))
    world.write("staging-sequencer", usage(counted_Finished=100))
    assert read_metered(world.target, SINCE_MS, SINCE_MS + 1_000).events == 1


def test_a_workers_own_line_of_that_name_is_a_line_like_others(world: World) -> None:
    """Authors may call theirs what they like."""
    own = json.dumps({"message": "usage", "used": "much"})
    world.write("payment", usage(counted_Started=1), own)
    (payment,) = read_metered(world.target, SINCE_MS, SINCE_MS + 1_000).functions
    assert (payment.invocations, payment.log_bytes) == (1, len(own))


def test_what_was_logged_before_or_after_does_not_count(world: World) -> None:
    """The window is the caller's."""
    world.write("payment", usage(counted_Started=1))
    with pytest.raises(NotMetered, match="Metering=on"):
        read_metered(world.target, SINCE_MS + 1, SINCE_MS + 1_000)


def test_transitions_are_counted_in_histories_a_retry_being_one(world: World) -> None:
    """Five states of the flat workflow, and half a retry on average."""
    start = json.dumps({"message": "usage", "used": {"calls stepfunctions.StartExecution:keyturn-order-standard": 2}})
    world.write("dispatcher", start)
    metered = read_metered(world.target, SINCE_MS, SINCE_MS + 1_000)
    assert metered.transitions == {"keyturn-order-standard": 5.5}
    assert metered.starts() == {"keyturn-order-standard": 2}


def test_transitions_that_nobody_can_count_yet_are_not_taken_for_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are most of what a Standard run costs."""
    monkeypatch.setattr(_StepFunctions, "ended", ())
    start = json.dumps({"message": "usage", "used": {"calls stepfunctions.StartExecution:keyturn-order-standard": 2}})
    world.write("dispatcher", start)
    with pytest.raises(NotMetered, match="no execution of keyturn-order-standard that began in that time has ended"):
        read_metered(world.target, SINCE_MS, SINCE_MS + 1_000)


def test_a_start_that_is_waited_for_is_a_start(world: World) -> None:
    """An Express execution costs the same by StartSyncExecution."""
    waited = {
        f"calls stepfunctions.{name}:keyturn-order-express": 2 for name in ("StartExecution", "StartSyncExecution")
    }
    world.write("dispatcher", json.dumps({"message": "usage", "used": waited}))
    assert read_metered(world.target, SINCE_MS, SINCE_MS + 1_000).starts() == {"keyturn-order-express": 4}
