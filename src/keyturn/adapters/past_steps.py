"""Which steps of finished events have results: what a replay needs to know of them."""

from dataclasses import dataclass
from typing import Final

from keyturn.adapters.keys import partition
from keyturn.adapters.steps import STEP
from keyturn.adapters.table import Table, reading
from keyturn.core.positions import Position
from keyturn.core.replay_plan import Stored

_RUN_MS_MAX: Final = 900_000
"""A run that was tried again much later counts as this long: the wait between tells nothing of how long one takes."""


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
        times: dict[tuple[Position, str], list[int]] = {}
        for item in self.table.query(arguments, values):
            with reading("a step's stored result"):
                place, generation, step = item["sk"].removeprefix(STEP).split("#", 2)
                times.setdefault((Position(place), generation), []).extend((item["began_at_ms"], item["ended_at_ms"]))
            steps.setdefault(Position(place), set()).add(step)
        took_ms: dict[Position, int] = {}
        for (place, _), found in times.items():
            took_ms[place] = max(took_ms.get(place, 0), min(max(found) - min(found), _RUN_MS_MAX))
        return {place: Stored(frozenset(names), took_ms[place]) for place, names in steps.items()}
