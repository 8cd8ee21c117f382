"""What the bench asks of a contender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.order import Effect
from bench.workload import BenchEvent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a contender did with a run's events."""

    put_at_ms: dict[str, int]
    """Event id -> when it was handed over."""
    effects: Sequence[Effect]
    cpu_s: float


class Contender(Protocol):
    """One of those that are compared; it is up and warm between `__enter__` and `__exit__` of its ground."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def event_type(self) -> str:
        """The type of the events that it takes."""

    def run(self, events: Sequence[BenchEvent], *, limit_s: float) -> Outcome:
        """Put all events as fast as they are taken, wait for the last effect. Raises TooSlow."""
