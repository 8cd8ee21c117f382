"""A worker's step: check whether it may begin, run the author's function, store its results."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Self, TypeVar

from keyturn.adapters import telemetry
from keyturn.adapters.clients import client
from keyturn.adapters.keys import KeyStore, state_document
from keyturn.adapters.payloads import PayloadStore
from keyturn.adapters.process import THIS, Process
from keyturn.adapters.steps import Sought, StepResult, StepStore
from keyturn.adapters.table import Table
from keyturn.core.commands import Bind, Extend
from keyturn.core.event import Event
from keyturn.core.log_entry import PayloadReference
from keyturn.core.naming import as_unicode, key_hash
from keyturn.core.parse import parse_json
from keyturn.core.positions import Position
from keyturn.core.protocol import transition
from keyturn.core.state import Clock, KeyState
from keyturn.core.step_context import StepContext
from keyturn.core.task import EXCUSED, Permission, Task, TaskEvent, answer, is_current, permission
from keyturn.errors import Conflict, Permanent, StepFailed, StepRefused, StoreError, Throttled
from keyturn.limits import STEP_RESULT_BYTES_MAX
from keyturn.settings import WorkerSettings
from keyturn.shell.checkpoint import Checkpoint

WorkerFunction = Callable[[Event, StepContext], Any]
"""What a worker's author writes: does the step for one event and returns its result, JSON or None."""

_TRIES_MAX: Final = 12

_BINDING_WAIT_S: Final = 0.015
"""Before the first read of a task that leaves the binding to another, which begins about now with a read and a write.
What a read took here the last time is added, for a table that is slow; each wait is twice the one before."""
_READ_MS_MAX: Final = 50
"""Of what is added: all four waits are below a second then, even when the last read was tried several times."""
_BINDING_LOOKS: Final = 4
"""After the last the task binds the attempt itself."""

_BEAT_SHARE: Final = 0.1
"""Part of a run's time in which one heartbeat is enough."""

_STORING_MS: Final = 500
"""Of a Lambda's time, left for storing what was done."""

_T = TypeVar("_T")

_MESSAGE_CHARACTERS_MAX: Final = 200


@dataclass(slots=True)
class Pace:
    """How quick the table answers this process."""

    read_ms: int = 0
    """What the last read of a key's state and results took."""


@dataclass(frozen=True, slots=True)
class Workbench:
    """What a worker works with."""

    settings: WorkerSettings
    keys: KeyStore
    steps: StepStore
    payloads: PayloadStore
    process: Process
    pace: Pace = field(default_factory=Pace)

    @property
    def clock(self) -> Clock:
        """Tells the time."""
        return self.process.clock

    @classmethod
    def build(cls, settings: WorkerSettings, client_of: Callable[[str], Any] = client, process: Process = THIS) -> Self:
        """Wire the adapters together."""
        table = Table(client_of("dynamodb"), settings.state_table, process)
        return cls(
            settings,
            KeyStore(table, settings.index_buckets, settings.index_rounding_ms),
            StepStore(table, settings.event_retention_s),
            PayloadStore(client_of, settings.payload_bucket),
            process,
        )


def work(bench: Workbench, task: Task, remaining_ms: Callable[[], int], function: WorkerFunction) -> dict[str, Any]:
    """Do one step of a run for each event of its slice, in order; return the answer for the sequencer.

    `remaining_ms` tells how long the Lambda may still take. Raises StepFailed when Step Functions may try again.
    """
    logger = telemetry.logger()
    logger.append_keys(step=task.step, **telemetry.run_fields(task.header))
    begun: _Begun | None = None
    try:
        begun = _begin(bench, task, remaining_ms)
        stored = begun.stored
        if begun.permission is not Permission.GRANTED:
            logger.warning("step refused", extra={"permission": begun.permission})
            return answer(task, begun.permission.value)
        results = _results(bench, task, Checkpoint(bench.steps, task, dict(stored)), remaining_ms, function)
    except StepRefused:
        logger.warning("step superseded while it worked")
        return answer(task, Permission.REFUSED.value)
    except Permanent as error:
        logger.warning("step failed for good", extra={"error": type(error.__cause__ or error).__name__})
        return answer(task, "failed", error={"Error": "Permanent", "Cause": _short(error)})
    except Exception as error:
        logger.warning("step failed", extra={"error": type(error).__name__})
        told = _told(error, is_personal=task.header.is_personal)
        never_began = begun is None and isinstance(error, Throttled | Conflict)
        is_excused = never_began or isinstance(error, _TimeIsUp)
        raise StepFailed(EXCUSED + told if is_excused else told) from error
    logger.debug("step done", extra={"stored_before": len(stored)})
    seen = {"seen": state_document(begun.written)} if begun.written is not None else {}
    return answer(task, "done", results=results, **seen)


