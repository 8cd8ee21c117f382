"""From put to done: a simulation of keys that are worked on one run at a time. Seeded, so that a plan is repeatable.

A sample of the keys gets events at random (Poisson), at the rate of their class. A record is read, waits for its
mapping's window, is dispatched, and then for its key's earlier runs; a run takes what waits, as much as its batch
allows. Latencies are drawn from the file that the plan prints. Slots aren't simulated one by one: how long a run waits
for one follows Erlang's formula for as many slots as there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from math import exp
from random import Random
from statistics import NormalDist
from typing import Final

from keyturn_cli.planning.flow import UTILISATION_MAX
from keyturn_cli.planning.latencies import Latencies, Latency, on_processor
from keyturn_cli.planning.workload import KeyClass, Kind

EVENTS: Final = 3_000
"""Of each class of keys; the first tenth is left out, while queues fill."""
_WARM_UP_SHARE: Final = 0.1
_KEY_EVENTS: Final = 30
_BUSY_KEY_EVENTS: Final = 600
"""Events that a key of the sample gets; queues of busy keys take longer to settle."""
_BUSY: Final = 0.1
"""Share of its time that a busy key is worked on at least."""

_MANY: Final = 10_000
"""Busy slots: with a quarter more of them, that a run waits is less likely than 1e-100, and the recursion is long."""
_POOL: Final = 2_003


@dataclass(frozen=True, slots=True)
class RunModel:
    """What of a load and its settings a run's time depends on."""

    kind: Kind
    batch_max: int
    steps: int
    step_ms: float
    memory_mb: int


@dataclass(frozen=True, slots=True)
class SlotQueue:
    """How long a run waits for a slot."""

    chance: float
    """That it waits at all."""
    wait_ms: float
    """On average, if it does."""


@dataclass(frozen=True, slots=True)
class Intake:
    """What happens to a record before its key is looked at."""

    window_ms: float
    """Between two batches of a shard."""
    dispatch_ms: float
    """Of one batch."""


@dataclass(frozen=True, slots=True)
class PutToDone:
    """Milliseconds from put to the end of the run."""

    p50_ms: float
    p99_ms: float


def slot_queue(in_flight: float, slots: int, run_ms: float) -> SlotQueue:
    """Erlang's C for `in_flight` busy slots of `slots`; certain waiting when there are too few."""
    if in_flight >= slots:
        return SlotQueue(1.0, float("inf"))
    if in_flight > _MANY and slots * UTILISATION_MAX >= in_flight:
        return SlotQueue(0.0, 0.0)
    # The recursion for Erlang's B, kept as its inverse: numbers stay small.
    inverse = 1.0
    for servers in range(1, slots + 1):
        inverse = 1 + inverse * servers / in_flight
        if inverse > 1e12:
            return SlotQueue(0.0, 0.0)
    blocked = 1 / inverse
    share = in_flight / slots
    return SlotQueue(blocked / (1 - share * (1 - blocked)), run_ms / (slots - in_flight))


