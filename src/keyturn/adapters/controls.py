"""What keeps routes from starting runs: holds that people set, and open circuit breakers.

All of it stands in one small partition, which every function reads at most once a second: a hold takes effect within
that second, and costs a run nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from keyturn.adapters.table import Item, Table
from keyturn.core.route import Route
from keyturn.core.state import Clock

PARTITION: Final = "control"
HOLD_EVERYTHING: Final = "hold#everything"
HOLD_ROUTE: Final = "hold#route#"

_READ_EVERY_MS: Final = 1_000


@dataclass(slots=True)
class Controls:
    """Reads the controls of one stack."""

    table: Table
    clock: Clock
    _items: Mapping[str, Item] = field(default_factory=dict)
    _read_at_ms: int = 0

    def holds(self, route: Route | None) -> bool:
        """Whether no run of a route may start now. What has no route isn't held: its key is parked with that reason."""
        if route is None:
            return False
        items = self._fresh()
        return any(_is_held(items.get(name)) for name in (HOLD_EVERYTHING, HOLD_ROUTE + route.name))

    def _fresh(self) -> Mapping[str, Item]:
        now_ms = self.clock()
        if now_ms - self._read_at_ms >= _READ_EVERY_MS:
            self._items = self.read()
            self._read_at_ms = now_ms
        return self._items

    def read(self) -> Mapping[str, Item]:
        """Read all controls, by their sort key, strongly consistent."""
        arguments = {"KeyConditionExpression": "pk = :pk", "ConsistentRead": True}
        return {item["sk"]: item for item in self.table.query(arguments, {"pk": PARTITION})}


def _is_held(item: Item | None) -> bool:
    return item is not None and item["status"] == "held"
