"""Writes results into docs/performance.md, between its markers, and draws its plots."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench import plots, report
from bench.contenders import CURVE
from bench.errors import BenchError
from bench.measurement import Results
from bench.workload import CURVE_KEYS, WORKLOADS

PAGE: Final = Path("docs/performance.md")
NOT_RUN: Final = "Not run for this page."
PLOTS: Final = Path("docs/performance")


def write_page(project: Path, results: Results) -> None:
    """Bring page and plots up to date."""
    page = project / PAGE
    parts = {
        "about": report.about(results),
        "throughput": report.throughput(results, plots=PLOTS.name),
        "curve": _curve(results),
        "beside": report.beside(results) or NOT_RUN,
        "usage": report.usage(results) or NOT_RUN,
        "left out": report.left_out(results) or "Everybody ran.",
    }
    page.write_text(filled(page.read_text(encoding="utf-8"), parts), encoding="utf-8")
    for name, drawing in drawings(results).items():
        (project / PLOTS).mkdir(exist_ok=True)
        (project / PLOTS / name).write_text(drawing, encoding="utf-8")


def _curve(results: Results) -> str:
    table = report.curve(results)
    return f"![Throughput against the number of keys]({PLOTS.name}/curve.svg)\n\n{table}" if table else NOT_RUN


def filled(text: str, parts: Mapping[str, str]) -> str:
    """Put each part between `<!-- bench: NAME -->` and `<!-- end -->`. Raises BenchError where a marker is missing."""
    for name, part in parts.items():
        marked = re.compile(rf"(<!-- bench: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = marked.subn(lambda found, part=part: f"{found[1]}\n{part}\n\n{found[2]}", text)  # type: ignore[misc]
        if count != 1:
            raise BenchError(
                f"{PAGE}: the markers '<!-- bench: {name} -->' and '<!-- end -->' are there {count} times, not once"
            )
    return text


def drawings(results: Results) -> dict[str, str]:
    """Draw a bar chart for each workload, and the curve: file name -> SVG."""
    drawn = {}
    for workload in WORKLOADS:
        found = report.summaries(results, workload.name)
        if found:
            speeds = {name: one.events_per_s for name, one in found.items()}
            drawn[f"{workload.name}.svg"] = plots.bars(workload.title, speeds, "events/s")
    by_keys = {keys: report.summaries(results, f"keys-{keys}") for keys in CURVE_KEYS}
    lines = [
        plots.Line(name, [(keys, one[name].events_per_s) for keys, one in by_keys.items() if name in one])
        for name in CURVE
    ]
    lines = [line for line in lines if line.points]
    if lines:
        drawn["curve.svg"] = plots.curve("Throughput against the number of keys", lines, "keys", "events/s")
    return drawn
