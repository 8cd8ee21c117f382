"""What a state machine hands to a worker, and what the worker answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from keyturn.core.log_entry import PayloadReference
from keyturn.core.naming import is_unicode, key_hash
from keyturn.core.positions import Position
from keyturn.core.run_header import RunHeader
from keyturn.core.state import KeyState, Phase
from keyturn.errors import KeyturnError

EXCUSED: Final = "no failure: "
"""What the error of a try begins with that says nothing about the workflow: the state table couldn't be asked, so
nothing began, or the Lambda's time was up and what it had done is stored. No other does: it begins with the name of a
class."""

_OURS: Final = frozenset({"step", "execution_id", "run", "events", "binds"})


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One event of a task: the CloudEvent itself, or where it lies in the payload bucket."""

    position: Position
    flow_id: str
    content: Mapping[str, Any] | PayloadReference


@dataclass(frozen=True, slots=True)
class Task:
    """One step of a run, for every event of its slice."""

    step: str
    execution_id: str
    header: RunHeader
    events: Sequence[TaskEvent]
    payload: Mapping[str, Any]
    """What the state machine passes to this task besides, such as the line that a Map iteration is about."""
    binds: bool = True
    """Whether it binds the attempt at once. Where several workers begin together, the workflow leaves it to one: of
    three that try, two pay for a refused write."""

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Self:
        """Read a task; raises KeyturnError naming what is missing."""
        try:
            return cls(
                step=_text(payload["step"]),
                execution_id=_text(payload["execution_id"]),
                header=RunHeader.from_input(payload["run"]),
                events=[_read_event(event) for event in payload["events"]],
                payload={name: value for name, value in payload.items() if name not in _OURS},
                binds=payload.get("binds") is not False,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise KeyturnError(
                f"a worker's task has no {error}: pass step, execution_id, run and events in the state machine, as "
                "statemachines/order.asl.json does"
            ) from error

    @property
    def positions(self) -> list[Position]:
        """Positions of the task's events."""
        return [event.position for event in self.events]

    def idempotency_key(self, position: Position) -> str:
        """Name one effect: the same for every attempt at this step for this event, another for a new generation."""
        return f"{key_hash(self.header.key)}#{position}#{self.header.generation}#{self.step}"


class Permission(StrEnum):
    """Whether a worker may begin."""

    GRANTED = "granted"
    AFTER_BINDING = "after_binding"
    """The attempt belongs to no execution yet: to this one, if it can be bound."""
    REFUSED = "refused"
    OUT_OF_TIME = "out_of_time"


def permission(state: KeyState, task: Task, ends_by_ms: int, margin_ms: int) -> Permission:
    """Decide whether a task may begin, given its key's state and the time by which its Lambda surely has ended.

    Only the attempt that holds the fence, in the execution that it is bound to, while its key is running, and only if
    no clock skew within the margin lets the Lambda outlive the run's deadline: after that the next attempt may start.
    """
    run = state.run
    if run is None or not is_current(state, task):
        return Permission.REFUSED
    if ends_by_ms + margin_ms > run.deadline_ms:
        return Permission.OUT_OF_TIME
    return Permission.GRANTED if run.execution_id else Permission.AFTER_BINDING


def is_current(state: KeyState, task: Task) -> bool:
    """Tell whether a task is of its key's attempt as it stands, in the execution that it is bound to or could be."""
    run = state.run
    if state.phase is not Phase.RUNNING or run is None or state.fence != task.header.fence:
        return False
    return run.execution_id in {None, task.execution_id}


def answer(task: Task, outcome: str, **more: Any) -> dict[str, Any]:
    """Write a worker's answer, which the fan-out hands to the sequencer."""
    return {"step": task.step, "execution_id": task.execution_id, "outcome": outcome, **more}


def _text(value: object) -> str:
    if not isinstance(value, str) or not is_unicode(value):
        raise TypeError("text where step and execution_id stand")
    return value


def _read_event(event: Mapping[str, Any]) -> TaskEvent:
    content = event["event"] if "event" in event else PayloadReference.from_item(event["payload"])
    if not isinstance(content, Mapping | PayloadReference):
        raise TypeError("object where an event stands")
    return TaskEvent(Position(_text(event["position"])), _text(event["flow_id"]), content)
