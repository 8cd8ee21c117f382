"""A plan holds what it says: more load never takes less, and what it asks for covers what it uses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from hashlib import md5
from math import inf

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from keyturn_cli.planning.case import Case, with_full_runs
from keyturn_cli.planning.choosing import SHARDS_MAX, WINDOWS_S, Plan, Wanted, make_plan
from keyturn_cli.planning.costs import DUPLICATE_WINDOW_DAYS, PAYLOADS_LONGER_DAYS, cost_of
from keyturn_cli.planning.latencies import Latency, load_latencies, on_processor
from keyturn_cli.planning.quotas import needs_of, rounded_up
from keyturn_cli.planning.simulation import RunModel, SlotQueue, percentiles, simulate, slot_queue
from keyturn_cli.planning.sizing import (
    BATCH_RECORDS,
    BUCKETS_LEAST,
    BUCKETS_MAX,
    DISPATCHER_MB,
    FACTOR_MAX,
    SLOTS_MAX,
)
from keyturn_cli.planning.units import SLOT_QUANTUM_RUNS
from keyturn_cli.planning.workload import Architecture, Kind, Settings, StreamMode, Workload

from keyturn.adapters.price_list import load_prices
from keyturn.limits import EVENT_INLINE_BYTES_MAX
from tests.template.stack import source

PRICES = load_prices("us-east-1")
LATENCIES = load_latencies()
LARGE = Workload(rate=50_000, keys=1_000_000, payload_bytes=1_024, steps=3, step_ms=80)
SMALL = Workload(rate=10, keys=200, payload_bytes=400, steps=3, step_ms=80)
STRICT = Settings(Kind.EXPRESS, 1, StreamMode.PROVISIONED, 256, Architecture.ARM, 1)

workloads = st.builds(
    Workload,
    rate=st.floats(0.01, 1e6),
    keys=st.integers(1, 10_000_000),
    payload_bytes=st.integers(1, 200_000),
    steps=st.integers(1, 10),
    step_ms=st.floats(1, 5_000),
    hot_share=st.floats(0, 1),
)
choices = st.builds(
    Settings,
    kind=st.sampled_from(Kind),
    batch=st.integers(1, 90),
    stream_mode=st.sampled_from(StreamMode),
    memory_mb=st.sampled_from([256, 512]),
    architecture=st.sampled_from(Architecture),
    window_s=st.integers(0, 300),
)


def planned(workload: Workload, **wanted: object) -> Plan:
    """A plan of what is wanted."""
    return make_plan(workload, Wanted(**wanted), PRICES, LATENCIES)  # type: ignore[arg-type]  # by name


def keeping_up(case: Case) -> Case:
    """The case, at the highest rate up to its own that its keys hold."""
    excess = max(flow.keys.key_rate / flow.key_rate_max for flow in case.flows)
    rate = case.workload.rate / max(1.0, excess * 1.001)
    return replace(case, workload=replace(case.workload, rate=rate))


def case_of(workload: Workload, **changes: object) -> Case:
    """The strict case, with other settings."""
    return Case(workload, replace(STRICT, **changes), LATENCIES)  # type: ignore[arg-type]  # by name


@settings(deadline=None)
@given(workloads, choices, st.floats(1, 20))
@example(Workload(516_313, 40_680, 1, 1, 1), replace(STRICT, window_s=0), 1.125)
def test_more_load_never_takes_less(workload: Workload, chosen: Settings, factor: float) -> None:
    """Of shards, slots, concurrency, units a second, index buckets, nor of any quota."""
    less = Case(workload, chosen, LATENCIES)
    more = Case(replace(workload, rate=workload.rate * factor), chosen, LATENCIES)
    for name in (
        "shards",
        "max_in_flight_runs",
        "lambda_concurrency",
        "write_units_max",
        "read_units_max",
        "index_buckets",
        "runs_max",
    ):
        assert getattr(more.sizing, name) >= getattr(less.sizing, name) * (1 - 1e-9), name
    pairs = zip(needs_of(less, "us-east-1"), needs_of(more, "us-east-1"), strict=True)
    assert all(after.needed >= before.needed * (1 - 1e-9) for before, after in pairs)


@settings(deadline=None)
@given(workloads, choices)
def test_what_is_asked_for_covers_what_is_used(workload: Workload, chosen: Settings) -> None:
    """Units a second, shards by bytes and records, slots, and every quota that can be raised, where keys keep up."""
    case = keeping_up(Case(workload, chosen, LATENCIES))
    workload, sizing = case.workload, case.sizing
    assert sizing.write_units_max >= case.units.write_units * workload.rate * (1 - 1e-9)
    assert sizing.read_units_max >= case.units.read_units * workload.rate * (1 - 1e-9)
    assert sizing.index_buckets * 1_000 >= case.units.index_write_units * workload.rate * (1 - 1e-9)
    assert sizing.shards * 1_000 >= workload.rate
    assert sizing.shards * 1_000_000 >= workload.rate * workload.payload_bytes
    assert sizing.max_in_flight_runs >= sizing.in_flight
    assert 1 <= sizing.parallelization_factor <= 10
    for need in needs_of(case, "eu-central-1"):
        if need.is_adjustable:
            assert max(need.ask_for or 0, need.default) >= need.needed


@settings(deadline=None)
@given(workloads, choices, st.integers(1, 90))
def test_a_larger_batch_never_costs_more_a_month(workload: Workload, chosen: Settings, other: int) -> None:
    """Nor does it, of an Express run's time, beyond the rounding to 100 ms and 64 MB."""
    small, large = sorted((chosen.batch, other))
    items = [
        {
            item.name: item.usd_a_month
            for item in cost_of(Case(workload, replace(chosen, batch=batch), LATENCIES), PRICES).items
        }
        for batch in (small, large)
    ]
    before, after = (sum(usd for name, usd in bill.items() if name != "Express duration") for bill in items)
    assert after <= before * (1 + 1e-9)


