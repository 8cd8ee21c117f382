"""Virtual time, and functions that run side by side in it: one thread, and one seed that decides who goes first.

A strand is a function that can pause in the middle. While it pauses, others run; nothing happens between two pauses
of a strand that another one could see half done.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from types import TracebackType
from typing import Any, Protocol, TypeVar

from greenlet import getcurrent, greenlet

_T = TypeVar("_T")
_R = TypeVar("_R")


class Owner(Protocol):
    """Whose strands die with it: an invocation of a function."""

    is_dead: bool


class Killed(BaseException):
    """The process of a strand is gone: no `except Exception` of what it ran sees that."""


class Strand(greenlet):  # type: ignore[misc]
    """A function under way."""

    owner: Owner | None = None


class Hub:
    """The clock, and what is to happen by it."""

    def __init__(self, chance: random.Random, now_ms: int) -> None:
        """Begin at `now_ms`."""
        self.chance, self.now_ms = chance, now_ms
        self._queue: list[tuple[int, float, int, Callable[[], object]]] = []
        self._number = 0
        self._main = getcurrent()

    def after(self, delay_ms: int, do: Callable[[], object]) -> None:
        """Do something so much later; what falls together comes in random order."""
        self._number += 1
        heappush(self._queue, (self.now_ms + delay_ms, self.chance.random(), self._number, do))

    def step(self) -> None:
        """Do what comes next."""
        self.now_ms, _, _, do = heappop(self._queue)
        do()

    def leap(self, by_ms: int) -> None:
        """Let time pass in which nothing happens; what is to come comes as much later."""
        self.now_ms += by_ms
        self._queue = [(at_ms + by_ms, tie, number, do) for at_ms, tie, number, do in self._queue]

    def spawn(self, do: Callable[[], object], owner: Owner | None = None, delay_ms: int = 0) -> None:
        """Run a function as a strand; one that is killed just ends."""

        def run() -> None:
            try:
                do()
            except Killed:
                if owner is None:
                    raise

        strand = Strand(run, self._main)
        strand.owner = owner
        self.after(delay_ms, strand.switch)

    def pause(self, delay_ms: int) -> None:
        """Let others run for so long; raises Killed when the strand's owner died meanwhile."""
        strand = getcurrent()
        assert isinstance(strand, Strand), "only a strand can pause"
        self.after(delay_ms, strand.switch)
        self._main.switch()
        if strand.owner is not None and strand.owner.is_dead:
            raise Killed

    def side_by_side(self, hands: int, do: Callable[[_T], _R], subjects: Iterable[_T], /) -> list[_R]:
        """Do something for each subject, so many at a time, as `keyturn.adapters.process` has it done on threads."""
        things = list(subjects)
        if len(things) < 2:
            return [do(thing) for thing in things]
        caller = getcurrent()
        assert isinstance(caller, Strand), "only a strand works side by side"
        left = iter(range(len(things)))
        done: dict[int, _R] = {}
        failed: dict[int, BaseException] = {}
        working = min(hands, len(things))

        def work() -> None:
            nonlocal working
            for number in left:
                try:
                    done[number] = do(things[number])
                except Killed:
                    break
                except BaseException as error:  # noqa: BLE001 - handed to the caller, as threads do
                    failed[number] = error
            working -= 1
            if working == 0:
                self.after(0, caller.switch)

        for _ in range(working):
            self.spawn(work, caller.owner)
        self._main.switch()
        if caller.owner is not None and caller.owner.is_dead:
            raise Killed
        for number in sorted(failed):
            raise failed[number]
        return [done[number] for number in range(len(things))]

    def new_lock(self) -> Lock:
        """Make a lock for strands."""
        return Lock(self)


class Lock:
    """Lets one strand in at a time."""

    def __init__(self, hub: Hub) -> None:
        """Be open."""
        self._hub, self._is_held = hub, False

    def __enter__(self) -> None:
        """Wait until it is open, and close it."""
        while self._is_held:
            self._hub.pause(1)
        self._is_held = True

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Open it."""
        self._is_held = False


def owner() -> Any:
    """Return the owner of the strand that runs."""
    strand = getcurrent()
    return strand.owner if isinstance(strand, Strand) else None
