"""How many runs are in flight, counted from the index at most once a second by one and stored for all.

Between two counts, whoever takes slots adds them to the stored figure, so that two dispatchers don't spend the same
free slots twice. A figure that is wrong (a taker died) lasts a second, until the next count: nothing can leak.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from keyturn.adapters.index import DueIndex
from keyturn.adapters.table import ItemExists, Table
from keyturn.core.state import Queue
from keyturn.errors import Throttled

_PLACE: Final = ("capacity", "runs")
_COUNT_EVERY_MS: Final = 1_000

_TAKEN_SLOTS_SHOW_MS: Final = 500
"""How long after slots were taken their runs may be missing from the index: a count before would give them twice."""

_TAKES_MAX: Final = 3
"""Times that slots are taken of which others took some since they were counted."""

_NOBODY_WAITS_MS: Final = 500
"""How long it is believed that no key waits, without asking: each run that ends would pay a read for it. A slot that is
dropped in that time is looked for two seconds after the dispatcher let a key wait."""
_NOBODY_WAITS_MS_A_RUN: Final = 0.1
_NOBODY_WAITS_MS_MAX: Final = 1_000
"""The same by the runs in flight, where they are many: each ends in one of thousands of processes, and all of these ask
for one item, whose partition takes 3,000 reads a second (DynamoDB Developer Guide, "Burst and adaptive capacity"). Its
most and the age of a count together are no longer than those two seconds: a slot that is dropped later would lie idle
until the watchdog's next pass, should no other run end."""
_SOMEBODY_WAITS_MS: Final = 250
_SOMEBODY_WAITS_MS_A_RUN: Final = 0.25
_SOMEBODY_WAITS_MS_MAX: Final = 1_000
"""How long it is believed that keys wait. Where none does any more, a process looks for one in vain, once."""


def nobody_waits_ms(running: float) -> float:
    """How long a process believes that no key waits, with so many runs in flight."""
    return max(_NOBODY_WAITS_MS, min(_NOBODY_WAITS_MS_MAX, running * _NOBODY_WAITS_MS_A_RUN))


def somebody_waits_ms(running: float) -> float:
    """How long a process believes that keys wait, with so many runs in flight."""
    return max(_SOMEBODY_WAITS_MS, min(_SOMEBODY_WAITS_MS_MAX, running * _SOMEBODY_WAITS_MS_A_RUN))


@dataclass(frozen=True, slots=True)
class Load:
    """Keys that are running, and keys that wait for a slot."""

    running: int
    waiting: int
    """Counted up to one more than there are slots: no more can be started, and a long queue would cost its length."""
    is_fresh: bool = field(default=False, compare=False)
    """Counted by who asks, just now."""

    @property
    def believed_ms(self) -> float:
        """How long a process goes by these figures without asking again."""
        return somebody_waits_ms(self.running) if self.waiting else nobody_waits_ms(self.running)


