"""A step's results of one invocation: stored together, and sooner when much would be lost with a killed Lambda."""

from dataclasses import dataclass, field
from typing import Any, Final

from keyturn.adapters.steps import StepResult, StepStore, StoredResults
from keyturn.core.positions import Position
from keyturn.core.task import Task

UNSAVED_MS_MAX: Final = 1_000
"""Work that may be done before it is stored, from the first event's beginning: what a killed Lambda may repeat besides
the event that it was at. A longer time would have it repeat more, a shorter one costs writes."""


@dataclass(slots=True)
class Checkpoint:
    """The results that stand for a task, and those that are yet to be stored."""

    steps: StepStore
    task: Task
    standing: dict[Position, Any]
    """What is stored; it is what the workflow gets."""
    unsaved: list[StepResult] = field(default_factory=list)
    """Of neighbours in the log, so that whoever looks for one of them knows how far it need look."""

    def add(self, done: StepResult) -> None:
        """Take what was done for an event; store it, with what is unsaved besides, if much has gathered."""
        self.unsaved.append(done)
        if done.ended_at_ms - self.unsaved[0].began_at_ms >= UNSAVED_MS_MAX:
            self.save()

    def save(self) -> None:
        """Store what is unsaved. The first writer's result stands, so it may come to be another's."""
        if not self.unsaved:
            return
        header = self.task.header
        made = StoredResults(
            step=self.task.step,
            generation=header.generation,
            fence=header.fence,
            attempt=header.attempt,
            execution_id=self.task.execution_id,
            results=tuple(self.unsaved),
        )
        self.standing |= self.steps.store(header.key, made)
        self.unsaved.clear()
