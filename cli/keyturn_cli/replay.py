"""`keyturn replay`: run finished events again. Planned first, then applied; both in the cloud."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from keyturn.adapters.controls import Controls
from keyturn.adapters.price_list import load_prices_or_reference
from keyturn.adapters.replays import ReplayStore
from keyturn.adapters.schemas import load_routes
from keyturn.adapters.table import Table
from keyturn.core.prices import PriceList
from keyturn.core.replay_estimate import scan_cost
from keyturn.core.replay_job import ACTIVE, JobState, ReplayJob
from keyturn.core.replay_plan import Fate, Outcome, PlannedKey
from keyturn_cli.errors import BadInput, CliError, NotDone, NotFound
from keyturn_cli.moments import moment_ms
from keyturn_cli.operator import operate
from keyturn_cli.options import AsOutput, Output, Reason, Yes, checked_reason, confirm, on_stack, show, target_of
from keyturn_cli.replay_text import (
    act_lines,
    amiss_lines,
    as_json,
    held_line,
    is_amiss,
    keys_over,
    plan_lines,
    progress_line,
    selected,
)
from keyturn_cli.screen import Screen
from keyturn_cli.target import AwsOptions, Target

app = typer.Typer(help="Run finished events again: plan, then apply.", no_args_is_help=True, rich_markup_mode=None)

_LOOK_EVERY_S: Final = 1.0
_SILENT_S: Final = 180
"""A replay that is at work and hasn't written for so long was interrupted."""
_INTERRUPTED: Final = 130
_HELD_UP: Final = frozenset({JobState.PLANNED, JobState.APPLYING})

JobId = Annotated[str, typer.Argument(help="The replay's id, as `replay plan` printed it.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Don't wait for it; it goes on in the cloud.")]


