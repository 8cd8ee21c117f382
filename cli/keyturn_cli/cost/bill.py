"""Prices what was metered: what an event took, of what, and where the money goes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Final

from keyturn.core.prices import GB_BYTES, MILLION, PriceList
from keyturn_cli.cost.metered import Function, Metered
from keyturn_cli.planning.latencies import Latencies, on_processor
from keyturn_cli.planning.workload import StreamMode

_STANDING: Final = frozenset({"watchdog", "sweeper", "operator", "replayer", "canary"})
"""Functions that come by the clock, or for a person: what they use isn't an event's."""
_SHARED_PARTS: Final = frozenset({"control", "capacity", "index"})
_REQUESTS_A_MESSAGE: Final = 3
"""To SQS: it is sent, and its mapping receives and deletes it."""
_MONTH_HOURS: Final = 730
_HANDS: Final = 8
"""Keys that the dispatcher works on side by side."""


@dataclass(frozen=True, slots=True)
class Line:
    """One item of the bill."""

    item: str
    unit: str
    amount: float
    """Units an event."""
    usd_per_million: float
    """Dollars a million events."""
    is_counted: bool = True
    """Else it is modelled from the table of latencies."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What a million events like these cost."""

    lines: tuple[Line, ...]
    """Keyturn's own and the services that carry it."""
    effects: tuple[Line, ...]
    """What the workers did to tables of their own: not Keyturn's, and not in the total."""
    standing_usd_month: float
    """What came by the clock, at the metered rate, for a month of 730 hours, as `keyturn plan` has it."""
    events: int

    @property
    def usd_per_million(self) -> float:
        """Dollars for a million events."""
        return sum(line.usd_per_million for line in self.lines)

    def amount(self, item: str) -> float:
        """Units an event of an item; 0 if it isn't on the bill."""
        return sum(line.amount for line in self.lines if line.item == item)


@dataclass(frozen=True, slots=True)
class Model:
    """What isn't counted and has to be taken for granted."""

    latencies: Latencies
    step_ms: float
    """How long a worker's own function takes for one event."""
    architecture: str
    stream_mode: StreamMode = StreamMode.ON_DEMAND


def bill(metered: Metered, prices: PriceList, model: Model, *, events: int | None = None) -> Bill:
    """Make the bill of so many events: of those that were finished, unless it is said."""
    by_event = [function for function in metered.functions if function.name not in _STANDING]
    by_clock = [function for function in metered.functions if function.name in _STANDING]
    counted = _lines(by_event, metered, prices, model)
    standing = sum(amount * usd for _, _, amount, usd, _ in _functions_items(by_clock, metered, prices, model))
    events = metered.events if events is None else events
    return Bill(
        lines=tuple(_per_event(counted, events)),
        effects=tuple(_per_event(_effects_items(by_event, metered, prices), events)),
        standing_usd_month=standing / metered.told_hours * _MONTH_HOURS,
        events=events,
    )


_Item = tuple[str, str, float, float, bool]
"""Item, unit, amount, dollars a unit, whether it was counted."""


def _per_event(items: Iterator[_Item], events: int) -> Iterator[Line]:
    for item, unit, amount, usd, is_counted in items:
        if amount:
            yield Line(item, unit, amount / events, amount * usd / events * MILLION, is_counted)


def _lines(functions: list[Function], metered: Metered, prices: PriceList, model: Model) -> Iterator[_Item]:
    yield from _functions_items(functions, metered, prices, model)
    yield from _step_functions_items(functions, metered, prices, model)
    yield from _stream_items(metered, prices, model.stream_mode)


def _stream_items(metered: Metered, prices: PriceList, mode: StreamMode) -> Iterator[_Item]:
    if mode is StreamMode.PROVISIONED:
        yield "Kinesis PUT units", "unit", metered.counted("PutUnits"), prices.kinesis_put_unit, True
        return
    gb_in, gb_out = metered.counted("RecordKilobytes") / 1_024**2, metered.counted("RecordBytes") / GB_BYTES
    yield "Kinesis on demand, GB in", "GB", gb_in, prices.kinesis_on_demand_gb_in, True
    yield "Kinesis on demand, GB out", "GB", gb_out, prices.kinesis_on_demand_gb_out, True


def _functions_items(functions: list[Function], metered: Metered, prices: PriceList, model: Model) -> Iterator[_Item]:
    yield from _table_items(functions, lambda table: table == metered.state_table, prices)
    yield "Lambda requests", "request", sum(one.invocations for one in functions), prices.lambda_request, True
    gb_s = sum(_gb_s(one, model) for one in functions)
    yield "Lambda GB-seconds", "GB-s", gb_s, prices.lambda_gb_s(model.architecture), False
    yield "log bytes", "byte", sum(one.log_bytes for one in functions), prices.logs_gb_in / GB_BYTES, True
    yield "S3 puts", "request", sum(one.calls("s3.PutObject") for one in functions), prices.s3_put, True
    yield "S3 gets", "request", sum(one.calls("s3.GetObject") for one in functions), prices.s3_get, True
    messages = sum(one.calls("sqs.SendMessage") for one in functions)
    yield "SQS requests", "request", _REQUESTS_A_MESSAGE * messages, prices.sqs_request, True


