"""A plan in words and as JSON. `~` marks what is modelled; the rest is counted, or read from a dated file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from keyturn_cli.planning.case import Case, with_full_runs
from keyturn_cli.planning.choosing import BATCHES, Option, Plan
from keyturn_cli.planning.costs import cost_of
from keyturn_cli.planning.quotas import Need, read_on
from keyturn_cli.planning.sizing import SPARE_CONCURRENCY
from keyturn_cli.planning.units import WRITE_UNIT_BYTES, event_item_bytes
from keyturn_cli.planning.workload import StreamMode
from keyturn_cli.screen import Line

_LABEL: Final = 16
_QUOTA: Final = 56


def plan_lines(plan: Plan) -> Iterator[Line]:
    """All of a plan, for people."""
    yield from _head(plan)
    for title, lines in (
        ("Settings", _settings(plan.chosen.case)),
        ("Units an event, counted", _units(plan.chosen.case)),
        ("From put to done, simulated", _times(plan.chosen)),
        ("One hot key", _hot_key(plan.chosen.case)),
        (f"AWS's quotas, as of {read_on()}", _quotas(plan)),
        ("A month, at this rate all the time", _cost(plan)),
        ("Chosen, and rejected", _options(plan)),
        (f"Latencies the model takes for granted, as of {plan.latencies.read_on}", _latencies(plan)),
    ):
        yield Line()
        yield Line(title, "bold")
        yield from (Line(f"  {line}") for line in lines)


def _head(plan: Plan) -> Iterator[Line]:
    load = plan.chosen.case.workload
    yield Line(
        f"{load.rate:,.10g} events a second on {load.keys:,} keys, {load.payload_bytes:,} bytes each,"
        f" {load.steps} steps of {load.step_ms:g} ms side by side",
        "bold",
    )
    yield Line("~ is modelled from the latencies below; units are counted, prices and quotas read from dated files.")
    if plan.chosen.against:
        yield Line(
            f"Nothing that was tried holds this. The cheapest, {_named(plan.chosen.case)}: {plan.chosen.against}.",
            "red",
        )


def _named(case: Case) -> str:
    settings = case.settings
    where = f"{settings.memory_mb} MB {settings.architecture}"
    return f"{settings.kind}, batch {case.batch_max}, {where}, {settings.stream_mode}, window {settings.window_s} s"


def _settings(case: Case) -> Iterator[str]:
    settings, sizing = case.settings, case.sizing
    yield _row("route", f"kind {settings.kind}, batch of at most {case.batch_max} events")
    yield _row("functions", f"{settings.memory_mb} MB, Architecture={settings.architecture}")
    if settings.stream_mode is StreamMode.PROVISIONED:
        yield _row("stream", f"StreamMode=PROVISIONED ShardCount={sizing.shards}")
    else:
        yield _row("stream", f"StreamMode=ON_DEMAND; as a provisioned one it would have {sizing.shards} shards")
    yield _row(
        "",
        f"shards by bytes {sizing.shards_by_bytes}, by records {sizing.shards_by_records}, for dispatchers to keep up"
        f" ~{sizing.shards_by_dispatch}, since keys spread unevenly ~{sizing.shards_by_spread}",
    )
    yield _row(
        "dispatchers",
        f"~ParallelizationFactor={sizing.parallelization_factor}: {sizing.dispatcher_concurrency:,} at once,"
        f" {sizing.records_a_batch:,.0f} records and {sizing.dispatcher_ms:,.0f} ms a batch",
    )
    yield _row("", f"BatchingWindowSeconds={settings.window_s}: as long as a batch's first record waits for others")
    yield _row(
        "in flight",
        f"~MaxInFlightRuns={sizing.max_in_flight_runs}: {sizing.in_flight:,.1f} runs of {case.times.run_ms(1):,.0f} ms"
        " each, and a quarter more",
    )
    yield _row(
        "concurrency",
        f"~{sizing.lambda_concurrency:,}: workers {sizing.worker_concurrency:,}, sequencer"
        f" {sizing.sequencer_concurrency:,}, dispatcher {sizing.dispatcher_concurrency:,}, others {SPARE_CONCURRENCY}",
    )
    yield _row(
        "table",
        f"{sizing.write_units_max:,.0f} write and {sizing.read_units_max:,.0f} read units a second at most, the index's"
        f" {sizing.index_write_units_max:,.0f} among them",
    )
    yield _row("index", f"IndexBuckets={sizing.index_buckets}: each takes 1,000 writes a second")
    yield _row(
        "hot partitions",
        f"~of the slots {sizing.slot_reads:,.0f} reads and {sizing.slot_writes:,.0f} writes, of the controls"
        f" {sizing.control_reads:,.0f} reads a second; each takes 3,000 and 1,000",
    )


def _units(case: Case) -> Iterator[str]:
    units = case.units
    yield _row("DynamoDB", f"{units.write_units:.2f} write units, {units.index_write_units:.2f} of them the index's")
    yield _row("", f"{units.read_units:.2f} read units")
    yield _row("", _event_item(case.workload.payload_bytes))
    yield _row("Lambda", f"{units.invocations:.2f} invocations")
    yield _row(
        "workflows",
        f"{units.transitions:.2f} transitions, starts: {units.express_starts:.2f} Express,"
        f" {units.standard_starts:.2f} Standard",
    )
    yield _row("logs", f"{units.log_bytes:,.0f} bytes")
    for flow in case.flows:
        yield _row(
            "runs",
            f"~{flow.batch:.2f} events each, {flow.busy:.1%} of them behind their key's last one: {flow.keys.name}",
        )


def _event_item(payload_bytes: int) -> str:
    size = event_item_bytes(payload_bytes)
    units = -(-size // WRITE_UNIT_BYTES)
    said = f"an event's item has about {size:,} bytes: {units} write unit{'s' if units > 1 else ''}"
    spare = units * WRITE_UNIT_BYTES - WRITE_UNIT_BYTES - event_item_bytes(0)
    return f"{said}; a record of up to {spare:,} bytes would take one less" if units > 1 else said


def _times(option: Option) -> Iterator[str]:
    if option.case.falls_behind:
        yield "not simulated: keys fall behind, for ever"
        return
    found = option.case.put_to_done
    yield _row("put to done", f"~p50 {found.p50_ms:,.0f} ms, p99 {found.p99_ms:,.0f} ms")


def _hot_key(case: Case) -> Iterator[str]:
    sizing, rate = case.sizing, case.flows[0].key_rate_max
    yield _row("by its runs", f"~{_rate(rate)} events a second, since one run follows the other")
    yield _row(
        "by DynamoDB",
        f"{_rate(sizing.key_rate_by_partition)} events a second: 80% of the 1,000 write and 3,000 read units of its"
        " partition",
    )
    yield _row("by Kinesis", f"{_rate(sizing.key_rate_by_shard)} events a second: 80% of its shard")
    yield _row("asked", f"{_rate(case.hottest.key_rate)} events a second of each of {case.hottest.name}")


def _rate(a_second: float) -> str:
    return f"{a_second:,.0f}" if a_second >= 1_000 else f"{a_second:.3g}"


def _quotas(plan: Plan) -> Iterator[str]:
    for need in plan.needs:
        yield f"{need.what:<{_QUOTA}} {need.needed:>12,.0f} of {need.default:>9,} {need.unit}{_advice(need)}"
    yield from (f"{need.what}: {need.source}" for need in plan.needs if need.is_met)


def _advice(need: Need) -> str:
    if need.ask_for is not None:
        return f": ask for {need.ask_for:,}"
    if need.is_met:
        return f": can't be raised; {need.needed / need.default * 10:,.0f} s to get there from nothing"
    return ""


def _cost(plan: Plan) -> Iterator[str]:
    cost, case = plan.chosen.cost, plan.chosen.case
    for item in sorted(cost.items, key=lambda item: -item.usd_a_month):
        a_million = item.usd_a_month / cost.events * 1e6
        mark = "~" if item.is_modelled else " "
        yield f"{item.name:<44} {mark}{item.usd_a_month:>14,.2f} {a_million:>9,.3f} a million events"
    yield f"{'all':<44}  {cost.usd_a_month:>14,.2f} {cost.usd_a_million:>9,.3f} a million events"
    full = (f"{cost_of(with_full_runs(case, batch), plan.prices).usd_a_million:,.2f}" for batch in _batches(case))
    batches = ", ".join(map(str, _batches(case)))
    yield f"a million events under backlog, in full runs of {batches}: {', '.join(full)}"
    yield (
        f"US dollars, prices of {plan.prices.region} on {plan.prices.read_on}, without free tiers and volume steps but"
        " Express's; left out are"
    )
    yield "metrics, alarms, backups, what logs take when they are kept, a stream's retention beyond a day, the archive,"
    yield "customer keys, failed attempts, what comes by the clock, and what your own workers call"
    if plan.prices.unchecked:
        yield f"not checked against a page of AWS: {', '.join(sorted(plan.prices.unchecked))}"


def _batches(case: Case) -> tuple[int, ...]:
    return tuple(sorted({case.workload.batch_max(batch) for batch in (*BATCHES, case.settings.batch)}))


def _options(plan: Plan) -> Iterator[str]:
    for option in (plan.chosen, *plan.rejected):
        mark = "*" if option is plan.chosen else " "
        usd = option.cost.usd_a_month
        yield f"{mark} {_named(option.case):<58} {usd:>14,.2f}  {option.against}".rstrip()


def _latencies(plan: Plan) -> Iterator[str]:
    for one in plan.latencies.assumptions:
        yield f"{one.name:<22} {one.value:<26} {one.source}"


def _row(label: str, text: str) -> str:
    return f"{label:<{_LABEL}}{text}"


def as_json(plan: Plan) -> Mapping[str, Any]:
    """All of a plan, for programs."""
    case = plan.chosen.case
    return {
        "holds": plan.is_holding,
        "against": plan.chosen.against,
        "workload": asdict(case.workload),
        "settings": {**asdict(case.settings), "batch": case.batch_max},
        "sizing": {
            **asdict(case.sizing),
            "shards": case.sizing.shards,
            "lambda_concurrency": case.sizing.lambda_concurrency,
        },
        "units_an_event": {**asdict(case.units), "invocations": case.units.invocations},
        "put_to_done": None if case.falls_behind else asdict(case.put_to_done),
        "hot_key": {
            "by_runs": case.flows[0].key_rate_max,
            "by_partition": case.sizing.key_rate_by_partition,
            "by_shard": case.sizing.key_rate_by_shard,
        },
        "quotas": [{**asdict(need), "is_met": need.is_met, "ask_for": need.ask_for} for need in plan.needs],
        "cost": _cost_as_json(plan.chosen),
        "backlog_usd_a_million": {
            str(batch): cost_of(with_full_runs(case, batch), plan.prices).usd_a_million for batch in _batches(case)
        },
        "rejected": [
            {
                "settings": {**asdict(option.case.settings), "batch": option.case.batch_max},
                "usd_a_month": option.cost.usd_a_month,
                "against": option.against,
            }
            for option in plan.rejected
        ],
        "prices": {
            "region": plan.prices.region,
            "read_on": plan.prices.read_on.isoformat(),
            "unchecked": sorted(plan.prices.unchecked),
        },
        "latencies": {
            "read_on": plan.latencies.read_on.isoformat(),
            "assumptions": [asdict(one) for one in plan.latencies.assumptions],
        },
    }


def _cost_as_json(option: Option) -> Mapping[str, Any]:
    cost = option.cost
    return {
        "usd_a_month": cost.usd_a_month,
        "usd_a_million": cost.usd_a_million,
        "items": [asdict(item) for item in cost.items],
    }
