"""`keyturn plan`: what a load takes and costs, without AWS and without credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keyturn.adapters.price_list import REFERENCE_REGION, load_price_file, load_prices
from keyturn.core.prices import PriceList
from keyturn.limits import RUN_EVENTS_MAX
from keyturn_cli.errors import BadInput
from keyturn_cli.options import AsOutput, Output, show
from keyturn_cli.planning.asked import asked_workload, whole
from keyturn_cli.planning.choosing import Wanted, make_plan
from keyturn_cli.planning.latencies import load_latencies
from keyturn_cli.planning.text import as_json, plan_lines
from keyturn_cli.planning.workload import Kind


def plan(
    rate: Annotated[str, typer.Option(help="Events a second, all month long: 50000, 50k, 5e4.")],
    keys: Annotated[str, typer.Option(help="Keys that have events: 1e6, 200k.")],
    payload: Annotated[str, typer.Option(help="Bytes of a record: 400, 1k.")] = "1k",
    steps: Annotated[str, typer.Option(help="Workers that run side by side for an event.")] = "3",
    step_ms: Annotated[str, typer.Option(help="What one of them takes for an event, half of the time.")] = "80",
    kind: Annotated[Kind | None, typer.Option(help="Only this kind of workflow.")] = None,
    batch: Annotated[str | None, typer.Option(help="Only runs of at most so many events.")] = None,
    hot_share: Annotated[
        str, typer.Option(help="Share of the events that the busiest hundredth of the keys gets; 0.01 is even.")
    ] = "0.01",
    target_p99: Annotated[str | None, typer.Option(help="Put to done in 99 of 100 cases, in ms.")] = None,
    concurrency: Annotated[str | None, typer.Option(help="Lambda concurrency that the account has.")] = None,
    retention_days: Annotated[str, typer.Option(help="EventRetentionDays: how long the table keeps events.")] = "90",
    region: Annotated[str | None, typer.Option(help="Whose prices and quotas; us-east-1 if left out.")] = None,
    prices: Annotated[Path | None, typer.Option(help="A price list of your own, JSON: its region's quotas.")] = None,
    output: AsOutput = Output.TEXT,
) -> None:
    """Work out what a load takes: settings, quotas, latency, dollars; and the cheapest settings that hold it.

    Asks nothing of AWS and needs no credentials. Units are counted; what is modelled is marked with ~. Exits with 1
    when nothing that was tried holds the load and the target.

    Examples:

      keyturn plan --rate 50000 --keys 1e6 --payload 1k --steps 3 --step-ms 80

      keyturn plan --rate 200 --keys 5k --hot-share 0.5 --target-p99 5000 --concurrency 1000
    """
    workload = asked_workload(
        rate=rate,
        keys=keys,
        payload=payload,
        steps=steps,
        step_ms=step_ms,
        hot_share=hot_share,
        retention_days=retention_days,
    )
    wanted = Wanted(
        kind=kind,
        batch=whole("--batch", batch, 1, RUN_EVENTS_MAX) if batch is not None else None,
        target_p99_ms=whole("--target-p99", target_p99, 1, 86_400_000) if target_p99 is not None else None,
        concurrency=whole("--concurrency", concurrency, 1, 10_000_000) if concurrency is not None else None,
    )
    price_list = _price_list(region, prices)
    made = make_plan(workload, wanted, price_list, load_latencies())
    show(output, as_json(made), lambda screen: screen.lines(plan_lines(made)))
    if not made.is_holding:
        raise typer.Exit(1)


def _price_list(region: str | None, file: Path | None) -> PriceList:
    """Read the list that is asked for. Raises BadInput when a file is another region's: quotas go by it too."""
    if file is None:
        return load_prices(region or REFERENCE_REGION)
    found = load_price_file(file)
    if region not in {None, found.region}:
        raise BadInput(
            f"--prices {file} is of {found.region}, --region is {region}: name one of them, or mend the file"
        )
    return found
