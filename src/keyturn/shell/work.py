"""A worker's step: check whether it may begin, run the author's function, store its result."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from keyturn.adapters import telemetry
from keyturn.adapters.clients import client
from keyturn.adapters.clock import now_ms
from keyturn.adapters.keys import KeyStore
from keyturn.adapters.payloads import PayloadStore
from keyturn.adapters.steps import StepResult, StepStore
from keyturn.adapters.table import Table
from keyturn.core.commands import Bind
from keyturn.core.event import Event
from keyturn.core.log_entry import PayloadReference
from keyturn.core.naming import key_hash
from keyturn.core.positions import Position
from keyturn.core.protocol import transition
from keyturn.core.state import Clock, KeyState
from keyturn.core.step_context import StepContext
from keyturn.core.task import Permission, Task, TaskEvent, answer, permission
from keyturn.errors import Conflict, Permanent, StepFailed
from keyturn.limits import STEP_RESULT_BYTES_MAX
from keyturn.settings import WorkerSettings

WorkerFunction = Callable[[Event, StepContext], Any]
"""What a worker's author writes: does the step for one event and returns its result, JSON or None."""

_BIND_TRIES_MAX: Final = 12

_MESSAGE_CHARACTERS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Workbench:
    """What a worker works with."""

    settings: WorkerSettings
    keys: KeyStore
    steps: StepStore
    payloads: PayloadStore
    clock: Clock = now_ms

    @classmethod
    def build(cls, settings: WorkerSettings, client_of: Callable[[str], Any] = client, clock: Clock = now_ms) -> Self:
        """Wire the adapters together."""
        table = Table(client_of("dynamodb"), settings.state_table)
        return cls(
            settings,
            KeyStore(table, settings.index_buckets, settings.index_rounding_ms),
            StepStore(table, settings.event_retention_s),
            PayloadStore(client_of, settings.payload_bucket),
            clock,
        )


def work(bench: Workbench, task: Task, remaining_ms: Callable[[], int], function: WorkerFunction) -> dict[str, Any]:
    """Do one step of a run for each event of its slice, in order; return the answer for the sequencer.

    `remaining_ms` tells how long the Lambda may still take. Raises StepFailed when Step Functions may try again.
    """
    logger = telemetry.logger()
    logger.append_keys(step=task.step, **telemetry.run_fields(task.header))
    try:
        granted, stored = _begin(bench, task, remaining_ms)
        if granted is not Permission.GRANTED:
            logger.warning("step refused", extra={"permission": granted})
            return answer(task, granted.value)
        results = [
            stored[event.position] if event.position in stored else _do(bench, task, event, function)
            for event in task.events
        ]
    except Permanent as error:
        logger.warning("step failed for good", extra={"error": type(error.__cause__ or error).__name__})
        return answer(task, "failed", error={"Error": "Permanent", "Cause": _short(error)})
    except Exception as error:
        logger.warning("step failed", extra={"error": type(error).__name__})
        raise StepFailed(f"{type(error).__name__}: {_short(error)}") from error
    logger.info("step done", extra={"stored_before": len(stored)})
    return answer(task, "done", results=results)


def _begin(bench: Workbench, task: Task, remaining_ms: Callable[[], int]) -> tuple[Permission, Mapping[Position, Any]]:
    """Check whether the step may begin, binding the attempt to this execution if it is bound to none."""
    header = task.header
    generations = range(header.generation, header.generation_latest + 1)
    state, stored = bench.steps.load(header.key, generations, task.step, task.positions)
    for _ in range(_BIND_TRIES_MAX):
        ends_by_ms = bench.clock() + remaining_ms()
        granted = permission(state, task, ends_by_ms, bench.settings.clock_margin_ms)
        if granted is not Permission.AFTER_BINDING:
            return granted, stored
        try:
            return _bind(bench, task, state), stored
        except Conflict as conflict:
            state = conflict.standing
    raise Conflict(
        f"key {key_hash(header.key)} was changed by others {_BIND_TRIES_MAX} times in a row; try again", state
    )


def _bind(bench: Workbench, task: Task, state: KeyState) -> Permission:
    command = Bind(task.header.fence, task.execution_id)
    bound = transition(state, command, bench.clock(), bench.settings.rules)
    if bound.refusal is not None:
        return Permission.REFUSED
    bench.keys.save(bound.state)
    return Permission.GRANTED


def _do(bench: Workbench, task: Task, event: TaskEvent, function: WorkerFunction) -> Any:
    """Run the author's function for one event and store its result; the result that stands is returned."""
    header = task.header
    context = StepContext(
        step=task.step,
        key=header.key,
        position=event.position,
        flow_id=event.flow_id,
        attempt=header.attempt,
        fence=header.fence,
        idempotency_key=task.idempotency_key(event.position),
        deadline_ms=header.deadline_ms,
        payload=task.payload,
    )
    began_at_ms = bench.clock()
    result = function(Event.from_attributes(_content(bench, event)), context)
    _check_result(task.step, result)
    return bench.steps.store(
        header.key,
        header.generation,
        StepResult(
            position=event.position,
            step=task.step,
            result=result,
            fence=header.fence,
            attempt=header.attempt,
            execution_id=task.execution_id,
            began_at_ms=began_at_ms,
            ended_at_ms=bench.clock(),
        ),
    )


def _content(bench: Workbench, event: TaskEvent) -> Mapping[str, Any]:
    if not isinstance(event.content, PayloadReference):
        return event.content
    content: Mapping[str, Any] = json.loads(bench.payloads.get(event.content))
    return content


def _check_result(step: str, result: Any) -> None:
    try:
        size = len(json.dumps(result, ensure_ascii=False, allow_nan=False).encode())
    except (TypeError, ValueError) as error:
        raise Permanent(f"step {step!r} returned what is not JSON ({error}): return a dict of plain values") from error
    if size > STEP_RESULT_BYTES_MAX:
        raise Permanent(
            f"step {step!r} returned {size} bytes, more than {STEP_RESULT_BYTES_MAX}: store it yourself and return "
            "where it lies"
        )


def _short(error: BaseException) -> str:
    return str(error)[:_MESSAGE_CHARACTERS_MAX]