@settings(deadline=None)
@given(workloads, choices)
def test_a_key_never_has_more_than_one_run_in_flight(workload: Workload, chosen: Settings) -> None:
    case = Case(workload, chosen, LATENCIES)
    assert all(flow.in_flight <= flow.keys.keys for flow in case.flows)
    assert all(1 <= flow.batch <= case.batch_max for flow in case.flows)
    assert sum(flow.keys.keys for flow in case.flows) <= workload.keys
    assert sum(flow.keys.rate for flow in case.flows) == pytest.approx(workload.rate)


def test_the_issues_example_is_planned_strictly_on_express() -> None:
    """50,000 events a second on a million keys: cold keys, so no batch is worth it."""
    plan = planned(LARGE)
    chosen = plan.chosen.case
    assert plan.is_holding
    assert (chosen.settings.kind, chosen.settings.batch) == (Kind.EXPRESS, 1)
    assert chosen.sizing.shards == 64
    asked = {need.name: need.ask_for for need in plan.needs}
    assert asked["express_starts"] == 63_000
    assert asked["kinesis_shards"] is None
    assert chosen.sizing.index_buckets == 125
    assert 10 <= plan.chosen.cost.usd_a_million <= 15
    assert all(option.against for option in plan.rejected)


def test_standard_costs_its_transitions() -> None:
    """125 dollars a million events for five, 50 for two."""
    for kind, usd in ((Kind.STANDARD, 125), (Kind.NESTED, 25)):
        items = {item.name: item for item in cost_of(case_of(LARGE, kind=kind), PRICES).items}
        transitions = items["Step Functions transitions"]
        events = LARGE.rate * 730 * 3_600
        assert transitions.usd_a_month / events * 1e6 == pytest.approx(usd)


def test_busy_keys_get_a_batch_since_strictly_they_fall_behind() -> None:
    plan = planned(replace(SMALL, rate=1_000), kind=Kind.EXPRESS)
    assert plan.is_holding
    assert plan.chosen.case.batch_max > 1
    strict = next(option for option in plan.rejected if option.case.settings.batch == 1)
    assert "is what a key can take" in strict.against


def test_what_nothing_holds_is_said_to_be_so() -> None:
    """A single key at a thousand steps of 80 ms a second."""
    plan = planned(replace(SMALL, rate=1_000, keys=1))
    assert not plan.is_holding
    assert "all keys get 1,000 events a second each" in plan.chosen.against


def test_a_target_that_is_too_tight_is_refused_with_what_can_be_had() -> None:
    plan = planned(SMALL, target_p99_ms=50)
    assert "the target 50" in plan.chosen.against
    assert planned(SMALL, target_p99_ms=60_000).is_holding


