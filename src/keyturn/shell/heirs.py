"""Keys that wait for a slot, in the order in which one that is given up is offered to them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from keyturn.errors import Throttled
from keyturn.shell.platform import Platform
from keyturn.shell.side_by_side import leave

HANDS_MAX: Final = 4
"""Waiting keys that a freed slot is offered to before it is left to the watchdog."""
_REACH_MAX: Final = 40
_SLOTS_A_REACH: Final = 8
"""Those are picked among so many of a bucket's oldest: one for so many slots. With thousands of slots hundreds of runs
end while one key is claimed, and who reaches for the same four finds them taken. Forty entries are read for what four
cost, half a read unit."""


@dataclass(slots=True)
class Heirs:
    """Reads the waiting keys as they are asked for; the first may be looked up before the slot is given up."""

    platform: Platform
    first: str = ""
    """The one that was looked up; empty while none was."""
    _others: Iterator[str] | None = None

    def look_up(self) -> str:
        """Return the first of them; empty if nobody waits, or where that can't be told."""
        if not self.first and self.platform.capacity.somebody_waits(self.platform.clock()):
            try:
                self.first = next(self._read(), "")
            except Throttled as error:
                self._others = None  # what was refused is asked for again, or keys that wait would pass for none
                leave(error)  # the run that ends has nothing to do with it
        return self.first

    def __iter__(self) -> Iterator[str]:
        """Yield all that the slot may be offered to."""
        if self.first:
            yield self.first
        yield from self._read()

    def _read(self) -> Iterator[str]:
        if self._others is None:
            reach = min(_REACH_MAX, max(HANDS_MAX, self.platform.settings.max_in_flight_runs // _SLOTS_A_REACH))
            found = islice(self.platform.index.some_waiting(reach), HANDS_MAX)
            self._others = (entry.key for entry in found)
        return self._others