@app.command()
@on_stack
def plan(
    key: Annotated[list[str] | None, typer.Option("--key", "-k", help="An ordering key; may be repeated.")] = None,
    keys_file: Annotated[Path | None, typer.Option(help="A file of keys, one a line.")] = None,
    from_position: Annotated[str, typer.Option(help="First position; with one --key.")] = "",
    to_position: Annotated[str, typer.Option(help="Last position; with one --key.")] = "",
    since: Annotated[str, typer.Option("--from", help="Arrived since: RFC 3339, or 2h for two hours ago.")] = "",
    until: Annotated[str, typer.Option("--to", help="Arrived until.")] = "",
    event_type: Annotated[str, typer.Option("--type", help="Event type, or a pattern with one *.")] = "",
    flow_id: Annotated[str, typer.Option(help="The one event, or those of one trace.")] = "",
    outcome: Annotated[
        Outcome,
        typer.Option(
            help="skipped: by a person. dead-lettered: given up, by a person or a route's policy. retried: an attempt"
            " failed or was given up."
        ),
    ] = Outcome.ANY,
    route: Annotated[str, typer.Option(help="Events that this route takes now.")] = "",
    new_generation: Annotated[
        bool, typer.Option("--new-generation", help="Do finished steps again. Without: only what has no result.")
    ] = False,
    rate: Annotated[int, typer.Option(min=1, max=1000, help="Keys a second when it is applied.")] = 10,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; recorded with the plan.")] = "",
    no_wait: NoWait = False,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Work out what a replay would do. Nothing is run before it is applied.

    Everything that is named must hold for an event. Only finished events are replayed.

    Examples:

      keyturn replay plan --key order-1001 --new-generation

      keyturn replay plan --from 3h --to 1h --type 'shop.order.*' --new-generation

      keyturn replay plan --outcome dead-lettered
    """
    target = target_of(where)
    now_ms = time.time_ns() // 1_000_000
    subject = {
        "keys": [*(key or ()), *_keys_of(keys_file)],
        "from_position": from_position,
        "to_position": to_position,
        "from_ms": moment_ms(since, now_ms) if since else 0,
        "to_ms": moment_ms(until, now_ms) if until else 0,
        "type": event_type,
        "flow_id": flow_id,
        "outcome": outcome.value,
        "route": route,
        "is_new_generation": new_generation,
        "rate": rate,
    }
    answer = operate(target, "replay-plan", reason, **subject)
    if "scan" in answer:
        items, size = answer["scan"]["items"], answer["scan"]["bytes"]
        confirm(
            f"No index serves this selection: about {items:,} items ({size / 1e6:,.0f} MB) must be read for it, which"
            f" costs about ${scan_cost(size, _prices(target)):,.2f}. Read them?",
            yes=yes,
        )
        answer = operate(target, "replay-plan", reason, **subject, accepts_scan=True)
    _follow_and_show(target, answer["id"], output, is_waiting=not no_wait)


@app.command()
@on_stack
def apply(
    replay: JobId,
    reason: Reason,
    no_wait: NoWait = False,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Do exactly what a plan says, on the current version of the workflows.

    A key that changed since the plan is refused. Repeat it to go on with a replay that was interrupted, or with keys
    that it left parked.

    Example: keyturn replay apply 20261125-021500-ab12 --reason "bad deploy of 02:00"
    """
    told = checked_reason(reason)
    target = target_of(where)
    job = _load(target, replay)
    what = f"{job.tally.events:,} events of {job.tally.keys:,} keys again"
    is_first = job.applied is None
    confirm(f"{'Run' if is_first else 'Go on running'} {what} at {target.where}?", yes=yes)
    operate(target, "replay-apply", told, id=replay)
    _follow_and_show(target, replay, output, is_waiting=not no_wait)


@app.command()
@on_stack
def cancel(
    replay: JobId,
    reason: Reason,
    no_wait: NoWait = False,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Call a replay off: runs that are under way end, no other one begins.

    Example: keyturn replay cancel 20261125-021500-ab12 --reason "wrong day"
    """
    told = checked_reason(reason)
    target = target_of(where)
    _load(target, replay)
    confirm(f"Call replay {replay} off at {target.where}?", yes=yes)
    operate(target, "replay-cancel", told, id=replay)
    _follow_and_show(target, replay, output, is_waiting=not no_wait)


@app.command()
@on_stack
def status(
    replay: JobId,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Show a replay: its plan, how far it is, and the keys that didn't go through.

    Example: keyturn replay status 20261125-021500-ab12
    """
    _show(target_of(where), replay, output)


@app.command("list")
@on_stack
def list_replays(
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """List the replays of the last 90 days, the latest first.

    Example: keyturn replay list
    """
    target = target_of(where)
    jobs = _store(target).listed()

    def lines(screen: Screen) -> None:
        for job in jobs:
            screen.line(f"{job.id}  {job.state:<10}  {job.tally.events:>7,} events  {selected(job.selection)}")
        if not jobs:
            screen.line(f"No replay was planned at {target.where} in the last 90 days.")

    summaries = [{"id": job.id, "state": job.state.value, "events": job.tally.events} for job in jobs]
    show(output, {"replays": summaries}, lines)


def _follow_and_show(target: Target, job_id: str, output: Output, *, is_waiting: bool) -> None:
    if is_waiting:
        screen = Screen()
        try:
            _follow(lambda: _load(target, job_id), screen, is_quiet=output is Output.JSON)
        except KeyboardInterrupt:
            sys.stderr.write(f"It goes on in the cloud. Look at it: keyturn replay status {job_id}\n")
            raise typer.Exit(_INTERRUPTED) from None
    job = _show(target, job_id, output)
    if is_waiting and job.state is JobState.DONE and any(job.counts.get(fate) for fate in (Fate.REFUSED, Fate.PARKED)):
        raise typer.Exit(1)


def _follow(load: Callable[[], ReplayJob], screen: Screen, *, is_quiet: bool) -> None:
    """Wait until nothing more is done for a replay. Raises NotDone when it was interrupted."""
    is_live = screen.is_live and not is_quiet
    columns = (TextColumn("  "), BarColumn(bar_width=30), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=screen.console, disable=not is_live, transient=True) as bar:
        task = bar.add_task("")
        while (job := load()).state in ACTIVE:
            is_planning = job.state is JobState.PLANNING
            total = None if is_planning else job.tally.keys
            bar.update(task, total=total, completed=keys_over(job), description=progress_line(job))
            if time.time() - job.updated_at_ms / 1_000 > _SILENT_S:
                raise NotDone(
                    f"replay {job.id} has not moved for {_SILENT_S} s; look at the log of the replayer, then go on:"
                    f" keyturn replay apply {job.id}"
                )
            time.sleep(_LOOK_EVERY_S)


def _show(target: Target, job_id: str, output: Output) -> ReplayJob:
    job = _load(target, job_id)
    slots, prices = int(target.environment["MAX_IN_FLIGHT_RUNS"]), _prices(target)
    keys = [planned for _, planned in _store(target).keys(job.id, "")]
    amiss = [planned for planned in keys if is_amiss(planned)]
    held = _held_routes(target, keys) if job.state in _HELD_UP else ()

    def lines(screen: Screen) -> None:
        for line in (*plan_lines(job, slots, prices), *act_lines(job)):
            screen.line(line)
        if job.state not in {JobState.PLANNED, JobState.PLANNING}:
            screen.line(f"  keys         {progress_line(job)}")
        if held:
            screen.line(held_line(held))
        for line in amiss_lines(job, amiss):
            screen.line(line)
        if job.state is JobState.PLANNED:
            screen.line(f'Apply it: keyturn replay apply {job.id} --reason "..."')

    show(output, {**as_json(job, amiss, slots, prices), "held_routes": held}, lines)
    return job


def _held_routes(target: Target, keys: Iterable[PlannedKey]) -> tuple[str, ...]:
    """Name the routes of planned events that start no runs now."""
    routes, standing = load_routes(), Controls(_table(target), 0).read()
    of_plan = {route for planned in keys for name in planned.types if (route := routes.for_type(name)) is not None}
    return tuple(sorted(route.name for route in of_plan if standing.holds_route(route)))


def _load(target: Target, job_id: str) -> ReplayJob:
    job = _store(target).load(job_id)
    if job is None:
        raise NotFound(f"there is no replay {job_id!r} at {target.where}: keyturn replay list names them")
    return job


def _prices(target: Target) -> PriceList:
    return load_prices_or_reference(target.session.region_name or "")


def _store(target: Target) -> ReplayStore:
    return ReplayStore(_table(target))


def _table(target: Target) -> Table:
    return Table(target.client("dynamodb"), target.outputs.state_table_name)


def _keys_of(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        # Not splitlines: a key may hold what other alphabets end a line with.
        keys = [line.rstrip("\r") for line in file.read_bytes().decode("utf-8").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} can't be read: {error}") from error
    if not any(keys):
        raise CliError(f"{file} names no key")
    return [key for key in keys if key]
