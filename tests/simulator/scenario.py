"""What a seed comes to: who puts what when, what goes wrong, and how AWS behaves where it leaves that open.

A scenario is data, so that a failing one can be made smaller piece by piece, and told. What no scenario names (which of
two calls comes first, how long each takes) its seed decides as the simulation runs.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

KINDS: Final = ("standard", "standard", "express", "nested", "batch", "skip", "behind")
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
    LATE = "late at times"
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
    LOST_ANSWERS = "some answers of workers and sequencers are lost for a while"
    NO_INVOKES = "Lambda throttles invocations for a while"
    LOST = "an Express execution loses its state, and begins anew"
    CALLED_AGAIN = "sequencers are called again with the same input, up to minutes later, for a while"
    FROM_THE_START = "the stream is read from its beginning again"
    DEPLOYED = "the routes get other kinds, batches, attempts and policies"
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
    CANARY = "release-canary"
    PROMOTE = "release-promote"
    ROLL_BACK = "release-rollback"


_ON_RELEASES: Final = (Order.CANARY, Order.PROMOTE, Order.ROLL_BACK)


class Tempo(StrEnum):
    """How long tasks, executions and runs may take."""

    SAMPLE = "the sample's timeouts"
    BRISK = "short timeouts"
    """So short that retries come near the run's deadline."""


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
    """A fault of the so-many-th call to AWS, or of the so-many-th of one name."""

    number: int
    fault: CallFault
    call: str = ""


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
    once_parked: bool = False
    """Not at its time, but as soon as the key is parked."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One simulation, whole."""

    seed: int
    records: tuple[Record, ...]
    struck: tuple[Struck, ...] = ()
    happenings: tuple[Happening, ...] = ()
    asked: tuple[Asked, ...] = ()
    tempo: Tempo = Tempo.SAMPLE
    skews_ms: int = 0
    """How far clocks are apart at most."""
    index_lag_ms: int = 0
    shards: int = 1
    parallel: int = 1
    """Batches of a shard that are at work at once, by key (ParallelizationFactor)."""
    batch: int = 10
    slots: int = 3
    quantum: int = 2
    has_releases: bool = False
    """Whether two releases are published, the first of which is stable."""
    is_bad: bool = False
    """Whether the workers of the second release fail."""
    partial: float = 0.0
    """How often a batch of items is done in part, and a page is short."""

    @property
    def troubles(self) -> int:
        """How many things go wrong apart from calls to AWS."""
        misdoings = sum(record.doing is not Doing.WELL for record in self.records)
        return len(self.happenings) + misdoings + (self.skews_ms > 0) + (self.index_lag_ms > 0)


_DOINGS: Final = (*(Doing.WELL,) * 9, *Doing)
_CALLS: Final = 30
"""About how many calls to AWS an event takes; faults strike within so many of each."""
_WRITES: Final = ("put_item", "put_item", "transact_write_items", "start_execution", "batch_write_item", "update_item")
"""Calls that change something: half of the faults strike at these."""


def scenario_of(seed: int, events: int = 5) -> Scenario:
    """Make the scenario of a seed: so many events or more, two keys or more, and something that goes wrong.

    Half of them are of one of three kinds in which faults that matter together come together.
    """
    chance = random.Random(seed)  # noqa: S311 - reproducible, no secret
    make = chance.choice((_anything, _anything, _anything, _crowd, _doubled, _hurry))
    return make(chance, seed, events)