@cache
def simulate(
    keys: KeyClass,
    run: RunModel,
    latencies: Latencies,
    intake: Intake,
    slots: SlotQueue,
    *,
    events: int = EVENTS,
) -> tuple[float, ...]:
    """Return put-to-done, in milliseconds, of a sample of a class's events."""
    draws = _Draws(Random(1), latencies, run, intake)  # noqa: S311
    is_busy = keys.key_rate * draws.run(1) / 1_000 >= _BUSY
    sampled_keys = max(1, min(keys.keys, events // (_BUSY_KEY_EVENTS if is_busy else _KEY_EVENTS)))
    found: list[float] = []
    for _ in range(sampled_keys):
        times = list(_one_key(draws, keys.key_rate, events // sampled_keys, run.batch_max, slots))
        found += times[int(len(times) * _WARM_UP_SHARE) :]
    return tuple(found)


def percentiles(classes: Sequence[tuple[float, Sequence[float]]]) -> PutToDone:
    """Weigh the samples of classes by their rates."""
    weighed = sorted((time, rate / len(times)) for rate, times in classes for time in times)
    total = sum(weight for _, weight in weighed)
    return PutToDone(_at(weighed, total * 0.5), _at(weighed, total * 0.99))


def _at(weighed: list[tuple[float, float]], wanted: float) -> float:
    passed = 0.0
    for time, weight in weighed:
        passed += weight
        if passed >= wanted:
            return time
    return weighed[-1][0]


def _one_key(draws: _Draws, rate: float, events: int, batch_max: int, slots: SlotQueue) -> Iterator[float]:
    """Yield put-to-done of one key's events, in milliseconds."""
    put_ms, admitted_ms = _arrivals(draws, rate, events)
    free_ms, done = 0.0, 0
    while done < events:
        is_following = admitted_ms[done] <= free_ms
        begins_ms = free_ms if is_following else admitted_ms[done] + draws.slot_wait(slots)
        count = 1
        while count < batch_max and done + count < events and admitted_ms[done + count] <= begins_ms:
            count += 1
        free_ms = begins_ms + draws.run(count, is_following=is_following)
        yield from (free_ms - at_ms for at_ms in put_ms[done : done + count])
        done += count


def _arrivals(draws: _Draws, rate: float, events: int) -> tuple[list[float], list[float]]:
    """Draw when a key's events are put, and when each is in its log: in order."""
    put_ms, admitted_ms = [], []
    at_ms = latest_ms = 0.0
    for _ in range(events):
        at_ms += draws.random.expovariate(rate) * 1_000
        latest_ms = max(latest_ms, at_ms + draws.intake_ms())
        put_ms.append(at_ms)
        admitted_ms.append(latest_ms)
    return put_ms, admitted_ms


class _Draws:
    """Draws what a run or a record takes, in milliseconds."""

    def __init__(self, random: Random, latencies: Latencies, run: RunModel, intake: Intake) -> None:
        self.random = random
        self._run = run
        self._intake = intake
        self._cold_share = latencies.cold_start_share
        self._worker_cpu_ms = on_processor(latencies.worker_cpu, run.memory_mb)
        self._sequencer_cpu_ms = on_processor(latencies.sequencer_cpu, run.memory_mb)
        self._read, self._write = self._pool(latencies.dynamodb_read), self._pool(latencies.dynamodb_write)
        self._start, self._invoke = self._pool(latencies.start_execution), self._pool(latencies.lambda_invoke)
        self._transition = self._pool(latencies.transition(run.kind))
        self._parent_transition = self._pool(latencies.standard_transition)
        self._cold, self._stream = self._pool(latencies.lambda_cold_start), self._pool(latencies.stream_read)
        self._step = self._pool(latencies.step(run.step_ms))

    def slot_wait(self, slots: SlotQueue) -> float:
        """How long a key waits for a slot."""
        return self.random.expovariate(1 / slots.wait_ms) if self.random.random() < slots.chance else 0.0

    def intake_ms(self) -> float:
        """From put to the key's log, and to its turn among the keys of its batch."""
        waits_ms = self.random.random() * self._intake.window_ms
        return next(self._stream) + waits_ms + self.random.random() * self._intake.dispatch_ms

    def run(self, count: int, *, is_following: bool = False) -> float:
        """From a run's claim to its end. On Express one that follows goes on in the same execution, without a start."""
        workers_ms = max(self._worker(count) for _ in range(self._run.steps))
        around_ms = next(self._transition) + next(self._transition) + next(self._transition)
        if not (is_following and self._run.kind is Kind.EXPRESS):
            around_ms += next(self._start)
        if self._run.kind is Kind.NESTED:
            around_ms += next(self._start) + next(self._parent_transition) + next(self._parent_transition)
        return around_ms + workers_ms + self._invocation(self._sequencer_cpu_ms)

    def _worker(self, count: int) -> float:
        return self._invocation(self._worker_cpu_ms) + sum(islice(self._step, count))

    def _invocation(self, cpu_ms: float) -> float:
        cold_ms = next(self._cold) if self.random.random() < self._cold_share else 0.0
        return cold_ms + next(self._invoke) + next(self._read) + next(self._write) + cpu_ms

    def _pool(self, latency: Latency) -> Iterator[float]:
        """Return draws without end: quantiles of the distribution in random order, begun anew with each round."""
        mu, sigma = latency.mu, latency.sigma
        begin = self.random.randrange(_POOL)
        quantiles = _quantiles()
        return cycle([exp(mu + sigma * quantile) for quantile in (*quantiles[begin:], *quantiles[:begin])])


@cache
def _quantiles() -> tuple[float, ...]:
    """Quantiles of the normal distribution, shuffled: each pool begins at another of them."""
    found = [NormalDist().inv_cdf((place + 0.5) / _POOL) for place in range(_POOL)]
    Random(1).shuffle(found)  # noqa: S311
    return tuple(found)