def _table_items(functions: list[Function], is_wanted: Callable[[str], bool], prices: PriceList) -> Iterator[_Item]:
    for kind, usd in _unit_prices(prices):
        found = [(part, value) for table, part, value in _units(functions, kind) if is_wanted(table)]
        own = sum(value for part, value in found if part not in _SHARED_PARTS)
        yield f"DynamoDB {kind}s", f"{kind} unit", own, usd, True
        shared = sum(value for part, value in found if part in _SHARED_PARTS)
        yield f"DynamoDB {kind}s, slots and controls", f"{kind} unit", shared, usd, True


def _effects_items(functions: list[Function], metered: Metered, prices: PriceList) -> Iterator[_Item]:
    for kind, usd in _unit_prices(prices):
        own = sum(value for table, _, value in _units(functions, kind) if table != metered.state_table)
        yield f"workers' own {kind}s", f"{kind} unit", own, usd, True


def _unit_prices(prices: PriceList) -> tuple[tuple[str, float], ...]:
    return ("write", prices.dynamodb_write_unit), ("read", prices.dynamodb_read_unit)


def _units(functions: list[Function], kind: str) -> Iterator[tuple[str, str, float]]:
    """Tell the units of a kind by table and part of it; a write that was refused is billed as one."""
    words = {kind, "refused"} if kind == "write" else {kind}
    for function in functions:
        for key, value in function.used.items():
            word, _, rest = key.partition(" ")
            table, _, part = rest.partition(" ")
            if word in words:
                yield table, part, value


def _step_functions_items(
    functions: list[Function], metered: Metered, prices: PriceList, model: Model
) -> Iterator[_Item]:
    starts = metered.starts()
    nested = sum(count for name, count in starts.items() if name.endswith("-nested"))
    express = nested + sum(count for name, count in starts.items() if name.endswith("-express"))
    transitions = sum(count * metered.transitions.get(name, 0.0) for name, count in starts.items())
    yield "Standard transitions", "transition", transitions, prices.standard_transition, True
    yield "Express starts", "start", express, prices.express_start, True
    if express:
        share = express / sum(starts.values()) if starts else 0.0
        run_ms = _run_ms(functions, model)
        runs_each = metered.runs * share / express
        billed = prices.express_billed_gb_s(run_ms * max(1.0, runs_each))
        yield "Express GB-seconds", "GB-s", express * billed, prices.express_gb_s[0].usd, False


def _run_ms(functions: list[Function], model: Model) -> float:
    """Model how long one run takes: fan-out, the slowest worker, the sequencer, and what lies between them."""
    workers = [_invocation_ms(one, model) for one in functions if one.is_worker]
    sequencers = [_invocation_ms(one, model) for one in functions if one.name == "sequencer"]
    latencies = model.latencies
    between_ms = 3 * latencies.express_transition.mean + 2 * latencies.lambda_invoke.mean
    return between_ms + max(workers, default=0.0) + max(sequencers, default=0.0)


def _gb_s(function: Function, model: Model) -> float:
    """Model what a function's invocations are billed for; each is rounded up to a millisecond."""
    billed_ms = ceil(_invocation_ms(function, model)) * function.invocations
    return billed_ms / 1_000 * function.memory_mb / 1_024


def _invocation_ms(function: Function, model: Model) -> float:
    """Model an invocation: its calls one after another (the dispatcher's eight keys at a time), and its own work."""
    latencies = model.latencies
    reads = sum(function.calls(f"dynamodb.{name}") for name in ("GetItem", "BatchGetItem", "Query"))
    writes = sum(function.calls(f"dynamodb.{name}") for name in _WRITES)
    starts = function.calls("stepfunctions.StartExecution")
    waiting_ms = reads * latencies.dynamodb_read.mean + writes * latencies.dynamodb_write.mean
    waiting_ms = (waiting_ms + starts * latencies.start_execution.mean) / function.invocations
    cold_ms = latencies.cold_start_share * latencies.lambda_cold_start.mean
    return cold_ms + waiting_ms / (_HANDS if function.name == "dispatcher" else 1) + _own_ms(function, model)


_WRITES: Final = ("PutItem", "UpdateItem", "BatchWriteItem", "TransactWriteItems")


def _own_ms(function: Function, model: Model) -> float:
    latencies = model.latencies
    if function.is_worker:
        return on_processor(latencies.worker_cpu, function.memory_mb) + model.step_ms
    if function.name == "dispatcher":
        records = function.counted("Records") / function.invocations
        return on_processor(latencies.dispatcher_record_cpu * records, function.memory_mb)
    return on_processor(latencies.sequencer_cpu, function.memory_mb)
