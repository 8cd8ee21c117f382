"""How runs follow each other: means by the model, from which everything else is sized.

A key runs one run at a time, which lasts as long as the slowest of its steps. `o` seconds of it are besides its
events, each event adds `s`, and the slowest step of one event takes `e` longer than a step does on average; over `b`
events that evens out, to `e * sqrt(b)`. So with `r` events a second a run finds `b = r * (o + b * s + sqrt(b) * e)`
events waiting: between 1 and what a run may take. A key holds its rate when its runs need less than all of its time.
The start that an Express run is spared when it follows its key's last one is counted all the same: a tenth, on the
safe side.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import Final

from keyturn_cli.planning.latencies import Latencies, on_processor
from keyturn_cli.planning.workload import KeyClass, Kind, Settings, Workload

UTILISATION_MAX: Final = 0.8
"""Share of a limit, of a key's time or of its slots that a plan uses: queues grow fast above it."""


@dataclass(frozen=True, slots=True)
class RunTimes:
    """Means of one run, in milliseconds."""

    start_ms: float
    """From the claim to where the workers are called."""
    worker_base_ms: float
    """A worker's invocation without its work, as it is billed: with its share of cold starts, which are billed too."""
    event_ms: float
    event_p99_ms: float
    slowest_ms: float
    """How much longer the slowest step of one event takes than a step does on average."""
    sequencer_ms: float
    between_ms: float
    """Invocations and transitions around workers and sequencer."""

    def worker_ms(self, batch: float) -> float:
        """A worker's invocation for so many events."""
        return self.worker_base_ms + batch * self.event_ms

    def run_ms(self, batch: float) -> float:
        """A run, from its claim to the claim of the next one."""
        return self.start_ms + self.execution_ms(batch)

    def execution_ms(self, batch: float) -> float:
        """What its execution is billed for, if it is an Express one."""
        return self.between_ms + self.worker_ms(batch) + self.slowest_ms * sqrt(batch) + self.sequencer_ms

    def waiting(self, rate: float) -> float:
        """Events that a run of a key finds waiting, at so many a second; endless where its events take all its time."""
        left = 1 - rate * self.event_ms / 1_000
        if left <= 0:
            return inf
        alone = rate * (self.run_ms(1) - self.event_ms - self.slowest_ms) / 1_000
        uneven = rate * self.slowest_ms / 1_000
        return ((uneven + sqrt(uneven**2 + 4 * left * alone)) / (2 * left)) ** 2

    def worker_p99_ms(self, batch: int) -> float:
        """What a worker's invocation for so many events takes in 99 of 100 cases; what is above the mean evens out."""
        return self.worker_ms(batch) + (self.event_p99_ms - self.event_ms) * sqrt(batch)

    def execution_p99_ms(self, batch: int) -> float:
        """What an execution takes if one of its workers is so slow."""
        return self.between_ms + self.worker_p99_ms(batch) + self.sequencer_ms


def run_times(workload: Workload, settings: Settings, latencies: Latencies) -> RunTimes:
    """Work the means out."""
    transition = latencies.transition(settings.kind).mean
    cold_ms = latencies.cold_start_share * latencies.lambda_cold_start.mean
    any_cold_ms = (1 - (1 - latencies.cold_start_share) ** workload.steps) * latencies.lambda_cold_start.mean
    step = latencies.step(workload.step_ms)
    starts_ms = latencies.start_execution.mean
    parent_ms = 0.0
    if settings.kind is Kind.NESTED:
        starts_ms *= 2
        parent_ms = 2 * latencies.standard_transition.mean
    return RunTimes(
        start_ms=starts_ms,
        worker_base_ms=(
            cold_ms
            + latencies.dynamodb_read.mean
            + latencies.dynamodb_write.mean
            + on_processor(latencies.worker_cpu, settings.memory_mb)
        ),
        event_ms=step.mean,
        event_p99_ms=step.p99,
        slowest_ms=step.slowest(workload.steps) - step.mean,
        sequencer_ms=(
            cold_ms
            + latencies.dynamodb_read.mean
            + latencies.dynamodb_write.mean
            + on_processor(latencies.sequencer_cpu, settings.memory_mb)
        ),
        between_ms=3 * transition + 2 * latencies.lambda_invoke.mean + parent_ms + any_cold_ms - cold_ms,
    )


@dataclass(frozen=True, slots=True)
class ClassFlow:
    """How one class of keys gets on."""

    keys: KeyClass
    batch: float
    """Events of a run, on average."""
    busy: float
    """Share of the runs that follow on at once."""
    in_flight: float
    """Runs in flight of all its keys."""
    runs_max: float
    """Runs a second, at the load below the asked one at which they are most."""
    key_rate_max: float
    """Events a second that one key can take at most, by its runs."""

    @property
    def is_holding(self) -> bool:
        """Whether its keys keep up."""
        return self.keys.key_rate <= self.key_rate_max


def class_flow(keys: KeyClass, times: RunTimes, batch_max: int) -> ClassFlow:
    """Work out how a class of keys gets on."""
    rate = keys.key_rate
    batch = min(float(batch_max), max(1.0, times.waiting(rate)))
    busy = min(1.0, rate * times.run_ms(1) / 1_000)
    return ClassFlow(
        keys=keys,
        batch=batch,
        busy=busy,
        in_flight=keys.keys * busy,
        runs_max=keys.keys * min(rate, 1_000 / times.run_ms(1)),
        key_rate_max=UTILISATION_MAX * batch_max / (times.run_ms(batch_max) / 1_000),
    )