@pytest.mark.parametrize(("steps", "step_ms", "batch"), [(1, 80, 1), (3, 1_000, 1), (10, 1_000, 1), (10, 1_000, 10)])
def test_a_key_keeps_up_in_the_simulation_at_the_rate_that_it_is_said_to_hold(
    steps: int, step_ms: float, batch: int
) -> None:
    """A run lasts as long as its slowest step: were it taken to last as long as a step does on average, queues grew."""
    slow = replace(SMALL, keys=1, rate=0.001, steps=steps, step_ms=step_ms)
    case = case_of(replace(slow, rate=case_of(slow, batch=batch).flows[0].key_rate_max * 0.999), batch=batch)
    assert case.lagging is None
    run = RunModel(Kind.EXPRESS, batch, steps, step_ms, STRICT.memory_mb)
    few, many = (
        percentiles(
            [(1, simulate(case.flows[0].keys, run, LATENCIES, case.sizing.intake, SlotQueue(0, 0), events=events))]
        ).p50_ms
        for events in (3_000, 12_000)
    )
    assert many < 1.3 * few


@settings(deadline=None)
@given(st.floats(0.5, 1_000), st.floats(1.01, 20), st.integers(1, 40))
def test_the_slowest_of_more_steps_takes_longer(p50: float, ratio: float, of: int) -> None:
    latency = Latency(p50, p50 * ratio)
    assert latency.slowest(1) == latency.mean
    assert latency.slowest(of + 1) > latency.slowest(of) * (1 - 1e-3)


def test_a_run_finds_as_many_events_as_come_while_the_one_before_lasts() -> None:
    times = case_of(replace(SMALL, steps=10, step_ms=500)).times
    for rate in (0.1, 1, 1.5):
        waiting = times.waiting(rate)
        assert waiting == pytest.approx(rate * times.run_ms(waiting) / 1_000)
    assert times.waiting(1_000 / times.event_ms) == inf


@pytest.mark.parametrize(
    ("kind", "step_ms", "batch", "said"),
    [
        (Kind.EXPRESS, 150_000, 1, "an Express execution ends after 300 s"),
        (Kind.NESTED, 150_000, 1, "an Express execution ends after 300 s"),
        (Kind.EXPRESS, 8_000, 50, "an Express execution ends after 300 s"),
        (Kind.STANDARD, 400_000, 1, "a Lambda function ends after 900 s"),
        (Kind.STANDARD, 20_000, 90, "a Lambda function ends after 900 s"),
    ],
)
def test_a_run_that_aws_would_end_is_refused(kind: Kind, step_ms: float, batch: int, said: str) -> None:
    """By its p99, of full runs: the mean would let one in three be cut off."""
    slow = replace(SMALL, rate=0.01, step_ms=step_ms)
    assert said in planned(slow, kind=kind, batch=batch).chosen.against
    assert planned(replace(slow, step_ms=80), kind=kind, batch=batch).is_holding


def test_steps_of_minutes_are_planned_on_standard() -> None:
    """Which doesn't end after five."""
    plan = planned(replace(SMALL, rate=0.01, step_ms=150_000))
    assert plan.is_holding
    assert plan.chosen.case.settings.kind is Kind.STANDARD


def test_a_key_gets_no_more_than_its_one_shard_takes() -> None:
    """However many shards there are: three records of a megabyte a second."""
    plan = planned(replace(SMALL, rate=3, keys=1, payload_bytes=1_048_576, step_ms=1))
    assert "a key has one shard, which holds 0.76 such events a second" in plan.chosen.against
    assert plan.chosen.case.falls_behind


@pytest.mark.parametrize(("keys", "rate"), [(40, 4_000), (300, 20_000), (100_000, 20_000), (1, 700)])
def test_the_fullest_shard_takes_the_keys_that_it_gets(keys: int, rate: float) -> None:
    """As Kinesis deals them out, by their MD5: in nine of ten streams no shard gets more than its thousand records."""
    shards = case_of(replace(SMALL, rate=rate, keys=keys, step_ms=1)).sizing.shards
    held = 0
    for stream in range(100):
        counts = Counter(
            int.from_bytes(md5(f"{stream}/{key}".encode(), usedforsecurity=False).digest()) * shards >> 128
            for key in range(min(keys, 5_000))
        )
        held += max(counts.values()) * rate / min(keys, 5_000) <= 1_000
    assert held >= 90


def test_more_shards_than_the_template_takes_are_planned_on_demand() -> None:
    plan = planned(replace(SMALL, rate=5_000, keys=1_000_000, payload_bytes=100_000))
    assert plan.is_holding
    assert plan.chosen.case.settings.stream_mode is StreamMode.ON_DEMAND


