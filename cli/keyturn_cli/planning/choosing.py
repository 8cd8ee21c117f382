"""The cheapest settings that hold a load and its target, and why the others don't do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from keyturn.core.prices import PriceList
from keyturn.limits import EXPRESS_EXECUTION_S_MAX, LAMBDA_S_MAX
from keyturn_cli.planning.case import Case
from keyturn_cli.planning.costs import Cost, cost_of
from keyturn_cli.planning.latencies import Latencies
from keyturn_cli.planning.quotas import Need, needs_of
from keyturn_cli.planning.sizing import (
    BUCKETS_MAX,
    PARTITION_READ_UNITS,
    PARTITION_WRITE_UNITS,
    SLOTS_MAX,
    SPARE_CONCURRENCY,
)
from keyturn_cli.planning.workload import Architecture, Kind, Settings, StreamMode, Workload

BATCHES: Final = (1, 10, 50)
MEMORIES_MB: Final = (256, 512)
WINDOWS_S: Final = (1, 0)
"""Of equal price the first that holds: without a window, what the model can't know costs more, not less."""
SHARDS_MAX: Final = 500
"""The template's bound of ShardCount."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller fixes, and what a plan must hold besides the load."""

    kind: Kind | None = None
    batch: int | None = None
    target_p99_ms: float | None = None
    concurrency: int | None = None
    """Lambda's, that the account has."""


@dataclass(frozen=True)
class Option:
    """Settings with their price, and what speaks against them."""

    case: Case
    cost: Cost
    against: str = ""
    """Empty if they hold everything."""


@dataclass(frozen=True)
class Plan:
    """What was chosen for a load."""

    chosen: Option
    """The cheapest that holds; if none does, the cheapest of all."""
    rejected: tuple[Option, ...]
    """The best of every other kind and batch."""
    needs: tuple[Need, ...]
    prices: PriceList
    latencies: Latencies

    @property
    def is_holding(self) -> bool:
        """Whether the load and the target are held."""
        return not self.chosen.against


def make_plan(workload: Workload, wanted: Wanted, prices: PriceList, latencies: Latencies) -> Plan:
    """Choose the cheapest settings that hold a load."""
    kinds = (wanted.kind,) if wanted.kind else tuple(Kind)
    batches = (wanted.batch,) if wanted.batch else BATCHES
    groups = [_best(workload, wanted, prices, latencies, kind, batch) for kind, batch in product(kinds, batches)]
    chosen, *rejected = sorted(groups, key=_rank)
    return Plan(
        chosen=chosen,
        rejected=tuple(_compared(option, chosen) for option in rejected),
        needs=tuple(needs_of(chosen.case, prices.region, wanted.concurrency)),
        prices=prices,
        latencies=latencies,
    )


def _best(
    workload: Workload, wanted: Wanted, prices: PriceList, latencies: Latencies, kind: Kind, batch: int
) -> Option:
    """Choose all but kind and batch: the cheapest that hold, else the cheapest."""
    choices = product(StreamMode, MEMORIES_MB, Architecture, WINDOWS_S)
    cases = [Case(workload, Settings(kind, batch, *choice), latencies) for choice in choices]
    options = sorted(
        (Option(case, cost_of(case, prices)) for case in cases), key=lambda option: option.cost.usd_a_month
    )
    tried: list[Option] = []
    for option in options:
        case = _bounded(option.case, wanted)
        tried.append(replace(option, case=case, against=_against(case, wanted)))
        if not tried[-1].against:
            return tried[-1]
    # Of those the one that waits least, since it comes nearest to a target.
    return min(reversed(tried), key=lambda option: option.cost.usd_a_month)


