"""Tables of results, in Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from bench.contenders import BESIDE_BUSY, CURVE, NAMES, REFERENCE
from bench.measurement import Measurement, Results, Summary, summarize
from bench.measurement import beside as compared
from bench.workload import BESIDE, CURVE_KEYS, WORKLOADS, Workload

_CURVE: Final = "keys-"


def report(results: Results) -> str:
    """Everything, one table below the other."""
    return "\n\n".join(
        part
        for part in (throughput(results), curve(results), beside(results), usage(results), left_out(results))
        if part
    )


def throughput(results: Results, *, plots: str = "") -> str:
    """One table for each workload, below its plot when a folder of plots is named."""
    return "\n\n".join(
        f"**{title}**\n\n{f'![{title}]({plots}/{name}.svg)' if plots else ''}\n\n{_throughput(results, name)}"
        for name, title in _workloads(results.measurements).items()
        if not name.startswith((_CURVE, BESIDE.name))
    )


def _throughput(results: Results, workload: str) -> str:
    found = summaries(results, workload)
    rows = [
        [
            name,
            f"{one.events_per_s:,.0f}" + (f" ({one.slowest:,.0f} to {one.fastest:,.0f})" if one.runs > 1 else ""),
            "" if one.ratio is None else f"{one.ratio:.2f}",
            _seconds(one.p50_ms),
            _seconds(one.p99_ms),
            f"{one.cpu_ms_per_event:.1f}",
            one.order,
        ]
        for name, one in found.items()
    ]
    head = ("contender", "events a second", f"of {REFERENCE}", "p50", "p99", "CPU ms an event", "order kept")
    return table(head, rows)


def summaries(results: Results, workload: str) -> dict[str, Summary]:
    """Sum the runs of a workload up, by contender, in the order of all tables."""
    runs = [one for one in results.measurements if one.workload == workload]
    reference = {one.round: one.events_per_s for one in runs if one.contender == REFERENCE}
    by_name = {name: [one for one in runs if one.contender == name] for name in NAMES}
    return {name: summarize(found, reference) for name, found in by_name.items() if found}


def curve(results: Results) -> str:
    """Events a second against the number of keys."""
    found = {keys: summaries(results, f"{_CURVE}{keys}") for keys in CURVE_KEYS}
    names = [name for name in CURVE if any(name in one for one in found.values())]
    rows = [
        [f"{keys:,}", *(f"{one[name].events_per_s:,.0f}" if name in one else "" for name in names)]
        for keys, one in found.items()
        if one
    ]
    return table(("keys", *names), rows) if rows else ""


def beside(results: Results) -> str:
    """What a busy key does to the waits of the others."""
    alone_name = BESIDE.without_busy_key().name
    rows = []
    for name in BESIDE_BUSY:
        own = [one for one in results.measurements if one.contender == name]
        alone = [one for one in own if one.workload == alone_name]
        found = compared(alone, [one for one in own if one.workload == BESIDE.name])
        if found:
            waits_ms = (found.p50_alone_ms, found.p50_ms, found.p99_alone_ms, found.p99_ms)
            rows.append([name, *map(_seconds, waits_ms), f"{found.p99_ratio:.2f}"])
    head = ("contender", "p50 alone", "p50 beside it", "p99 alone", "p99 beside it", "p99, times")
    return table(head, rows) if rows else ""


def usage(results: Results) -> str:
    """What an event uses of AWS."""
    head = (
        "contender",
        "workload",
        "write units",
        "read units",
        "transitions",
        "Express starts",
        "invocations",
        "log bytes",
        "$ a million",
    )
    rows = [
        [
            one.contender,
            Workload(one.workload, one.events, one.keys).title,
            *(
                f"{value:.2f}"
                for value in (one.write_units, one.read_units, one.transitions, one.express_starts, one.invocations)
            ),
            f"{one.log_bytes:,.0f}",
            f"{one.dollars_per_million:.2f}",
        ]
        for one in results.usage
    ]
    return table(head, rows) if rows else ""


def left_out(results: Results) -> str:
    """Who did not run, and why."""
    return "\n".join(f"- {who}: {why}" for who, why in results.left_out.items())


def about(results: Results) -> str:
    """What the figures depend on."""
    return table(("", ""), [[name, text] for name, text in results.about.items()])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = list(rows)
    widths = [max(len(row[place]) for row in (head, *lines)) for place in range(len(head))]
    ruled = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (head, ruled, *lines)
    )


def _workloads(measurements: Iterable[Measurement]) -> dict[str, str]:
    known = {one.name: place for place, one in enumerate(WORKLOADS)}
    found = {one.workload: Workload(one.workload, one.events, one.keys).title for one in measurements}
    return dict(sorted(found.items(), key=lambda entry: known.get(entry[0], len(known))))


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.2f} s"
