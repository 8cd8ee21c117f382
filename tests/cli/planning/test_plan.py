"""A plan holds what it says: more load never takes less, and what it asks for covers what it uses."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keyturn_cli.planning.case import Case, with_full_runs
from keyturn_cli.planning.choosing import WINDOWS_S, Plan, Wanted, make_plan
from keyturn_cli.planning.costs import cost_of
from keyturn_cli.planning.latencies import load_latencies, on_processor
from keyturn_cli.planning.quotas import needs_of, rounded_up
from keyturn_cli.planning.simulation import SlotQueue, percentiles, slot_queue
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
    assert "all keys get 1e+03 events a second each" in plan.chosen.against


def test_a_target_that_is_too_tight_is_refused_with_what_can_be_had() -> None:
    plan = planned(SMALL, target_p99_ms=50)
    assert "the target 50" in plan.chosen.against
    assert planned(SMALL, target_p99_ms=60_000).is_holding


def test_a_small_account_bounds_the_runs_in_flight() -> None:
    """A new account's concurrency of 10 leaves a slot, which ten events a second don't fit through."""
    plan = planned(SMALL, concurrency=10)
    assert "concurrency leaves room for 1" in plan.chosen.against
    assert planned(SMALL, concurrency=1_000).is_holding


def test_a_backlog_costs_less_in_full_runs() -> None:
    one, ten, fifty = (cost_of(with_full_runs(case_of(LARGE), batch), PRICES).usd_a_million for batch in (1, 10, 50))
    assert fifty < ten < one


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
