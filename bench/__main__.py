"""`python -m bench`: run, print, write docs/performance.md anew. `make bench` is the same."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from keyturn_cli.screen import Screen

from bench.contenders import NAMES, PARAMETERS
from bench.errors import BenchError, told_in_a_line
from bench.ground import FOLDER, PROJECT, fresh_settings
from bench.measurement import Results, merged
from bench.page import write_page
from bench.report import report
from bench.runner import Plan, Runner
from bench.workload import BESIDE, WORKLOADS

RESULTS = PROJECT / "docs" / "performance" / "results.json"
CURVE_EVENTS = 1_000
_WORKLOADS = {one.name: one for one in (*WORKLOADS, BESIDE)}
COMMA = "Several with commas."


def bench(
    runs: Annotated[int, typer.Option(min=1, help="Rounds; tables show medians.")] = 3,
    scale: Annotated[float, typer.Option(min=0.001, max=10.0, help="Times as many events: 0.1 for a look.")] = 1.0,
    only: Annotated[str, typer.Option(help=f"Contenders to run. {COMMA} Of: {', '.join(NAMES)}")] = "",
    without: Annotated[str, typer.Option(help=f"Contenders not to run. {COMMA}")] = "",
    workloads: Annotated[str, typer.Option(help=f"Workloads to run. {COMMA}")] = ",".join(_WORKLOADS),
    curve: Annotated[bool, typer.Option(help="Throughput against the number of keys.")] = True,
    counts: Annotated[bool, typer.Option(help="Count AWS units.")] = True,
    page: Annotated[bool, typer.Option(help="Write docs/performance.md and its plots anew.")] = False,
    add: Annotated[bool, typer.Option(help="Keep what the results have of other workloads and contenders.")] = False,
    again: Annotated[
        bool, typer.Option(help="Run nothing: write the page from docs/performance/results.json.")
    ] = False,
) -> None:
    """Measure Keyturn against naive apps on the same engine, and against DBOS and Restate.

    Example: python -m bench --scale 0.1 --runs 1 --only keyturn-strict,naive-unordered
    """
    screen = Screen()
    if again:
        write_page(PROJECT, Results.read(RESULTS))
        return
    chosen = [
        name for name in _names(only, NAMES, "--only") or NAMES if name not in _names(without, NAMES, "--without")
    ]
    kinds = _names(workloads, list(_WORKLOADS), "--workloads")
    plan = Plan(
        contenders=chosen,
        workloads=[one.scaled(scale) for name, one in _WORKLOADS.items() if name in kinds],
        rounds=runs,
        curve_events=round(CURVE_EVENTS * scale) if curve else 0,
        counts=counts,
    )
    settings = fresh_settings()
    runner = Runner(plan, settings, screen)
    runner.run()
    results = Results(_about(), tuple(runner.measurements), tuple(runner.usage), runner.left_out)
    place = RESULTS if page else FOLDER / "results.json"
    results = merged(Results.read(place), results) if add and place.is_file() else results
    results.write(place)
    screen.line(report(results))
    if page:
        write_page(PROJECT, results)


def _names(text: str, known: Sequence[str], option: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BenchError(f"{option}: there is no {', '.join(unknown)}. There are: {', '.join(known)}")
    return names


def _about() -> dict[str, str]:
    """Tell what the figures depend on."""
    cores = os.cpu_count() or 1
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "command": "python -m bench " + " ".join(sys.argv[1:]),
        "machine": f"{_processor()}, {cores} cores, {platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "engine": f"MiniStack {version('ministack')}",
        "runs in flight": PARAMETERS["MaxInFlightRuns"],
        "load average at the end (1, 5, 15 minutes)": load,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    told_in_a_line(lambda: typer.run(bench))
