"""What a load costs a month, by item. Units are counted; GB-seconds are modelled, and marked so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from keyturn.core.prices import PriceList
from keyturn_cli.planning.case import Case
from keyturn_cli.planning.sizing import DISPATCHER_MB
from keyturn_cli.planning.units import kept_bytes
from keyturn_cli.planning.workload import Kind, StreamMode

MONTH_HOURS: Final = 730
MONTH_S: Final = MONTH_HOURS * 3_600
_GB: Final = 1e9
_MB: Final = 1_048_576
_DAY_S: Final = 86_400
_DEFINITION_BYTES: Final = 12_000
_INDEX_ENTRY_BYTES: Final = 90
"""Of a key that runs, in the index of due keys; entries are counted once a second."""


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
        Item("CloudWatch Logs", case.units.log_bytes * events / _GB * prices.logs_gb_in),
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
    # Eventually consistent, so a unit reads twice as much.
    counted = case.sizing.in_flight * _INDEX_ENTRY_BYTES / (2 * prices.rounding.read_unit_bytes) * MONTH_S
    yield Item("DynamoDB reads that count running keys", counted * prices.dynamodb_read_unit, is_modelled=True)
    kept = _kept_events(case) * kept_bytes(workload.payload_bytes, workload.steps)
    yield Item(f"DynamoDB storage, {workload.retention_days} days", kept / _GB * prices.dynamodb_gb_month)


def _kept_events(case: Case) -> float:
    return case.workload.rate * case.workload.retention_days * _DAY_S


def _stream_usd(case: Case, events: float, prices: PriceList) -> float:
    payload, rounding = case.workload.payload_bytes, prices.rounding
    if case.settings.stream_mode is StreamMode.PROVISIONED:
        puts = events * _blocks(payload, rounding.kinesis_put_unit_bytes)
        return case.sizing.shards * MONTH_HOURS * prices.kinesis_shard_hour + puts * prices.kinesis_put_unit
    record = rounding.kinesis_on_demand_record_bytes
    gb_in, gb_out = events * _blocks(payload, record) * record / _GB, events * payload / _GB
    traffic = gb_in * prices.kinesis_on_demand_gb_in + gb_out * prices.kinesis_on_demand_gb_out
    return MONTH_HOURS * prices.kinesis_on_demand_stream_hour + traffic


def _blocks(size_bytes: int, block: int) -> int:
    return -(-size_bytes // block)


def _payloads(case: Case, events: float, prices: PriceList) -> Iterator[Item]:
    units = case.units
    requests = units.s3_puts * prices.s3_put + units.s3_gets * prices.s3_get
    yield Item("S3 requests, large payloads", requests * events)
    kept = units.s3_puts * _kept_events(case) * case.workload.payload_bytes
    yield Item("S3 storage, large payloads", kept / _GB * prices.s3_gb_month)
