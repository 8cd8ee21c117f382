"""Which steps of finished events have results: what a replay needs to know of them."""

from dataclasses import dataclass
from typing import Final

from keyturn.adapters.steps import results_of
from keyturn.adapters.table import Table
from keyturn.core.positions import Position
from keyturn.core.replay_plan import Stored

_RUN_MS_MAX: Final = 900_000
"""A run that was tried again much later counts as this long: the wait between tells nothing of how long one takes."""


@dataclass(frozen=True, slots=True)
class PastSteps:
    """Reads which results are stored."""

    table: Table

    def stored(self, key: str, first: Position, last: Position) -> dict[Position, Stored]:
        """Tell which steps have results, of any generation, for the events from `first` through `last`."""
        steps: dict[Position, set[str]] = {}
        times: dict[tuple[Position, int], list[int]] = {}
        for stored in results_of(self.table, key, first, last):
            for one in stored.results:
                steps.setdefault(one.position, set()).add(stored.step)
                times.setdefault((one.position, stored.generation), []).extend((one.began_at_ms, one.ended_at_ms))
        took_ms: dict[Position, int] = {}
        for (place, _), found in times.items():
            took_ms[place] = max(took_ms.get(place, 0), min(max(found) - min(found), _RUN_MS_MAX))
        return {
            place: Stored(frozenset(names), took_ms[place]) for place, names in steps.items() if first <= place <= last
        }

    def reach(self, key: str, last: Position) -> Position:
        """Tell where the last item stands that may hold a result of an event at `last` or before."""
        return max((stored.last.position for stored in results_of(self.table, key, last, last)), default=last)
