"""When the functions that come by themselves last came: what `keyturn status` and `keyturn doctor` look at."""

from collections.abc import Mapping
from dataclasses import dataclass

from keyturn.adapters.controls import PARTITION
from keyturn.adapters.table import Item, Table


@dataclass(frozen=True, slots=True)
class Passes:
    """Notes each whole pass of a function, over the one before."""

    table: Table

    def record(self, name: str, began_at_ms: int, ended_at_ms: int, figures: Mapping[str, int]) -> None:
        """Note a pass of the function `name`, with what it found."""
        place = {"pk": PARTITION, "sk": name}
        self.table.put({**place, "at_ms": began_at_ms, "ended_at_ms": ended_at_ms, **figures})

    def last(self, name: str) -> Item | None:
        """Return the last pass of a function; None if it never came."""
        return self.table.get(PARTITION, name)