@dataclass(slots=True)
class Capacity:
    """The slots of one stack."""

    table: Table
    index: DueIndex
    max_in_flight_runs: int
    _known: Load | None = None
    _known_at_ms: int = 0

    def load(self, now_ms: int) -> Load:
        """Return the stored figures; counts anew when they are older than a second."""
        return self._load(now_ms, slots=0)

    def _load_if_waiting(self, now_ms: int) -> Load | None:
        """Return the figures if keys wait for a slot: those that are known while they may be believed."""
        known = self._known
        if known is None or not 0 <= now_ms - self._known_at_ms < known.believed_ms:
            known = self.load(now_ms)
        return known if known.waiting else None

    def _load(self, now_ms: int, slots: int) -> Load:
        """Return the stored figures for somebody who asks for so many slots; counts anew when they can't be right."""
        item = self.table.get(*_PLACE) or {}
        stored = Load(item.get("running", 0), item.get("waiting", 0))
        counted_at_ms = item.get("counted_at_ms", 0)
        # A count from the future too is old: by a clock that is ahead, it would stand until then.
        is_recent = abs(now_ms - counted_at_ms) < _COUNT_EVERY_MS
        is_settled = abs(now_ms - item.get("taken_at_ms", 0)) >= _TAKEN_SLOTS_SHOW_MS
        # While nobody waits, a run that ends leaves the figures alone: slots may be free though none is by them.
        lacks_slots = min(slots, self.max_in_flight_runs) > self.max_in_flight_runs - stored.running
        may_hide_slots = lacks_slots and stored.waiting == 0 and is_settled
        is_believed = is_recent and not may_hide_slots
        found = self._count() if not is_believed and self._may_count(counted_at_ms, now_ms) else stored
        self._known, self._known_at_ms = replace(found, is_fresh=False), now_ms
        return found

    def _count(self) -> Load:
        counted = Load(
            running=self.index.count(Queue.RUNNING),
            waiting=self.index.count_up_to(self.max_in_flight_runs + 1, Queue.WAITING),
            is_fresh=True,
        )
        self._update(
            "SET running = :running, waiting = :waiting", None, running=counted.running, waiting=counted.waiting
        )
        return counted

    def take(self, wanted: int, now_ms: int, at_most: int | None = None) -> int:
        """Take up to `wanted` slots, `at_most` of them; return how many there were. The rest is noted as waiting."""
        if wanted == 0:
            return 0
        asked = wanted if at_most is None else min(wanted, at_most)
        granted = max(0, min(asked, self.max_in_flight_runs - self._load(now_ms, asked).running))
        granted = self._take(granted, now_ms, wanted)
        if granted == 0:
            self._update("ADD waiting :waiting", None, waiting=wanted)
        if granted < wanted:
            self._known = None
        return granted

    def may_keep(self, now_ms: int, *, has_had_its_turn: bool) -> bool:
        """Whether a run that ends may be followed by its key's next one: a key that had its turn yields to others."""
        return not has_had_its_turn or not self.somebody_waits(now_ms)

    def somebody_waits(self, now_ms: int) -> bool:
        """Whether keys wait for a slot. None does where that can't be told: a busy item keeps no run from ending."""
        try:
            return self._load_if_waiting(now_ms) is not None
        except Throttled:
            return False

    def hand_on(self, now_ms: int) -> int | None:
        """Return how many waiting keys may start now that a slot was given up; None if no key waits.

        Zero if too many runs are in flight: then this slot goes, and only as many others as are too many. Two if a slot
        was lost before.
        """
        load = self._load_if_waiting(now_ms)
        if load is None:
            return None
        # A count of just now leaves the run out that gave its slot up, or has it still: the index lags behind.
        left_out = 1 if load.is_fresh and load.running < self.max_in_flight_runs else 0
        running = load.running + left_out
        if running > self.max_in_flight_runs and (load.is_fresh or self._drop_one()):
            return 0
        has_lost_one = running < self.max_in_flight_runs and load.waiting > 1
        more = left_out + (1 if has_lost_one else 0)
        if more:
            self._known = None
        return 1 - left_out + self._take(more, now_ms)

    def offer(self, now_ms: int) -> int:
        """Return how many keys that wait may start by the figures. Their slots aren't taken by that."""
        load = self.load(now_ms)
        return max(0, min(load.waiting, self.max_in_flight_runs - load.running))

    def take_offered(self, found: int, offered: int, now_ms: int) -> int:
        """Take slots for the keys that were found to wait, at most `offered`; return how many there were."""
        taken = self._take(found, now_ms)
        if taken == found < offered:
            self.give_back_unwanted(0)
        return taken

    def give_back_unwanted(self, slots: int) -> None:
        """Return slots that nobody waits for, and note that: until the next count, a new key would wait too.

        Not if fewer are taken by now: then runs were counted since, and those slots were free already.
        """
        self._known = None
        self._update("SET waiting = :none ADD running :less", "running >= :slots", none=0, less=-slots, slots=slots)

    def _drop_one(self) -> bool:
        self._known = None
        return self._update("ADD running :less", "running > :most", less=-1, most=self.max_in_flight_runs)

    def _take(self, asked: int, now_ms: int, wanted: int = 0) -> int:
        """Take as many of the slots asked for as there are; return how many.

        What is wanted besides is noted as waiting, unless there are none.
        """
        for _ in range(_TAKES_MAX):
            if asked <= 0:
                break
            try:
                self.table.update(
                    _PLACE,
                    "SET taken_at_ms = :now ADD running :granted, waiting :left",
                    "running <= :most",
                    {
                        "granted": asked,
                        "left": max(0, wanted - asked),
                        "now": now_ms,
                        "most": self.max_in_flight_runs - asked,
                    },
                    returns_item=False,
                )
            except ItemExists as refused:
                asked = min(asked, self.max_in_flight_runs - refused.item.get("running", 0))
            else:
                return asked
        return 0

    def _may_count(self, counted_at_ms: int, now_ms: int) -> bool:
        """Win the right to count: only one of those who saw the same old figure does."""
        condition = "counted_at_ms = :old" if counted_at_ms else "attribute_not_exists(counted_at_ms)"
        old = {"old": counted_at_ms} if counted_at_ms else {}
        return self._update("SET counted_at_ms = :now", condition, now=now_ms, **old)

    def _update(self, expression: str, condition: str | None, **values: int) -> bool:
        try:
            self.table.update(_PLACE, expression, condition, values, returns_item=False)
        except ItemExists:
            return False
        return True
