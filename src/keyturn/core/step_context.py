"""What a worker's function is told besides the event."""

from collections.abc import Callable, Mapping
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
    beat: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)
    """What a heartbeat does; the library gives it, and in a test of one's own worker it does nothing."""

    def heartbeat(self) -> None:
        """Say that the work goes on: the run has its route's whole `run_timeout_s` again from now.

        Without it a run is taken for hung at its deadline, however busy its workers are. Call it in long loops as often
        as you like: at most one in a tenth of that time costs a write, and one that can't be written is passed over. It
        doesn't lengthen the Lambda's, the task's or the execution's own timeout. A worker whose attempt was superseded
        meanwhile is stopped by it (StepRefused, a BaseException: let it pass).
        """
        self.beat()