def _bounded(case: Case, wanted: Wanted) -> Case:
    if wanted.concurrency is None:
        return case
    sizing = case.sizing
    others = sizing.sequencer_concurrency + sizing.dispatcher_concurrency + SPARE_CONCURRENCY
    return replace(case, slots=max(0, (wanted.concurrency - others) // case.workload.steps))


def _against(case: Case, wanted: Wanted) -> str:
    """Say what settings don't hold; empty if they do. The simulation comes last, since it takes longest."""
    return next(_problems(case, wanted), "")


def _problems(case: Case, wanted: Wanted) -> Iterator[str]:
    lagging, sizing = case.lagging, case.sizing
    if lagging is not None:
        yield (
            f"{lagging.keys.name} get {_figure(lagging.keys.key_rate)} events a second each, and"
            f" {_figure(lagging.key_rate_max)} is what a key can take"
        )
    yield from _hot_problems(case)
    if case.lacks_slots:
        yield f"{sizing.max_in_flight_runs:,} runs must be in flight, concurrency leaves room for {case.slots:,}"
    if sizing.max_in_flight_runs > SLOTS_MAX:
        yield f"{sizing.max_in_flight_runs:,} runs must be in flight, MaxInFlightRuns ends at {SLOTS_MAX:,}"
    if sizing.index_buckets > BUCKETS_MAX:
        yield f"{sizing.index_buckets:,} index buckets, IndexBuckets ends at {BUCKETS_MAX}"
    if case.settings.stream_mode is StreamMode.PROVISIONED and sizing.shards > SHARDS_MAX:
        yield f"{sizing.shards:,} shards, ShardCount ends at {SHARDS_MAX}"
    yield from _time_problems(case)
    if wanted.target_p99_ms is not None and case.put_to_done.p99_ms > wanted.target_p99_ms:
        yield f"p99 is {case.put_to_done.p99_ms:,.0f} ms, the target {wanted.target_p99_ms:,.0f}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _hot_problems(case: Case) -> Iterator[str]:
    """What lies in one partition or shard and can't be spread."""
    sizing, hottest = case.sizing, case.hottest.key_rate
    asked = f"the busiest get {_figure(hottest)}"
    if hottest > sizing.key_rate_by_partition:
        most = sizing.key_rate_by_partition
        yield f"a key's partition of the table holds {_figure(most)} events a second, {asked}"
    if hottest > sizing.key_rate_by_shard:
        most = sizing.key_rate_by_shard
        yield f"a key has one shard, which holds {_figure(most)} such events a second, {asked}"
    reads = max(sizing.slot_reads, sizing.control_reads)
    if reads > PARTITION_READ_UNITS:
        yield f"slots or controls are read {reads:,.0f} times a second, a partition takes {PARTITION_READ_UNITS:,}"
    if sizing.slot_writes > PARTITION_WRITE_UNITS:
        yield f"slots are taken {sizing.slot_writes:,.0f} times a second, a partition takes {PARTITION_WRITE_UNITS:,}"


def _time_problems(case: Case) -> Iterator[str]:
    """Full runs that AWS ends before they are done, of which one in a hundred is too many."""
    worker_s = case.times.worker_p99_ms(case.batch_max) / 1_000
    execution_s = case.times.execution_p99_ms(case.batch_max) / 1_000
    if case.settings.kind is not Kind.STANDARD and execution_s > EXPRESS_EXECUTION_S_MAX:
        yield (
            f"a full run's p99 is {execution_s:,.0f} s, an Express execution ends after {EXPRESS_EXECUTION_S_MAX:,} s"
        )
    if worker_s > LAMBDA_S_MAX:
        yield f"a full run's worker takes {worker_s:,.0f} s at its p99, a Lambda function ends after {LAMBDA_S_MAX:,} s"


def _rank(option: Option) -> tuple[bool, float, int]:
    # Of equals the smaller batch: it is stricter.
    return bool(option.against), round(option.cost.usd_a_month, 6), option.case.settings.batch


def _compared(option: Option, chosen: Option) -> Option:
    if option.against:
        return option
    more = option.cost.usd_a_month / chosen.cost.usd_a_month - 1
    if more >= 0.005:
        return replace(option, against=f"{more:.0%} dearer")
    is_alike = option.case.settings.kind is chosen.case.settings.kind
    return replace(option, against="no cheaper: runs find as many events without it" if is_alike else "hardly dearer")