def test_large_payloads_are_batched_since_they_ride_beside_the_run() -> None:
    """In its input stands only where they lie."""
    inline, aside = (
        replace(SMALL, payload_bytes=size) for size in (EVENT_INLINE_BYTES_MAX, EVENT_INLINE_BYTES_MAX + 1)
    )
    assert (inline.batch_max(10), aside.batch_max(10)) == (1, 10)


def test_an_on_demand_stream_is_bound_by_records_too() -> None:
    """Small ones: 4,000 a second at first."""
    tiny = replace(SMALL, rate=10_000, payload_bytes=10)
    (need,) = [
        need
        for need in needs_of(case_of(tiny, stream_mode=StreamMode.ON_DEMAND), "us-east-1")
        if need.name == "kinesis_on_demand"
    ]
    assert need.needed == 10
    assert need.is_met


def test_a_key_that_is_seldom_busy_pays_for_the_count_of_runs() -> None:
    """Eight buckets of two queues, once a second: more than a dollar a million events at one a second."""
    usd = {}
    for rate in (1, 100):
        cost = cost_of(case_of(replace(SMALL, rate=rate, keys=100_000)), PRICES)
        (item,) = [item for item in cost.items if item.name == "DynamoDB, slots looked at and counted"]
        usd[rate] = item.usd_a_month / cost.events * 1e6
    assert 1.5 < usd[1] < 4
    assert usd[100] < 0.1


def test_what_all_runs_share_bounds_a_load() -> None:
    """One item tells the slots, one partition the controls: every sequencer's environment reads them."""
    plan = planned(replace(LARGE, rate=100_000), kind=Kind.EXPRESS, batch=1)
    assert "slots or controls are read" in plan.chosen.against
    held = planned(LARGE, kind=Kind.EXPRESS, batch=1).chosen.case.sizing
    assert max(held.slot_reads, held.control_reads) <= 3_000
    assert held.slot_writes <= 1_000
    rare = case_of(replace(SMALL, rate=0.001)).sizing
    assert rare.control_reads <= 0.002


def test_what_costs_a_little_more_is_not_told_to_find_as_many_events() -> None:
    """Of eight events a day each kind costs what its shard does."""
    plan = planned(replace(SMALL, rate=0.0001), batch=1)
    assert {option.against for option in plan.rejected} == {"hardly dearer"}


def test_many_slots_are_planned_at_once() -> None:
    """A hundred million are no reason to count to them."""
    assert slot_queue(1e8, 125_000_000, 200) == SlotQueue(0, 0)
    assert slot_queue(9_999, 12_500, 200) == SlotQueue(0, 0)


def test_an_account_without_room_for_a_single_run_holds_nothing() -> None:
    """One run of three steps takes three, besides dispatcher, sequencer and the rest."""
    rare = replace(SMALL, rate=0.01)
    assert "concurrency leaves room for 0" in planned(rare, concurrency=9).chosen.against
    fits = planned(rare, concurrency=10)
    assert fits.is_holding
    (need,) = [need for need in fits.needs if need.name == "lambda_concurrency"]
    assert (need.needed, need.default, need.ask_for) == (10, 10, None)


def test_a_small_account_bounds_the_runs_in_flight() -> None:
    """A new account's concurrency of 10 leaves a slot, which ten events a second don't fit through."""
    plan = planned(SMALL, concurrency=10)
    assert "concurrency leaves room for 1" in plan.chosen.against
    assert planned(SMALL, concurrency=1_000).is_holding


def test_a_backlog_costs_less_in_full_runs() -> None:
    heavy = replace(SMALL, payload_bytes=262_144)
    assert (
        cost_of(with_full_runs(case_of(heavy), 1), PRICES).usd_a_million < cost_of(case_of(heavy), PRICES).usd_a_million
    )
    for load in (LARGE, SMALL, replace(SMALL, rate=0.01)):
        one, ten, fifty = (cost_of(with_full_runs(case_of(load), batch), PRICES).usd_a_million for batch in (1, 10, 50))
        assert fifty < ten < 0.7 * one
        for batch in (1, 10, 50):
            full = with_full_runs(case_of(load), batch)
            assert [flow.batch for flow in full.flows] == pytest.approx([batch] * len(full.flows))


def test_a_plan_is_the_same_each_time() -> None:
    first, second = case_of(SMALL).put_to_done, case_of(SMALL).put_to_done
    assert first == second
    assert first.p50_ms < first.p99_ms


