"""Step results for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keyturn.adapters.steps import StepResult, StoredResults
from keyturn.core.positions import Position


def results(
    positions: Sequence[Position],
    step: str = "payment",
    *,
    value: Any = None,
    generation: int = 0,
    fence: int = 1,
    began_ms: int = 1_000,
    ended_ms: int = 1_005,
) -> StoredResults:
    """Return what one attempt did for some events, all at the same time and with the same result."""
    made = tuple(StepResult(place, value, began_ms, ended_ms) for place in positions)
    return StoredResults(step, generation, fence, 1, "x", made)
