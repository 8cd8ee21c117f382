"""Whether effects came in order, each once: judged from the ledger that the workers wrote. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.workload import STEPS, BenchEvent


@dataclass(frozen=True, slots=True)
class Effect:
    """What a worker did: the `turn`-th effect of its key, for the key's `number`-th event."""

    key: str
    turn: int
    number: int
    step: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the effects of a run stand to its events."""

    missing: int
    """Effects that should be there and aren't."""
    repeated: int
    """Effects beyond the first of a step of an event."""
    disordered: int
    """Effects that came before one of an earlier event of their key: of any step."""
    disordered_in_step: int
    """The same, of their own step only: what a run of several events promises."""

    @property
    def word(self) -> str:
        """The verdict for a table."""
        if self.missing or self.repeated:
            return f"BROKEN: {self.missing} missing, {self.repeated} repeated"
        if not self.disordered:
            return "every event"
        return "by step only" if not self.disordered_in_step else f"no: {self.disordered_in_step} out of order"


def judge(sent: Iterable[BenchEvent], effects: Iterable[Effect]) -> Verdict:
    """Compare what was sent with what was done."""
    wanted = {(event.key, event.number, step) for event in sent for step in STEPS}
    by_key: defaultdict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        by_key[effect.key].append(effect)
    done = Counter((effect.key, effect.number, effect.step) for found in by_key.values() for effect in found)
    disordered = disordered_in_step = 0
    for found in by_key.values():
        found.sort(key=lambda effect: effect.turn)
        disordered += _behind([effect.number for effect in found])
        disordered_in_step += sum(_behind([e.number for e in found if e.step == step]) for step in STEPS)
    return Verdict(
        missing=len(wanted - done.keys()),
        repeated=sum(done.values()) - len(done),
        disordered=disordered,
        disordered_in_step=disordered_in_step,
    )


def _behind(numbers: Sequence[int]) -> int:
    """Count the numbers that come behind a higher one."""
    highest, count = -1, 0
    for number in numbers:
        count += number < highest
        highest = max(highest, number)
    return count