def _anything(chance: random.Random, seed: int, events: int) -> Scenario:
    keys = [f"k{number}" for number in range(chance.choice((2, 2, 3, 4)))]
    records = _records(chance, keys, events)
    until_ms = records[-1].at_ms + 20_000
    many = chance.choice((1, 1, 2, 3, 6)) * (events // 5)
    has_releases = chance.random() < 0.25
    return Scenario(
        seed=seed,
        records=records,
        struck=tuple(_struck(chance, len(records)) for _ in range(many)),
        happenings=tuple(
            Happening(chance.choice((0, chance.randrange(until_ms))), chance.choice(list(Trouble)))
            for _ in range(chance.choice((0, 0, 1, 2, 3)))
        ),
        asked=_asked(chance, keys, until_ms, has_releases=has_releases),
        has_releases=has_releases,
        is_bad=has_releases and chance.random() < 0.5,
        tempo=chance.choice(list(Tempo)),
        skews_ms=chance.choice((0, 0, 400)),
        index_lag_ms=chance.choice((0, 50, 2_000, 20_000)),
        shards=chance.choice((1, 1, 2)),
        parallel=chance.choice((1, 1, 2)),
        batch=chance.choice((1, 3, 10)),
        slots=chance.choice((1, 2, 10)),
        quantum=chance.choice((1, 3)),
        partial=chance.choice((0.0, 0.0, 0.1)),
    )


def _crowd(chance: random.Random, seed: int, events: int) -> Scenario:
    """Make events of few keys come at once, while dispatchers die between their writes."""
    base = _anything(chance, seed, events)
    kind = chance.choice(("batch", "batch", "standard"))
    gaps = (0, 0, 60, 300)
    records = _retimed(chance, base.records, gaps, lambda record: replace(record, kind=kind))
    faults = (CallFault.DIES_BEFORE, CallFault.DIES_AFTER, CallFault.THROTTLED)
    struck = tuple(
        Struck(chance.randrange(1, 5), chance.choice(faults), chance.choice(("put_item", "batch_write_item")))
        for _ in range(3)
    )
    happenings = (Happening(0, chance.choice((Trouble.SET_ASIDE, Trouble.OVERLAPPING, Trouble.DELIVERED_TWICE))),)
    return replace(base, records=records, struck=struck, happenings=happenings, slots=10, batch=chance.choice((2, 10)))


def _doubled(chance: random.Random, seed: int, events: int) -> Scenario:
    """Make Express executions start twice while Lambda throttles."""
    base = _anything(chance, seed, events)
    doings = (Doing.WELL, Doing.SLOW, Doing.LATE, Doing.FAILS_ONCE)
    records = tuple(replace(one, kind="express", doing=chance.choice(doings)) for one in base.records)
    throttled_ms = chance.randrange(500, 6_000)
    happenings = (Happening(0, Trouble.STARTED_TWICE), Happening(throttled_ms, Trouble.NO_INVOKES))
    return replace(base, records=records, happenings=happenings)


def _hurry(chance: random.Random, seed: int, events: int) -> Scenario:
    """Make everything late, and its time short."""
    base = _anything(chance, seed, events)
    doings = (Doing.SLOW, Doing.LATE, Doing.LATE_ONCE, Doing.FAILS_ONCE, Doing.HANGS_ONCE)
    records = tuple(replace(one, doing=chance.choice(doings)) for one in base.records)
    happenings = (*base.happenings, Happening(chance.randrange(8_000), Trouble.THROTTLED_STARTS))
    asked = tuple(
        Asked(chance.randrange(1, 1_500), chance.choice((Order.RESUME, Order.SKIP)), key, once_parked=True)
        for key in sorted({record.key for record in records})
    )
    return replace(base, records=records, happenings=happenings, asked=asked, tempo=Tempo.BRISK)


def _retimed(
    chance: random.Random, records: tuple[Record, ...], gaps: tuple[int, ...], change: Callable[[Record], Record]
) -> tuple[Record, ...]:
    at_ms, found = 0, []
    for record in records:
        at_ms += chance.choice(gaps)
        found.append(replace(change(record), at_ms=at_ms))
    return tuple(found)


def _struck(chance: random.Random, records: int) -> Struck:
    if chance.random() < 0.5:
        return Struck(chance.randrange(1, _CALLS * records), chance.choice(list(CallFault)))
    return Struck(chance.randrange(1, 2 * records), chance.choice(list(CallFault)), chance.choice(_WRITES))


def _records(chance: random.Random, keys: list[str], events: int) -> tuple[Record, ...]:
    at_ms, records = 0, []
    kinds = chance.choice((KINDS, KINDS, ("batch",), ("express",)))
    count = chance.randrange(events, 2 * events)
    for number in range(count):
        at_ms += chance.choice((0, 0, 5, 200, 4_000))
        kind = chance.choice(kinds) if chance.random() < 0.95 else ""
        key = keys[number] if number < len(keys) else chance.choice(keys)
        records.append(Record(at_ms, key, kind, chance.choice(_DOINGS), sends_again=chance.random() < 0.1))
    return tuple(records)


def _asked(chance: random.Random, keys: list[str], until_ms: int, *, has_releases: bool) -> tuple[Asked, ...]:
    count = chance.choice((0, 0, 0, 1, 2, 4))
    orders = [order for order in Order if order not in _ON_RELEASES]
    rollout = [Order.CANARY, *(chance.choice(_ON_RELEASES) for _ in range(2))] if has_releases else []
    return (
        tuple(Asked(chance.randrange(until_ms // 2), order, "") for order in rollout)
        + tuple(Asked(chance.randrange(until_ms * 2), chance.choice(orders), chance.choice(keys)) for _ in range(count))
        + tuple(
            Asked(chance.randrange(1, 3_000), chance.choice((Order.RESUME, Order.SKIP, Order.RESUME_FRESH)), key, True)
            for key in keys
            if chance.random() < 0.25
        )
    )
