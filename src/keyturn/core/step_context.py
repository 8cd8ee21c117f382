"""What a worker's function is told besides the event."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class StepContext:
    """One event's turn at one step."""

    step: str
    """The step's name as the state machine gives it; each iteration of a Map has its own."""
    key: str
    position: str
    flow_id: str
    attempt: int
    """From 1; counts the attempts at the run, not the retries of Step Functions within one."""
    fence: int
    """Grows with every attempt of the key: hand it to a system that can refuse older ones."""
    idempotency_key: str
    """The same for every try at this step for this event: hand it to a payment provider and the like."""
    deadline_ms: int
    """Epoch milliseconds; the next attempt may start after it."""
    payload: Mapping[str, Any] = field(default_factory=dict)
    """What the state machine passes to this task besides, such as the line that a Map iteration is about."""