class _TimeIsUp(Exception):
    """The Lambda may have no time for the next event: the next try goes on behind what is done."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """What a worker found when it asked whether it may begin."""

    permission: Permission
    stored: Mapping[Position, Any]
    written: KeyState | None = None
    """The key's state, if this worker bound the attempt."""


def _begin(bench: Workbench, task: Task, remaining_ms: Callable[[], int]) -> _Begun:
    """Check whether the step may begin, binding the attempt to this execution if it is bound to none."""

    def permitted(found: KeyState) -> Permission:
        return permission(found, task, bench.clock() + remaining_ms(), bench.settings.clock_margin_ms)

    state, stored = _load(bench, task, permitted)

    def begin(found: KeyState) -> _Begun:
        granted = permitted(found)
        if granted is not Permission.AFTER_BINDING:
            return _Begun(granted, stored)
        bound = _change(bench, found, Bind(task.header.fence, task.execution_id))
        return _Begun(Permission.REFUSED if bound is None else Permission.GRANTED, stored, bound)

    return _while_others_change(begin, state)


def _load(
    bench: Workbench, task: Task, permitted: Callable[[KeyState], Permission]
) -> tuple[KeyState, Mapping[Position, Any]]:
    """Read the key's state and the stored results; a task that leaves the binding to another gives that some time.

    Where nobody has to bind the attempt there is nothing to wait for.
    """
    header = task.header
    sought = Sought(
        header.key, task.step, task.positions, header.generations, header.is_forward, may_overlap=header.may_overlap
    )
    if task.binds or header.is_bound:
        return _look(bench, sought)
    wait_s = _BINDING_WAIT_S + min(bench.pace.read_ms, _READ_MS_MAX) / 1000
    for _ in range(_BINDING_LOOKS):
        bench.process.sleep(wait_s)
        found = _look(bench, sought)
        if permitted(found[0]) is not Permission.AFTER_BINDING:
            break
        wait_s *= 2
    return found


def _look(bench: Workbench, sought: Sought) -> tuple[KeyState, Mapping[Position, Any]]:
    began_at_ms = bench.clock()
    found = bench.steps.load(sought)
    bench.pace.read_ms = max(0, bench.clock() - began_at_ms)
    return found


def _while_others_change(act: Callable[[KeyState], _T], state: KeyState) -> _T:
    """Act on a key's state, again on the one that stands when somebody else changed it first."""
    for _ in range(_TRIES_MAX):
        try:
            return act(state)
        except Conflict as conflict:
            state = conflict.standing
    raise Conflict(f"key {key_hash(state.key)} was changed by others {_TRIES_MAX} times in a row; try again", state)


def _change(bench: Workbench, state: KeyState, command: Bind | Extend) -> KeyState | None:
    """Change a key by a command that asks nothing of the world; None if the protocol refuses it."""
    decided = transition(state, command, bench.clock(), bench.settings.rules)
    return bench.keys.save(decided.state) if decided.refusal is None else None


