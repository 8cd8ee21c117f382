"""What is taken for granted about AWS's latencies: a dated file, printed with every plan that rests on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from math import exp, log
from statistics import NormalDist
from typing import Any, Final

from keyturn_cli.planning.workload import Kind

_QUANTILES: Final = 1_000
_P99_DEVIATIONS: Final = 2.3263
"""Of a normal distribution."""
_WHOLE_PROCESSOR_MB: Final = 1_769
"""Lambda Developer Guide, "Configure Lambda function memory": as much memory comes with one processor."""


@dataclass(frozen=True, slots=True)
class Latency:
    """A time in milliseconds, taken to be log-normal."""

    p50: float
    p99: float

    @property
    def mu(self) -> float:
        """First parameter of the distribution."""
        return log(self.p50)

    @property
    def sigma(self) -> float:
        """Second parameter of the distribution."""
        return log(self.p99 / self.p50) / _P99_DEVIATIONS

    @property
    def mean(self) -> float:
        """Milliseconds on average."""
        return exp(self.mu + self.sigma**2 / 2)

    def slowest(self, of: int) -> float:
        """Milliseconds on average of the slowest of so many that begin together."""
        return self.mean if of == 1 else _mean_of_slowest(self, of)


@cache
def _mean_of_slowest(latency: Latency, of: int) -> float:
    """Integrate over the quantiles of the largest of so many draws."""
    places = (((place + 0.5) / _QUANTILES) ** (1 / of) for place in range(_QUANTILES))
    normal = NormalDist()
    return sum(exp(latency.mu + latency.sigma * normal.inv_cdf(place)) for place in places) / _QUANTILES


@dataclass(frozen=True, slots=True)
class Assumption:
    """One line of the file, for whoever reads a plan."""

    name: str
    value: str
    source: str
    is_published: bool


@dataclass(frozen=True, slots=True)
class Latencies:
    """What the model is made of. Milliseconds."""

    read_on: date
    stream_read: Latency
    dynamodb_read: Latency
    dynamodb_write: Latency
    start_execution: Latency
    express_transition: Latency
    standard_transition: Latency
    lambda_invoke: Latency
    lambda_cold_start: Latency
    cold_start_share: float
    step_p99_ratio: float
    worker_cpu: float
    sequencer_cpu: float
    dispatcher_record_cpu: float
    assumptions: tuple[Assumption, ...]

    def transition(self, kind: Kind) -> Latency:
        """From one state to the next, in the execution whose states call the workers."""
        return self.standard_transition if kind is Kind.STANDARD else self.express_transition

    def step(self, step_ms: float) -> Latency:
        """A worker's own work for one event."""
        return Latency(step_ms, step_ms * self.step_p99_ratio)


def on_processor(cpu_ms: float, memory_mb: int) -> float:
    """Milliseconds that work takes on the share of a processor that comes with so much memory."""
    return cpu_ms * max(1.0, _WHOLE_PROCESSOR_MB / memory_mb)


@cache
def load_latencies() -> Latencies:
    """Read the file that comes with the command."""
    document = json.loads((files("keyturn_cli.planning") / "latencies.json").read_bytes())
    times: Mapping[str, Any] = document["latencies_ms"]
    cpu: Mapping[str, Any] = document["cpu_ms"]
    return Latencies(
        read_on=date.fromisoformat(document["read_on"]),
        **{name: Latency(one["p50"], one["p99"]) for name, one in times.items()},
        cold_start_share=document["cold_start_share"]["value"],
        step_p99_ratio=document["step_p99_ratio"]["value"],
        worker_cpu=cpu["worker"]["value"],
        sequencer_cpu=cpu["sequencer"]["value"],
        dispatcher_record_cpu=cpu["dispatcher_record"]["value"],
        assumptions=tuple(_assumptions(document)),
    )


def _assumptions(document: Mapping[str, Any]) -> list[Assumption]:
    times = [
        (name, f"p50 {one['p50']:g} ms, p99 {one['p99']:g} ms", one) for name, one in document["latencies_ms"].items()
    ]
    cpu = [(f"{name}_cpu", f"{one['value']:g} ms", one) for name, one in document["cpu_ms"].items()]
    others = [(name, f"{document[name]['value']:g}", document[name]) for name in ("cold_start_share", "step_p99_ratio")]
    return [Assumption(name, value, one["source"], one["is_published"]) for name, value, one in (*times, *cpu, *others)]
