"""What a seed comes to: who puts what when, what goes wrong, and how AWS behaves where it leaves that open.

A scenario is data, so that a failing one can be made smaller piece by piece, and told. What no scenario names (which of
two calls comes first, how long each takes) its seed decides as the simulation runs.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

KINDS: Final = ("standard", "standard", "express", "batch", "skip", "behind")
"""Event types, by what the routes of `tests.shell.world` make of them."""


class Doing(StrEnum):
    """What a worker does with an event, the first time or always."""

    WELL = ""
    SLOW = "slow"
    """Takes nearly all of its Lambda's time."""
    FAILS_ONCE = "fails once"
    FAILS = "fails"
    PERMANENT = "permanent"
    HANGS_ONCE = "hangs once"
    HANGS = "hangs"
    LATE_ONCE = "late once"
    """Its Lambda starts so late that its task has timed out: a zombie, which then works."""
    KILLED_ONCE = "killed once"
    """Its process dies in the middle."""


class CallFault(StrEnum):
    """What goes wrong at a call to AWS."""

    DIES_BEFORE = "dies before"
    DIES_AFTER = "dies after"
    LOSES_ANSWER = "its answer is lost"
    SENT_TWICE = "its answer is lost and the SDK sends it again"
    THROTTLED = "is throttled"
    LATE = "reaches AWS late"
    SLOW_ANSWER = "is answered late"


class Trouble(StrEnum):
    """What goes wrong apart from single calls, at a time."""

    DELIVERED_TWICE = "a batch is delivered twice"
    OVERLAPPING = "a batch is delivered again while its first delivery is at work"
    SET_ASIDE = "a record is set aside, and redriven later"
    RESHARD = "the shards are split or merged"
    NO_WATCHDOG = "the watchdog is missing for an hour"
    ABORTED = "an execution is aborted"
    STARTED_TWICE = "Express executions start twice for a while"
    THROTTLED_STARTS = "StartExecution is throttled for a while"
    LOST_MESSAGES = "wake-up messages and status changes are lost for a while"
    NO_INVOKES = "Lambda throttles invocations for a while"
    A_YEAR = "half a year passes"


class Order(StrEnum):
    """What an operator asks for."""

    HOLD = "hold-key"
    RELEASE = "release-key"
    HOLD_ROUTE = "hold-route"
    RELEASE_ROUTE = "release-route"
    RESUME = "resume"
    RESUME_FRESH = "resume afresh"
    SKIP = "skip"
    REPLAY = "replay"
    REPLAY_FRESH = "replay afresh"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Record:
    """A record that is put."""

    at_ms: int
    key: str
    kind: str
    """Empty for one that is no event."""
    doing: Doing = Doing.WELL
    sends_again: bool = False
    """Its producer sends it again, as a record of its own."""


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault of the so-many-th call to AWS."""

    call: int
    fault: CallFault


@dataclass(frozen=True, slots=True)
class Happening:
    """A trouble at a time."""

    at_ms: int
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class Asked:
    """An operator's command at a time."""

    at_ms: int
    order: Order
    key: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """One simulation, whole."""

    seed: int
    records: tuple[Record, ...]
    struck: tuple[Struck, ...] = ()
    happenings: tuple[Happening, ...] = ()
    asked: tuple[Asked, ...] = ()
    skews_ms: int = 0
    """How far clocks are apart at most."""
    index_lag_ms: int = 0
    shards: int = 1
    parallel: int = 1
    """Batches of a shard that are at work at once, by key (ParallelizationFactor)."""
    batch: int = 10
    slots: int = 3
    quantum: int = 2
    partial: float = 0.0
    """How often a batch of items is done in part, and a page is short."""

    @property
    def faults(self) -> int:
        """How many things go wrong."""
        misdoings = sum(record.doing is not Doing.WELL for record in self.records)
        return len(self.struck) + len(self.happenings) + misdoings + (self.skews_ms > 0) + (self.index_lag_ms > 0)


_DOINGS: Final = (*(Doing.WELL,) * 9, *Doing)
_CALLS: Final = 60
"""About how many calls to AWS an event takes; faults strike within so many of each."""


def scenario_of(seed: int) -> Scenario:
    """Make the scenario of a seed: always five events or more, two keys or more, and something that goes wrong."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, no secret
    keys = [f"k{number}" for number in range(chance.choice((2, 2, 3, 4)))]
    records = _records(chance, keys)
    until_ms = records[-1].at_ms + 20_000
    many = chance.choice((1, 1, 2, 3, 6))
    return Scenario(
        seed=seed,
        records=records,
        struck=tuple(
            Struck(chance.randrange(1, _CALLS * len(records)), chance.choice(list(CallFault))) for _ in range(many)
        ),
        happenings=tuple(
            Happening(chance.randrange(until_ms), chance.choice(list(Trouble)))
            for _ in range(chance.choice((0, 0, 1, 1, 2)))
        ),
        asked=_asked(chance, keys, until_ms),
        skews_ms=chance.choice((0, 0, 400)),
        index_lag_ms=chance.choice((0, 50, 2_000, 20_000)),
        shards=chance.choice((1, 1, 2)),
        parallel=chance.choice((1, 1, 2)),
        batch=chance.choice((1, 3, 10)),
        slots=chance.choice((1, 2, 10)),
        quantum=chance.choice((1, 3)),
        partial=chance.choice((0.0, 0.0, 0.1)),
    )


def _records(chance: random.Random, keys: list[str]) -> tuple[Record, ...]:
    at_ms, records = 0, []
    count = chance.randrange(5, 10)
    for number in range(count):
        at_ms += chance.choice((0, 0, 5, 200, 4_000))
        kind = chance.choice(KINDS) if chance.random() < 0.95 else ""
        key = keys[number] if number < len(keys) else chance.choice(keys)
        records.append(Record(at_ms, key, kind, chance.choice(_DOINGS), sends_again=chance.random() < 0.1))
    return tuple(records)


def _asked(chance: random.Random, keys: list[str], until_ms: int) -> tuple[Asked, ...]:
    count = chance.choice((0, 0, 0, 1, 2, 4))
    return tuple(
        Asked(chance.randrange(until_ms * 2), chance.choice(list(Order)), chance.choice(keys)) for _ in range(count)
    )
