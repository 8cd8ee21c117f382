"""Simulates histories by seed: `make simulate SEED=1 RUNS=1000`.

A seed that breaks a promise is made smaller and told in words; the same seed tells the same story on every machine.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "Keyturn")

from tests.simulator.mutations import MUTATIONS
from tests.simulator.runner import Outcome, as_json, outcome_of, shrunk, simulate_seeds
from tests.simulator.scenario import scenario_of
from tests.simulator.simulation import START_MS
from tests.simulator.story import story

_PIECE = 200
_FAILURES_MAX = 3
"""Failing seeds that are told before the rest is only counted."""


def main(
    seed: Annotated[int, typer.Option(help="The first seed.", min=0)] = 1,
    runs: Annotated[int, typer.Option(help="How many seeds, one after the other.", min=1)] = 1_000,
    events: Annotated[int, typer.Option(help="Events of a history, at least.", min=5)] = 5,
    processes: Annotated[int, typer.Option(help="Cores to use.", min=1)] = 1,
    mutation: Annotated[str, typer.Option(help="Break the protocol so first; `list` names how.")] = "",
    tell: Annotated[bool, typer.Option("--tell", help="Tell every history, failed or not.")] = False,
    save: Annotated[Path | None, typer.Option(help="Write the last failure's smallest scenario here.")] = None,
) -> None:
    """Simulate histories and check every promise; exits with 1 when one is broken."""
    if mutation and mutation not in MUTATIONS:
        typer.echo("mutations: " + ", ".join(MUTATIONS), err=mutation != "list")
        raise typer.Exit(0 if mutation == "list" else 2)
    began = time.monotonic()
    total: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    with MUTATIONS[mutation]() if mutation else nullcontext():
        for counts, failed in _pieces(range(seed, seed + runs), events, 1 if mutation else processes):
            total.update(counts)
            for outcome in failed:
                broken[outcome.promise] += 1
                if broken.total() <= _FAILURES_MAX:
                    _tell(shrunk(outcome), save)
            _progress(total, runs, began)
        if tell:
            for each in range(seed, seed + runs):
                typer.echo("\n".join(_lines(outcome_of(scenario_of(each, events)))))
    took_s = time.monotonic() - began
    typer.echo(
        f"{total['histories']} histories, {total['records']} records, {total['calls']} calls to AWS, "
        f"{total['faults']} faults, in {took_s:.0f} s ({total['histories'] / took_s * 60:.0f} a minute)"
    )
    for promise, count in broken.most_common():
        typer.echo(f"broken in {count}: {promise}")
    typer.echo("every promise was kept" if not broken else f"promises were broken in {broken.total()} histories")
    raise typer.Exit(1 if broken else 0)


def _pieces(seeds: range, events: int, processes: int) -> Iterator[tuple[dict[str, int], list[Outcome]]]:
    """Simulate seeds piece by piece; yield each piece's counts and failures."""
    pieces = [seeds[start : start + _PIECE] for start in range(0, len(seeds), _PIECE)]
    simulate = partial(simulate_seeds, events)
    if processes == 1:
        yield from map(simulate, pieces)
        return
    with get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(simulate, pieces)


def _tell(outcome: Outcome, save: Path | None) -> None:
    typer.echo("\n".join(_lines(outcome)))
    if save is not None:
        save.write_text(as_json(outcome.scenario) + "\n")


def _lines(outcome: Outcome) -> list[str]:
    lines = list(story(outcome.scenario, outcome.history, START_MS))
    return [*lines, *(f"BROKEN: {one}" for one in outcome.broken[:5])]


def _progress(total: Counter[str], runs: int, began: float) -> None:
    if sys.stderr.isatty():
        typer.echo(f"\r{total['histories']} of {runs}, {time.monotonic() - began:.0f} s", nl=False, err=True)


if __name__ == "__main__":
    typer.run(main)
