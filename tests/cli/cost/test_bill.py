"""What a million events cost, of what was counted."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyturn_cli.cost.bill import Bill, Model, bill
from keyturn_cli.cost.metered import Function, Metered
from keyturn_cli.planning.latencies import load_latencies
from keyturn_cli.planning.workload import StreamMode

from keyturn.adapters.price_list import load_prices

PRICES = load_prices("us-east-1")
MODEL = Model(load_latencies(), step_ms=20, architecture="x86_64")
HOUR_MS = 3_600_000


def function(name: str, invocations: int, used: dict[str, float], log_bytes: int = 0) -> Function:
    """A function with the template's memory."""
    return Function(name, 256, invocations, used, log_bytes)


def metered(events: int = 100, **starts: float) -> Metered:
    """Count so many events, each with a run, a worker and a sequencer of its own."""
    machines = starts or {"order-express": events}
    calls = {f"calls stepfunctions.StartExecution:keyturn-{name}": count for name, count in machines.items()}
    dispatcher = {
        "counted Started": float(events),
        "counted RecordKilobytes": float(events),
        "write state key": 4.0 * events,
        "write state capacity": 1.0,
        **calls,
    }
    return Metered(
        functions=(
            function("dispatcher", 1, dispatcher, log_bytes=500),
            function("payment", events, {"write state key": 2.0 * events, "write ledger other": 3.0 * events}),
            function("sequencer", events, {"counted Finished": float(events), "write state key": 2.0 * events}),
            function("watchdog", 60, {"write state control": 60.0}),
        ),
        state_table="state",
        since_ms=0,
        until_ms=HOUR_MS,
        transitions={"keyturn-order-standard": 5.0, "keyturn-order-nested": 1.0},
    )


def named(made: Bill, item: str) -> Any:
    """The line of an item."""
    (line,) = [line for line in made.lines if line.item == item]
    return line


def test_units_are_priced_by_the_list_and_told_for_an_event() -> None:
    """Eight write units at $0.625 a million are $5 a million events."""
    line = named(bill(metered(), PRICES, MODEL), "DynamoDB writes")
    assert (line.amount, round(line.usd_per_million, 6)) == (8.0, 5.0)


def test_what_workers_did_to_their_own_tables_is_told_and_not_summed() -> None:
    """Their effects would be there without Keyturn."""
    made = bill(metered(), PRICES, MODEL)
    assert [(line.item, line.amount) for line in made.effects] == [("workers' own writes", 3.0)]
    assert made.usd_per_million == pytest.approx(sum(line.usd_per_million for line in made.lines))


def test_a_standard_run_costs_its_transitions_and_a_nested_one_its_childs_start_besides() -> None:
    """Which is why the kind decides the price."""
    standard = bill(metered(**{"order-standard": 100}), PRICES, MODEL)
    nested = bill(metered(**{"order-nested": 100}), PRICES, MODEL)
    assert named(standard, "Standard transitions").usd_per_million == pytest.approx(125.0)
    assert standard.amount("Express starts") == 0
    assert named(nested, "Standard transitions").usd_per_million == pytest.approx(25.0)
    assert named(nested, "Express starts").usd_per_million == pytest.approx(1.0)


def test_an_execution_that_drains_ten_runs_costs_a_tenth_of_the_starts() -> None:
    """Its duration is billed once, for all of them."""
    one_each = bill(metered(**{"order-express": 100}), PRICES, MODEL)
    drained = bill(metered(**{"order-express": 10}), PRICES, MODEL)
    assert drained.amount("Express starts") == pytest.approx(one_each.amount("Express starts") / 10)
    assert drained.amount("Express GB-seconds") <= one_each.amount("Express GB-seconds")


