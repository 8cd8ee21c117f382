"""Which steps of finished events have results: what a replay needs to know of them."""

from dataclasses import dataclass
from typing import Final

from keyturn.adapters.keys import partition
from keyturn.adapters.steps import STEP
from keyturn.adapters.table import Table
from keyturn.core.positions import Position
from keyturn.core.replay_plan import Stored

_RUN_MS_MAX: Final = 900_000
"""Results of two generations lie far apart: only what could be one run's tells how long a run takes."""


@dataclass(frozen=True, slots=True)
class PastSteps:
    """Reads step results without what is in them."""

    table: Table

    def stored(self, key: str, first: Position, last: Position) -> dict[Position, Stored]:
        """Tell which steps have results, of any generation, for the events from `first` through `last`."""
        arguments = {
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ProjectionExpression": "sk, began_at_ms, ended_at_ms",
            "ConsistentRead": True,
        }
        values = {"pk": partition(key), "low": STEP + first, "high": f"{STEP}{last}~"}
        steps: dict[Position, set[str]] = {}
        times: dict[Position, list[int]] = {}
        for item in self.table.query(arguments, values):
            place, _, step = item["sk"].removeprefix(STEP).split("#", 2)
            steps.setdefault(Position(place), set()).add(step)
            times.setdefault(Position(place), []).extend((item["began_at_ms"], item["ended_at_ms"]))
        took_ms = {place: max(found) - min(found) for place, found in times.items()}
        return {
            place: Stored(frozenset(found), took_ms[place] if took_ms[place] <= _RUN_MS_MAX else 0)
            for place, found in steps.items()
        }
