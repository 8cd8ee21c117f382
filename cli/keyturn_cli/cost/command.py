"""`keyturn cost`: what an event of this stack really costs, counted, and where the money goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from keyturn.adapters.price_list import load_price_file, load_prices
from keyturn.core.prices import PriceList
from keyturn_cli.cost.bill import Bill, Line, Model, bill
from keyturn_cli.cost.metered import Metered, NotMetered, read_metered
from keyturn_cli.moments import clock_text, moment_ms
from keyturn_cli.options import AsOutput, Output, on_stack, show, target_of
from keyturn_cli.planning.latencies import load_latencies
from keyturn_cli.planning.workload import StreamMode
from keyturn_cli.screen import Screen
from keyturn_cli.target import AwsOptions, Target

_BAR_CHARACTERS: Final = 24


@on_stack
def cost(
    since: Annotated[str, typer.Option("--since", help="From when: 15m, 2h, or 2026-11-30T02:00:00Z.")] = "15m",
    until: Annotated[str, typer.Option("--until", help="Until when; now if left out.")] = "",
    prices: Annotated[Path | None, typer.Option("--prices", help="A price list of your own.")] = None,
    price_region: Annotated[str, typer.Option("--price-region", help="Region of the price list.")] = "us-east-1",
    step_ms: Annotated[float, typer.Option("--step-ms", min=0, help="What a worker's own work takes, for GB-s.")] = 20,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Count what events took of AWS and price it: per event, per million, and where the money goes.

    The stack must be deployed with Metering=on, as the local one is. Example: keyturn cost --since 10m
    """
    if not isfinite(step_ms):
        raise typer.BadParameter("--step-ms must be a number of milliseconds")
    now_ms = round(time.time() * 1_000)
    since_ms = moment_ms(since, now_ms)
    until_ms = moment_ms(until, now_ms) if until else now_ms
    if until_ms <= since_ms:
        raise typer.BadParameter("--until isn't after --since")
    asked = load_price_file(prices) if prices else load_prices(price_region)
    target = target_of(where)
    metered = read_metered(target, since_ms, until_ms)
    if not metered.events:
        raise NotMetered(f"no event was finished since {clock_text(since_ms)}: put some, or name an earlier --since")
    architecture = (
        target.client("lambda")
        .get_function_configuration(FunctionName=target.outputs.dispatcher_function_name)
        .get("Architectures", ["x86_64"])[0]
    )
    mode, shards = _stream(target)
    made = bill(metered, asked, Model(load_latencies(), step_ms, architecture, mode))
    hourly = _stream_text(asked, mode, shards)
    show(
        output,
        {**_document(metered, made, asked), "stream_mode": mode.value, "shards": shards},
        lambda screen: _print(screen, metered, made, asked, step_ms, hourly),
    )


def _stream(target: Target) -> tuple[StreamMode, int]:
    """How the stack's stream is billed, and its shards."""
    found = target.client("kinesis").describe_stream_summary(StreamName=target.outputs.stream_name)
    summary = found["StreamDescriptionSummary"]
    mode = summary.get("StreamModeDetails", {}).get("StreamMode", StreamMode.PROVISIONED.value)
    return StreamMode(mode), summary["OpenShardCount"]


def _stream_text(prices: PriceList, mode: StreamMode, shards: int) -> str:
    if mode is StreamMode.PROVISIONED:
        return f"The stream's shards ({shards}) cost ${shards * prices.kinesis_shard_hour:.3g} an hour besides."
    return f"The on-demand stream costs ${prices.kinesis_on_demand_stream_hour:.3g} an hour besides."


def _print(screen: Screen, metered: Metered, made: Bill, prices: PriceList, step_ms: float, hourly: str) -> None:
    runs = f"{metered.events:,} events in {metered.runs:,.0f} runs"
    screen.line(f"{runs}, {clock_text(metered.since_ms)} to {clock_text(metered.until_ms)}")
    screen.line(f"Prices of {prices.region}, read on {prices.read_on}, without free tiers")
    screen.line()
    screen.line(f"  {'':<34}{'an event':>14}{'$ a million':>14}")
    for line in sorted(made.lines, key=lambda line: -line.usd_per_million):
        screen.line(_text(line, made.usd_per_million))
    screen.line(f"  {'together':<34}{'':>14}{made.usd_per_million:>14.2f}")
    screen.line()
    for line in made.effects:
        screen.line(_text(line, 0.0))
    if made.effects:
        screen.line("  The last are what the workers did to tables of their own; they are in no sum.")
    screen.line(
        f"  What comes by the clock (watchdog, sweeper) costs ${made.standing_usd_month:.2f} a month at this rate."
    )
    screen.line(f"  * modelled, with {step_ms:g} ms for a worker's own work (--step-ms), by the latencies that keyturn")
    screen.line(f"    plan prints, most of them assumed. All else was counted. {hourly}")


def _text(line: Line, together: float) -> str:
    bar = "█" * round(_BAR_CHARACTERS * line.usd_per_million / together) if together else ""
    name = f"{line.item}{'' if line.is_counted else ' *'}"
    return f"  {name:<34}{_amount(line.amount):>14}{line.usd_per_million:>14.2f}  {bar}".rstrip()


def _amount(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.3f}" if amount >= 0.001 else f"{amount:.1e}"


def _document(metered: Metered, made: Bill, prices: PriceList) -> Mapping[str, Any]:
    return {
        "since_ms": metered.since_ms,
        "until_ms": metered.until_ms,
        "events": metered.events,
        "runs": metered.runs,
        "price_region": prices.region,
        "prices_read_on": prices.read_on.isoformat(),
        "usd_per_million": made.usd_per_million,
        "standing_usd_month": made.standing_usd_month,
        "lines": [asdict(line) for line in made.lines],
        "effects": [asdict(line) for line in made.effects],
        "functions": list(_functions(metered)),
        "transitions_a_run": dict(metered.transitions),
    }


def _functions(metered: Metered) -> Iterator[Mapping[str, Any]]:
    for function in metered.functions:
        yield {
            "name": function.name,
            "invocations": function.invocations,
            "log_bytes": function.log_bytes,
            "used": dict(function.used),
        }
