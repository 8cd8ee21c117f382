"""Order: within a key, events have their effects in stream order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar

from keyturn_cli.guarantees.history import Effect, History, Violation, short


class Order:
    """Every effect of a run comes before every effect of the next run of its key, whatever the step.

    Numbers are events of one key, letters are steps, in the order in which workers wrote them.

    Allowed:    1a 1b 2a 2b      one after the other
                1b 1a 2b 2a      the steps of one event run side by side
                1a 2a 1b 2b      if 1 and 2 are of one run (a route that batches): in order within each step
                1a 2a 1'a 2'a    a replay does finished steps again (a generation of their own, with its own order)
    Forbidden:  1a 2a 1b 2b      else: 2 began before 1 was done
                2a 2b 1a 1b      an event overtook another
                2a 1a 1b 2b      within a step too, batch or not
    """

    promise: ClassVar = "order"

    def check(self, history: History) -> Iterator[Violation]:
        """Yield the first violation of each key."""
        for key, effects in history.by_key.items():
            generations = sorted({effect.generation for effect in effects})
            passes = ([effect for effect in effects if effect.generation == one] for one in generations)
            for what in (what for effects_of_pass in passes for what in self._violations(effects_of_pass)):
                yield Violation(self.promise, key, what)
                break

    def proof(self, history: History) -> str:
        """Say what was compared."""
        return f"{len(history.effects):,} effects on {len(history.by_key):,} keys came in stream order"

    def _violations(self, effects: Sequence[Effect]) -> Iterator[str]:
        run_of = _runs(effects)
        for before, after in pairwise(effects):
            if run_of[after.fence] < run_of[before.fence]:
                yield _told(before, after)
        latest: dict[str, Effect] = {}
        for effect in effects:
            before_it = latest.get(effect.step)
            if before_it is not None and effect.place.position < before_it.place.position:
                yield _told(before_it, effect)
            latest[effect.step] = effect


def _runs(effects: Sequence[Effect]) -> dict[int, int]:
    """Number the runs of a key in stream order, by the fences of their attempts.

    A run keeps its slice of the log over all its attempts, so attempts whose events overlap are of one run.
    """
    positions: dict[int, list[str]] = defaultdict(list)
    for effect in effects:
        positions[effect.fence].append(effect.place.position)
    spans = sorted((min(found), max(found), fence) for fence, found in positions.items())
    run_of: dict[int, int] = {}
    number, end = -1, ""
    for first, last, fence in spans:
        if first > end:
            number += 1
        end = max(end, last)
        run_of[fence] = number
    return run_of


def _told(before: Effect, after: Effect) -> str:
    return (
        f"{after.step} of event {after.event_id} (at {short(after.place.position)}) took effect as number {after.turn},"
        f" after {before.step} of the later event {before.event_id} (number {before.turn})"
    )
