"""`keyturn drill`: put faults into a running stack, and see that its promises hold."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from keyturn_local.engine import find_running, stop_running
from keyturn_local.settings import LocalSettings
from rich.console import Console

from keyturn_cli.drills.catalogue import DRILLS, drill_named
from keyturn_cli.drills.drill import Drill, Ended, Result
from keyturn_cli.drills.report import as_json, listed_as_json, print_list, print_result, print_sum
from keyturn_cli.drills.running import run_drills
from keyturn_cli.errors import CliError
from keyturn_cli.options import AsOutput, Output, Yes, confirm, on_stack, write_json
from keyturn_cli.project import local_settings
from keyturn_cli.screen import Screen
from keyturn_cli.target import AwsOptions, Target, find_target
from keyturn_cli.up import bring_up

Name = Annotated[str | None, typer.Argument(help="One drill.", autocompletion=lambda: [drill.name for drill in DRILLS])]


@on_stack
def drill(
    name: Name = None,
    every: Annotated[bool, typer.Option("--all", help="All drills: the same as naming none.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Say what drills there are, and run none.")] = False,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Put faults into a stack on purpose, on keys of the drills' own, and check that every promise holds.

    On the local engine unless AWS is named; if none runs, one is started for the drills and stopped again. Against AWS
    it asks first, and leaves out what would kill, restart or throttle something there.

    Example: keyturn drill zombie-worker
    """
    if name is not None and (every or listed):
        raise typer.BadParameter("it goes without --all and --list", param_hint="NAME")
    chosen = DRILLS if name is None else (drill_named(name),)
    if listed:
        _list(output)
        return
    settings = local_settings()
    screen = Screen(Console(file=sys.stderr, highlight=False, soft_wrap=True) if output is Output.JSON else None)
    with _standing(where, settings, screen) as target:
        if not target.is_local:
            confirm(f"Run {len(chosen)} drills at {target.where}, on keys of their own?", yes=yes)
        results = list(_run(chosen, target, settings, screen))
    if output is Output.JSON:
        write_json([as_json(result) for result in results])
    elif len(results) > 1:
        print_sum(screen, results)
    failed = [result.drill.name for result in results if result.ended is Ended.FAILED]
    if failed:
        raise CliError(
            f"{len(failed)} of {len(results)} drills failed: {', '.join(failed)}. What they saw stands above"
        )


def _list(output: Output) -> None:
    if output is Output.JSON:
        write_json([listed_as_json(one) for one in DRILLS])
    else:
        print_list(Screen(), DRILLS)


def _run(chosen: Sequence[Drill], target: Target, settings: LocalSettings, screen: Screen) -> Iterator[Result]:
    for result in run_drills(chosen, target, settings):
        print_result(screen, result)
        yield result


@contextmanager
def _standing(where: AwsOptions, settings: LocalSettings, screen: Screen) -> Iterator[Target]:
    """The stack that was named, else the running one, else one that is started for these drills."""
    if where.means_aws({}) or find_running(settings) is not None:
        yield find_target(where, settings)
        return
    bring_up(settings, screen)
    try:
        yield find_target(where, settings)
    finally:
        stop_running(settings)
