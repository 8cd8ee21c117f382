"""What a load costs a month, by item. Units are counted; GB-seconds are modelled, and marked so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from keyturn.core.prices import GB_BYTES, PriceList
from keyturn_cli.planning.case import Case
from keyturn_cli.planning.sizing import DISPATCHER_MB
from keyturn_cli.planning.units import IDENTITY_ITEM_BYTES, IDLE_STATE_BYTES, STORAGE_OVERHEAD_BYTES, kept_bytes
from keyturn_cli.planning.workload import Kind, StreamMode

MONTH_HOURS: Final = 730
MONTH_S: Final = MONTH_HOURS * 3_600
_MB: Final = 1_048_576
_DAY_S: Final = 86_400
_DEFINITION_BYTES: Final = 12_000
_INDEX_ENTRY_BYTES: Final = 90
"""Of a key that runs, in the index of due keys."""
_COUNTED_QUEUES: Final = 2
"""Of keys that run, and that wait: each of their buckets is a query of half a read unit at least."""
_WRITES_A_COUNT: Final = 2
"""Who may count, and what was found."""
DUPLICATE_WINDOW_DAYS: Final = 7
PAYLOADS_LONGER_DAYS: Final = 30
"""The template's: how long identities are kept, and how much longer than events large payloads are."""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the bill."""

    name: str
    usd_a_month: float
    is_modelled: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """A month's bill."""

    items: tuple[Item, ...]
    events: float
    """A month."""

    @property
    def usd_a_month(self) -> float:
        """Dollars."""
        return sum(item.usd_a_month for item in self.items)

    @property
    def usd_a_million(self) -> float:
        """Dollars for a million events."""
        return self.usd_a_month / self.events * 1e6


def cost_of(case: Case, prices: PriceList) -> Cost:
    """Work a month's bill out, for the asked rate held all month long."""
    events = case.workload.rate * MONTH_S
    items = (
        *_step_functions(case, events, prices),
        *_lambda(case, events, prices),
        *_dynamodb(case, events, prices),
        Item(f"Kinesis, {case.settings.stream_mode}", _stream_usd(case, events, prices)),
        Item("CloudWatch Logs", case.units.log_bytes * events / GB_BYTES * prices.logs_gb_in),
        *_payloads(case, events, prices),
    )
    return Cost(tuple(item for item in items if item.usd_a_month > 0), events)


def _step_functions(case: Case, events: float, prices: PriceList) -> Iterator[Item]:
    yield Item("Step Functions transitions", case.units.transitions * events * prices.standard_transition)
    yield Item("Express starts", case.units.express_starts * events * prices.express_start)
    if case.settings.kind is not Kind.STANDARD:
        gb_s = sum(
            flow.keys.rate * MONTH_S / flow.batch * _billed_gb_s(case, flow.batch, prices) for flow in case.flows
        )
        yield Item("Express duration", prices.express_usd(gb_s), is_modelled=True)


def _billed_gb_s(case: Case, batch: float, prices: PriceList) -> float:
    copies = case.workload.steps + 1
    payload_mb = (_DEFINITION_BYTES + batch * case.workload.payload_bytes * copies) / _MB
    return prices.express_billed_gb_s(case.times.execution_ms(batch), payload_mb)


def _lambda(case: Case, events: float, prices: PriceList) -> Iterator[Item]:
    units, times, steps = case.units, case.times, case.workload.steps
    # What a run takes besides its events is shared among them; what an event adds isn't.
    run_ms = units.worker_invocations * times.worker_base_ms + units.sequencer_invocations * times.sequencer_ms
    run_gb_s = (run_ms + steps * times.event_ms) / 1_000 * case.settings.memory_mb / 1_024
    dispatch_gb_s = units.dispatcher_invocations * case.sizing.dispatcher_ms / 1_000 * DISPATCHER_MB / 1_024
    usd = (run_gb_s + dispatch_gb_s) * events * prices.lambda_gb_s(case.settings.architecture)
    yield Item("Lambda requests", units.invocations * events * prices.lambda_request)
    yield Item("Lambda GB-seconds", usd, is_modelled=True)


def _dynamodb(case: Case, events: float, prices: PriceList) -> Iterator[Item]:
    workload = case.workload
    yield Item("DynamoDB writes", case.units.write_units * events * prices.dynamodb_write_unit)
    yield Item("DynamoDB reads", case.units.read_units * events * prices.dynamodb_read_unit)
    yield Item("DynamoDB, slots looked at and counted", _slots_usd_a_second(case, prices) * MONTH_S, is_modelled=True)
    kept = _kept_events(case, workload.retention_days) * kept_bytes(workload.payload_bytes, workload.steps)
    known = _kept_events(case, DUPLICATE_WINDOW_DAYS) * (IDENTITY_ITEM_BYTES + STORAGE_OVERHEAD_BYTES)
    states = workload.keys * (IDLE_STATE_BYTES + STORAGE_OVERHEAD_BYTES)
    usd = (kept + known + states) / GB_BYTES * prices.dynamodb_gb_month
    yield Item(f"DynamoDB storage, {workload.retention_days} days", usd)


def _slots_usd_a_second(case: Case, prices: PriceList) -> float:
    """What all keys share: runs are counted once a second at most, by who takes a slot or gives one up."""
    sizing, rate = case.sizing, case.workload.rate
    entries = sizing.in_flight * _INDEX_ENTRY_BYTES / (2 * prices.rounding.read_unit_bytes)
    read_units = _COUNTED_QUEUES * sizing.index_buckets / 2 + entries
    count_usd = read_units * prices.dynamodb_read_unit + _WRITES_A_COUNT * prices.dynamodb_write_unit
    return min(1.0, 2 * rate) * count_usd + sizing.slot_reads * prices.dynamodb_read_unit


def _kept_events(case: Case, days: int) -> float:
    return case.workload.rate * days * _DAY_S


def _stream_usd(case: Case, events: float, prices: PriceList) -> float:
    payload, rounding = case.workload.payload_bytes, prices.rounding
    if case.settings.stream_mode is StreamMode.PROVISIONED:
        puts = events * _blocks(payload, rounding.kinesis_put_unit_bytes)
        return case.sizing.shards * MONTH_HOURS * prices.kinesis_shard_hour + puts * prices.kinesis_put_unit
    record = rounding.kinesis_on_demand_record_bytes
    gb_in, gb_out = events * _blocks(payload, record) * record / GB_BYTES, events * payload / GB_BYTES
    traffic = gb_in * prices.kinesis_on_demand_gb_in + gb_out * prices.kinesis_on_demand_gb_out
    return MONTH_HOURS * prices.kinesis_on_demand_stream_hour + traffic


def _blocks(size_bytes: int, block: int) -> int:
    return -(-size_bytes // block)


def _payloads(case: Case, events: float, prices: PriceList) -> Iterator[Item]:
    units = case.units
    requests = units.s3_puts * prices.s3_put + units.s3_gets * prices.s3_get
    yield Item("S3 requests, large payloads", requests * events)
    kept = _kept_events(case, case.workload.retention_days + PAYLOADS_LONGER_DAYS) * case.workload.payload_bytes
    yield Item("S3 storage, large payloads", units.s3_puts * kept / GB_BYTES * prices.s3_gb_month)