def test_an_event_waits_for_its_batchs_window_and_a_target_does_without() -> None:
    """Half a window in the middle, nearly all of it at worst; it is given up only where it can't be held."""
    soon, gathered = (case_of(SMALL, window_s=window_s).put_to_done for window_s in (0, 1))
    assert 400 < gathered.p50_ms - soon.p50_ms < 600
    assert gathered.p99_ms > soon.p99_ms
    target = round(soon.p99_ms + (gathered.p99_ms - soon.p99_ms) / 4)
    assert planned(SMALL, kind=Kind.EXPRESS, batch=1).chosen.case.settings.window_s == 1
    held = planned(SMALL, kind=Kind.EXPRESS, batch=1, target_p99_ms=target)
    assert (held.is_holding, held.chosen.case.settings.window_s) == (True, 0)


def test_busy_keys_wait_longer_in_the_simulation() -> None:
    quiet, busy = case_of(SMALL), case_of(replace(SMALL, rate=400))
    assert busy.put_to_done.p99_ms > quiet.put_to_done.p99_ms


def test_put_to_done_is_never_less_than_its_parts() -> None:
    """Half of the events take the stream's half, half a window, and a run."""
    found = case_of(SMALL).put_to_done
    assert found.p50_ms > LATENCIES.stream_read.p50 + 80


@given(st.floats(0.1, 500), st.integers(1, 600))
def test_slots_to_spare_shorten_the_wait(in_flight: float, slots: int) -> None:
    one, more = slot_queue(in_flight, slots, 200), slot_queue(in_flight, slots + 10, 200)
    assert 0 <= more.chance <= one.chance <= 1
    assert more.wait_ms <= one.wait_ms


def test_too_few_slots_are_waited_for_without_end() -> None:
    assert slot_queue(5, 5, 200) == SlotQueue(1.0, inf)
    assert slot_queue(0.5, 1, 200).chance == pytest.approx(0.5)


def test_classes_count_by_their_rates() -> None:
    """A class with a hundredth of the events doesn't move the median, whatever its sample's size."""
    found = percentiles([(99.0, [10.0] * 5), (1.0, [1_000.0] * 500)])
    assert (found.p50_ms, found.p99_ms) == (10, 10)


def test_quotas_are_asked_for_in_round_figures() -> None:
    assert [rounded_up(value) for value in (7.2, 101, 62_500)] == [8, 110, 63_000]


def test_a_processor_is_shared_by_memory() -> None:
    assert on_processor(4, 1_769) == on_processor(4, 3_000) == 4
    assert on_processor(4, 256) == pytest.approx(27.6, abs=0.1)


def test_every_latency_and_quota_says_where_it_comes_from() -> None:
    assert all(one.source for one in LATENCIES.assumptions)
    assert any(not one.is_published for one in LATENCIES.assumptions)
    for kind in Kind:
        assert all(need.source for need in needs_of(case_of(SMALL, kind=kind), "us-east-1"))


def test_a_plan_knows_the_template_as_it_is() -> None:
    """Bounds of its parameters, the mapping's batches, the dispatcher's memory."""
    parameters, resources = source()["Parameters"], source()["Resources"]
    mapping = resources["DispatcherFunctionRecords"]["Properties"]
    assert mapping["BatchSize"] == BATCH_RECORDS
    assert mapping["MaximumBatchingWindowInSeconds"] == {"Ref": "BatchingWindowSeconds"}
    window = parameters["BatchingWindowSeconds"]
    assert window["Default"] == WINDOWS_S[0]
    assert all(window["MinValue"] <= tried <= window["MaxValue"] for tried in WINDOWS_S)
    assert resources["DispatcherFunction"]["Properties"]["MemorySize"] == DISPATCHER_MB
    assert (parameters["IndexBuckets"]["Default"], parameters["IndexBuckets"]["MaxValue"]) == (
        BUCKETS_LEAST,
        BUCKETS_MAX,
    )
    assert parameters["MaxInFlightRuns"]["MaxValue"] == SLOTS_MAX
    assert parameters["ParallelizationFactor"]["MaxValue"] == FACTOR_MAX
    assert parameters["SlotQuantumRuns"]["Default"] == SLOT_QUANTUM_RUNS
    assert parameters["ShardCount"]["MaxValue"] == SHARDS_MAX
    assert parameters["DuplicateWindowHours"]["Default"] == DUPLICATE_WINDOW_DAYS * 24
    longer_days = parameters["PayloadRetentionDays"]["Default"] - parameters["EventRetentionDays"]["Default"]
    assert longer_days == PAYLOADS_LONGER_DAYS