def _heartbeat(bench: Workbench, task: Task) -> Callable[[], None]:
    """Return what a task's heartbeats do, for all its events: extend the run's deadline, if it hasn't just been."""
    header = task.header
    last_ms = bench.clock()

    def beat() -> None:
        nonlocal last_ms
        now_ms = bench.clock()
        if now_ms - last_ms < header.run_timeout_ms * _BEAT_SHARE or not header.run_timeout_ms:
            return
        last_ms = now_ms
        try:
            _while_others_change(partial(_extend, bench, task, now_ms), bench.keys.load(header.key))
        except StoreError as error:
            # The step is in the middle of its work, and the deadline leaves room for many more heartbeats.
            telemetry.logger().warning("heartbeat not written", extra={"reason": str(error)})

    return beat


def _extend(bench: Workbench, task: Task, now_ms: int, state: KeyState) -> None:
    """Extend the deadline of the attempt; raises StepRefused when it isn't the key's any more."""
    if not is_current(state, task):
        raise StepRefused("the attempt was superseded")
    _change(bench, state, Extend(task.header.fence, task.execution_id, now_ms + task.header.run_timeout_ms))


def _results(
    bench: Workbench, task: Task, done: Checkpoint, remaining_ms: Callable[[], int], function: WorkerFunction
) -> list[Any]:
    """Do what isn't done; return all results in the order of the events. What was done is stored, whatever fails."""
    longest_ms, beat = 0, _heartbeat(bench, task)
    try:
        for event in task.events:
            if event.position in done.standing:
                done.save()
                continue
            _check_time(remaining_ms(), longest_ms)
            made = _do(bench, task, event, function, beat)
            longest_ms = max(longest_ms, made.ended_at_ms - made.began_at_ms)
            done.add(made)
        done.save()
    except (Exception, StepRefused):
        done.save()  # once more, if that was what failed; where it fails again, a retry does the events again
        raise
    return [done.standing[place] for place in task.positions]


def _check_time(left_ms: int, longest_ms: int) -> None:
    """Raise when an event like the longest one so far would outlive the Lambda; the first one may begin."""
    if longest_ms and left_ms < longest_ms + _STORING_MS:
        raise _TimeIsUp("the Lambda's time is nearly over; the next try goes on behind what is done")


def _do(
    bench: Workbench, task: Task, event: TaskEvent, function: WorkerFunction, beat: Callable[[], None]
) -> StepResult:
    """Run the author's function for one event."""
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
        beat=beat,
    )
    began_at_ms = bench.clock()
    result = _plain(task.step, function(Event.from_attributes(_content(bench, event)), context))
    return StepResult(event.position, result, began_at_ms, ended_at_ms=bench.clock())


def _content(bench: Workbench, event: TaskEvent) -> Mapping[str, Any]:
    if not isinstance(event.content, PayloadReference):
        return event.content
    content: Mapping[str, Any] = json.loads(bench.payloads.get(event.content))
    return content


def _plain(step: str, result: Any) -> Any:
    """Return a result as it is read again: it is stored later, and its function may change what it gave by then.

    As strictly as an event: Step Functions rounds what is beyond 64 bits, without an error.
    """
    try:
        text = json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
        plain = parse_json(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise Permanent(f"step {step!r} returned what is not JSON ({error}): return a dict of plain values") from error
    if len(text) > STEP_RESULT_BYTES_MAX:
        raise Permanent(
            f"step {step!r} returned {len(text)} bytes, more than {STEP_RESULT_BYTES_MAX}: store it yourself and "
            "return where it lies"
        )
    return plain


def _told(error: BaseException, *, is_personal: bool) -> str:
    """Say what failed. Lambda writes it into the function's log, and a message may quote the event or its key."""
    name = type(error).__name__
    return f"{name}: (not told: the route's keys are personal)" if is_personal else f"{name}: {_short(error)}"


def _short(error: BaseException) -> str:
    try:
        return as_unicode(str(error)[:_MESSAGE_CHARACTERS_MAX])
    except Exception:  # noqa: BLE001 - it is somebody else's class, and this is what tells of it
        return "(its message can't be read)"
