"""What a process has besides AWS: a clock, rest, chance, and hands that work side by side.

Everything that isn't a call to AWS and yet differs from one run to the next goes through here, so that a simulation
can decide it.
"""

import random
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final, Protocol, TypeVar

from keyturn.core.state import Clock

_T = TypeVar("_T")
_R = TypeVar("_R")


class SideBySide(Protocol):
    """Does something for each of some subjects, so many of them at a time, and returns what came of it, in order."""

    def __call__(self, hands: int, do: Callable[[_T], _R], subjects: Iterable[_T], /) -> list[_R]:
        """Raise what the first of them raised, once all have ended."""


def now_ms() -> int:
    """Tell the time in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def on_threads(hands: int, do: Callable[[_T], _R], subjects: Iterable[_T], /) -> list[_R]:
    """Do something for each subject, on threads of this process."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - workers never do, and start faster without it

    with ThreadPoolExecutor(hands) as threads:
        return list(threads.map(do, subjects))


@dataclass(frozen=True, slots=True)
class Process:
    """One process, as the shell and the adapters see it."""

    clock: Clock = now_ms
    sleep: Callable[[float], None] = time.sleep
    """Waits so many seconds."""
    chance: random.Random = field(default_factory=random.Random)
    """Spreads load; no secret comes from it."""
    side_by_side: SideBySide = on_threads
    new_lock: Callable[[], AbstractContextManager[Any]] = Lock

    def rest(self, most_s: float) -> None:
        """Wait for at most so long: full jitter."""
        self.sleep(self.chance.uniform(0, most_s))

    def token(self) -> str:
        """Return 32 hexadecimal digits that nobody else comes by."""
        return f"{self.chance.getrandbits(128):032x}"


THIS: Final = Process()
"""The process that this is."""
