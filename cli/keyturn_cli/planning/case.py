"""A load with the settings that are tried for it, and all that follows from the two without a price."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from keyturn_cli.planning.flow import ClassFlow, RunTimes, class_flow, run_times
from keyturn_cli.planning.latencies import Latencies
from keyturn_cli.planning.simulation import PutToDone, RunModel, percentiles, simulate, slot_queue
from keyturn_cli.planning.sizing import Sizing, shape_of, sizing_of
from keyturn_cli.planning.units import Units, units_of
from keyturn_cli.planning.workload import KeyClass, Settings, Workload


@dataclass(frozen=True)
class Case:
    """One load, one choice of settings."""

    workload: Workload
    settings: Settings
    latencies: Latencies
    slots: int | None = None
    """Runs that may be in flight at once, if something bounds them; else as many as the load takes."""
    is_backlog: bool = False
    """Whether its events stand in the table already: what few keys ask of their shards is no matter then."""

    @cached_property
    def times(self) -> RunTimes:
        """Means of one run."""
        return run_times(self.workload, self.settings, self.latencies)

    @cached_property
    def flows(self) -> tuple[ClassFlow, ...]:
        """How each class of keys gets on."""
        return tuple(class_flow(keys, self.times, self.batch_max) for keys in self.workload.classes())

    @cached_property
    def sizing(self) -> Sizing:
        """How much of everything it takes."""
        spread = () if self.is_backlog else self.flows
        return sizing_of(self.workload, self.settings, self.times, self.flows, self.latencies, spread)

    @cached_property
    def units(self) -> Units:
        """Units of an average event: of each class's, by its share."""
        first, *others = (
            units_of(shape_of(self.workload, self.settings, flow, self.sizing.records_a_batch)).times(
                flow.keys.rate / self.workload.rate
            )
            for flow in self.flows
        )
        for other in others:
            first = first.plus(other)
        return first

    @property
    def lagging(self) -> ClassFlow | None:
        """The keys that don't keep up."""
        return next((flow for flow in self.flows if not flow.is_holding), None)

    @property
    def lacks_slots(self) -> bool:
        """Whether fewer runs may be in flight than the load takes."""
        return self.slots is not None and self.slots < self.sizing.max_in_flight_runs

    @property
    def hottest(self) -> KeyClass:
        """The keys that get the most, each."""
        return max((flow.keys for flow in self.flows), key=lambda keys: keys.key_rate)

    @property
    def falls_behind(self) -> bool:
        """Whether events come faster than they are done."""
        most = min(self.sizing.key_rate_by_partition, self.sizing.key_rate_by_shard)
        return self.lagging is not None or self.lacks_slots or self.hottest.key_rate > most

    @cached_property
    def put_to_done(self) -> PutToDone:
        """Simulated; only for what holds, since queues grow for ever else."""
        workload, settings, sizing = self.workload, self.settings, self.sizing
        slots = sizing.max_in_flight_runs if self.slots is None else self.slots
        queue = slot_queue(sizing.in_flight, slots, self.times.run_ms(1))
        run = RunModel(
            settings.kind, self.batch_max, workload.steps, workload.step_ms, settings.memory_mb
        )  # fmt: skip
        samples = (simulate(flow.keys, run, self.latencies, sizing.intake, queue) for flow in self.flows)
        return percentiles([(flow.keys.rate, sample) for flow, sample in zip(self.flows, samples, strict=True)])

    @property
    def batch_max(self) -> int:
        """Events that a run takes at most."""
        return self.workload.batch_max(self.settings.batch)


def with_full_runs(case: Case, batch: int) -> Case:
    """The same load on so few keys that each is always at work, with full runs: what a backlog costs.

    Of a load that doesn't keep one key at work, as much as does: so fast a backlog is worked off.
    """
    full = replace(case, settings=replace(case.settings, batch=batch), slots=None, is_backlog=True)
    key_rate = full.batch_max / full.times.run_ms(full.batch_max) * 1_000
    rate = max(case.workload.rate, key_rate)
    return replace(full, workload=replace(case.workload, rate=rate, keys=int(rate / key_rate), hot_share=0))
