"""Runs rounds: a new engine for each, every contender warmed up, then measured, one after another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final

from keyturn_cli.screen import Screen
from keyturn_local.settings import LocalSettings

from bench.contender import Contender, Outcome
from bench.contenders import (
    BASELINES,
    BESIDE_BUSY,
    CURVE,
    KEYTURN,
    METERED,
    PARAMETERS,
    RIVALS,
    WORKFLOW_WRITES,
    on_engine,
)
from bench.counts import read_whole, switch_on, usage
from bench.errors import BenchError, TooSlow
from bench.ground import Ground, ground
from bench.measurement import Measurement, Usage, done_at_ms, percentile
from bench.on_engine import OnEngine
from bench.order import judge
from bench.workload import BenchEvent, Workload, curve, events

WARM_UP: Final = Workload("warm-up", events=60, keys=12)
COUNTED_WARM_UP: Final = Workload("warm-up", events=12, keys=12)
COUNTED: Final = (Workload("spread", events=120, keys=40), Workload("hot", events=40, keys=1))
"""Fewer events than the timed workloads: counts an event hardly differ."""
_LIMIT_FIRST_S: Final = 240.0
_LIMIT_EVENT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    contenders: Sequence[str]
    workloads: Sequence[Workload]
    rounds: int
    curve_events: int
    """Events of the largest workload of the curve; 0 for no curve."""
    counts: bool
    """Whether to count AWS units, in a round of its own."""


@dataclass(slots=True)
class Runner:
    """Does what a plan says, and keeps what came of it."""

    plan: Plan
    settings: LocalSettings
    screen: Screen
    measurements: list[Measurement] = field(default_factory=list)
    usage: list[Usage] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    _runs: int = 0

    def run(self) -> None:
        """Do it all. A contender that fails is left out, with the reason; an engine that fails ends it."""
        for number in range(1, self.plan.rounds + 1):
            self.screen.line(f"Round {number} of {self.plan.rounds}")
            with self._ground(PARAMETERS) as deployed:
                for name in rotated(self.plan.contenders, number - 1):
                    self._contend(name, number, deployed)
        if self.plan.counts:
            self.screen.line("Counting AWS units, on runs of their own")
            with self._ground(METERED) as deployed:
                self._count(deployed)

    @contextmanager
    def _ground(self, parameters: Mapping[str, str]) -> Iterator[dict[str, OnEngine]]:
        """Deploy what is needed; nothing when only rivals run."""
        wanted = {name: what for name, what in BASELINES.items() if name in self.plan.contenders}
        if not wanted and not set(KEYTURN) & set(self.plan.contenders):
            yield {}
            return
        with ExitStack() as running:
            with self.screen.step("engine, sam build, sam deploy"):
                deployed: Ground = running.enter_context(ground(self.settings, parameters, wanted))
            yield on_engine(deployed)

    def _contend(self, name: str, number: int, deployed: dict[str, OnEngine]) -> None:
        try:
            with self._contender(name, deployed) as contender:
                self._run(contender, WARM_UP)
                for workload in self._workloads(name):
                    self._measure(contender, workload, number)
        except BenchError as error:
            self.left_out[name] = str(error)
            self.screen.line(f"  {name}: left out. {error}")

    def _workloads(self, name: str) -> Iterator[Workload]:
        for workload in self.plan.workloads:
            if not workload.busy_events:
                yield workload
            elif name in BESIDE_BUSY:
                yield from (workload.without_busy_key(), workload)
        if self.plan.curve_events and name in CURVE:
            yield from curve(self.plan.curve_events)

    def _contender(self, name: str, deployed: dict[str, OnEngine]) -> AbstractContextManager[Contender]:
        folder = self.settings.root.parent
        return RIVALS[name](folder) if name in RIVALS else nullcontext(deployed[name])

    def _run(self, contender: Contender, workload: Workload) -> tuple[Sequence[BenchEvent], Outcome]:
        self._runs += 1
        sent = events(workload, run=f"run{self._runs}", event_type=contender.event_type)
        return sent, contender.run(sent, limit_s=_LIMIT_FIRST_S + _LIMIT_EVENT_S * len(sent))

    def _measure(self, contender: Contender, workload: Workload, number: int) -> None:
        try:
            sent, outcome = self._run(contender, workload)
        except TooSlow as error:
            self.left_out[f"{contender.name}, {workload.title}"] = str(error)
            self.screen.line(f"  {contender.name}: {workload.title} didn't end. {error}")
            return
        found = measured(contender.name, workload, number, sent, outcome)
        self.measurements.append(found)
        self.screen.line(told(found, workload))

    def _count(self, deployed: Mapping[str, OnEngine]) -> None:
        for name in self.plan.contenders:
            if name not in deployed:
                continue
            try:
                self._count_one(deployed[name])
            except BenchError as error:
                self.left_out[f"{name}, counting"] = str(error)
                self.screen.line(f"  {name}: not counted. {error}")

    def _count_one(self, app: OnEngine) -> None:
        whole = app.ground.target
        target = switch_on(whole, app.name) if app.name in BASELINES else whole
        for workload in (COUNTED_WARM_UP, *COUNTED):
            since_ms = time.time_ns() // 1_000_000
            self._run(app, workload)
            metered = read_whole(target, since_ms, workload.all_events)
            if workload in COUNTED:
                found = usage(app.name, workload, metered, workflow_writes=WORKFLOW_WRITES.get(app.name, 0.0))
                self.usage.append(found)
                self.screen.line(counted(found, workload))


def rotated(names: Sequence[str], by: int) -> list[str]:
    """Begin with another contender each round, so that none always has the freshest engine."""
    start = by % len(names)
    return [*names[start:], *names[:start]]


def told(found: Measurement, workload: Workload) -> str:
    """Tell a run in a line."""
    return (
        f"  {found.contender:<20}{workload.title:<28}{found.events_per_s:8.1f}/s"
        f"  p50 {found.p50_ms / 1000:6.2f} s  p99 {found.p99_ms / 1000:6.2f} s"
        f"  {1000 * found.cpu_s / found.events:6.1f} ms CPU an event  order: {found.order}"
    )


def counted(found: Usage, workload: Workload) -> str:
    """Tell a counted run in a line."""
    return (
        f"  {found.contender:<20}{workload.title:<28}{found.write_units:6.2f} writes  {found.read_units:6.2f} reads"
        f"  {found.invocations:5.2f} invocations  ${found.dollars_per_million:.2f} a million"
    )


def measured(name: str, workload: Workload, number: int, sent: Sequence[BenchEvent], outcome: Outcome) -> Measurement:
    """Work a run's figures out."""
    done = done_at_ms(outcome.effects)
    quiet = [event for event in sent if not event.is_busy]
    waits_ms = [done[event.key, event.number] - outcome.put_at_ms[event.id] for event in quiet]
    took_s = (max(done.values()) - min(outcome.put_at_ms.values())) / 1000
    return Measurement(
        contender=name,
        workload=workload.name,
        events=len(sent),
        keys=workload.keys,
        round=number,
        events_per_s=len(sent) / took_s,
        p50_ms=percentile(waits_ms, 0.5),
        p99_ms=percentile(waits_ms, 0.99),
        cpu_s=outcome.cpu_s,
        order=judge(sent, outcome.effects).word,
    )