def test_a_stream_is_billed_as_it_is() -> None:
    """On demand by kilobytes in and bytes out, provisioned by PUT units; its hours are told besides."""
    records = {"counted RecordKilobytes": 200.0, "counted RecordBytes": 150_000.0, "counted PutUnits": 100.0}
    put = replace(metered(), functions=(*metered().functions, function("reader", 1, records)))
    on_demand, provisioned = (
        {
            line.item: line
            for line in bill(put, PRICES, replace(MODEL, stream_mode=mode)).lines
            if "Kinesis" in line.item
        }
        for mode in (StreamMode.ON_DEMAND, StreamMode.PROVISIONED)
    )
    assert set(on_demand) == {"Kinesis on demand, GB in", "Kinesis on demand, GB out"}
    assert on_demand["Kinesis on demand, GB out"].amount == pytest.approx(1_500 / 1_024**3)
    assert set(provisioned) == {"Kinesis PUT units"}
    assert provisioned["Kinesis PUT units"].usd_per_million == pytest.approx(0.014)


def test_a_refused_write_is_billed_to_its_table() -> None:
    """A worker's own is its author's."""
    used = {"refused state key": 2.0, "refused ledger other": 5.0}
    refused = replace(metered(), functions=(*metered().functions, function("inventory", 100, used)))
    made = bill(refused, PRICES, MODEL)
    assert made.amount("DynamoDB writes") == pytest.approx(8.0 + 2 / 100)
    assert [line.amount for line in made.effects] == [pytest.approx(3.0 + 5 / 100)]


def test_the_slow_calls_weigh_in_modelled_seconds() -> None:
    """A bill is of all calls together, as a plan's is: their mean, which the middle one is below."""
    calls = function("payment", 100, {"calls dynamodb.PutItem": 100.0})
    counted = replace(metered(), functions=(*metered().functions, calls))

    def gb_s(p99_ms: float) -> float:
        write = replace(MODEL.latencies.dynamodb_write, p99=p99_ms)
        latencies = replace(MODEL.latencies, dynamodb_write=write)
        return bill(counted, PRICES, replace(MODEL, latencies=latencies)).amount("Lambda GB-seconds")

    assert gb_s(200) > gb_s(20)


def test_only_seconds_are_modelled() -> None:
    """Everything else was counted, and the bill says which is which."""
    modelled = {line.item for line in bill(metered(), PRICES, MODEL).lines if not line.is_counted}
    assert modelled == {"Lambda GB-seconds", "Express GB-seconds"}


def test_what_comes_by_the_clock_is_told_a_month_and_not_an_event() -> None:
    """Sixty writes and sixty invocations an hour, 730 times."""
    made = bill(metered(), PRICES, MODEL)
    without = replace(metered(), functions=metered().functions[:3])
    assert made.standing_usd_month > 0
    assert bill(without, PRICES, MODEL).standing_usd_month == 0
    assert bill(without, PRICES, MODEL).lines == made.lines


def test_a_young_stacks_clock_is_not_taken_to_have_stood_still() -> None:
    """Two minutes of an hour: the watchdog came twice."""
    watchdog = replace(function("watchdog", 2, {"write state control": 2.0}), first_ms=HOUR_MS - 60_000)
    young = replace(metered(), functions=(*metered().functions[:3], watchdog))
    assert bill(young, PRICES, MODEL).standing_usd_month == pytest.approx(
        bill(metered(), PRICES, MODEL).standing_usd_month
    )


@given(st.integers(1, 100_000))
def test_a_million_events_cost_the_same_whatever_the_sample(events: int) -> None:
    """Apart from what a batch shares: one dispatcher, one figure of the slots."""
    shared = {"DynamoDB writes, slots and controls", "Lambda requests", "Lambda GB-seconds", "log bytes"}
    own = [line for line in bill(metered(events), PRICES, MODEL).lines if line.item not in shared]
    again = [line for line in bill(metered(2 * events), PRICES, MODEL).lines if line.item not in shared]
    assert [line.item for line in own] == [line.item for line in again]
    for line, other in zip(own, again, strict=True):
        assert line.usd_per_million == pytest.approx(other.usd_per_million)


def test_prices_say_when_they_were_read() -> None:
    """A bill rests on them."""
    assert isinstance(PRICES.read_on, date)


def test_an_app_that_finishes_nothing_is_billed_for_the_events_that_are_said() -> None:
    """One that has no sequencer counts none, though it takes as much."""
    assert bill(metered(), PRICES, MODEL, events=50).usd_per_million == pytest.approx(
        2 * bill(metered(), PRICES, MODEL).usd_per_million
    )
