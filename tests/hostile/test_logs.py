"""No payload, personal key or worker's message reaches a log, whatever becomes of an event."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from keyturn.adapters import telemetry
from keyturn.core.event import Event
from keyturn.core.step_context import StepContext
from keyturn.core.task import Task
from keyturn.errors import Permanent, StepFailed
from keyturn.shell.work import work
from tests.shell.world import World, routes

SECRET = "nobody-may-read-this"
KEY = f"customer-{SECRET}"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What every function logs, as it would stand in CloudWatch with LogLevel DEBUG."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(telemetry.logger().registered_formatter)
    logger: Any = telemetry.logger()
    level = logger.log_level
    logger.addHandler(handler)
    logger.setLevel("DEBUG")
    yield written
    logger.setLevel(level)
    logger.removeHandler(handler)


def test_a_personal_key_and_what_it_is_about_stay_out_of_the_logs(lines: io.StringIO) -> None:
    """Through runs that succeed, fail, are retried, given up, parked, skipped, expire; and records that are refused."""
    world = World(routes(personal_key=True))
    for kind, wanted in (("standard", ""), ("express", "fail once"), ("skip", "permanent"), ("standard", "hang once")):
        world.put(f"{KEY}-{kind}", kind, inventory=wanted, of=SECRET)
    world.put(KEY, "behind", inventory="fail", of=SECRET)
    world.put(KEY, "behind", event_id="again", of=SECRET)
    world.put(KEY, "behind", event_id="again", of=SECRET)
    for raw in (SECRET, f'{{"{SECRET}": 1}}', f'["{SECRET}"', f'{{"specversion": "1.0", "type": "{SECRET}"}}'):
        world.put_raw(KEY, raw.encode())
    world.settle()
    world.put(f"{KEY}-late")
    world.deliver()
    world.now_ms += 120_000
    world.settle()
    world.ask("resume", key=KEY)
    world.settle()
    world.ask("skip", key=KEY)
    world.replay(keys=[f"{KEY}-standard"], is_new_generation=True)
    told = lines.getvalue()
    for message in (
        "run started",
        "step failed",
        "quarantined",
        "duplicate",
        "attempt given up",
        "operated",
        "run finished",
    ):
        assert message in told
    assert SECRET not in told


def failing(error: Exception) -> tuple[World, Task, Any]:
    world = World(routes(personal_key=True))
    world.put(KEY)
    world.deliver()
    execution = world.live()[0]
    task = Task.from_payload({"step": "payment", "execution_id": execution.execution_id, **execution.input})

    def function(_event: Event, _step: StepContext) -> Any:
        raise error

    return world, task, function


def test_a_workers_message_about_a_personal_key_stays_with_the_worker(lines: io.StringIO) -> None:
    """Lambda logs what a handler raises: of a personal route that is the error's name alone."""
    world, task, function = failing(ValueError(f"no account of {SECRET}"))
    with pytest.raises(StepFailed) as raised:
        work(world.bench, task, lambda: 3_000, function)
    assert str(raised.value) == "ValueError: (not told: the route's keys are personal)"
    assert SECRET not in lines.getvalue()


def test_a_permanent_failure_is_answered_and_not_logged(lines: io.StringIO) -> None:
    """Its message goes to the attempt record, by Step Functions, whose log leaves data out."""
    world, task, function = failing(Permanent(f"no account of {SECRET}"))
    assert SECRET in str(work(world.bench, task, lambda: 3_000, function))
    assert SECRET not in lines.getvalue()
