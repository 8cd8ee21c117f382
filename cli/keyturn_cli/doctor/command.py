"""`keyturn doctor`: is a deployed stack as it must be, from end to end?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated, Final

import typer
from rich.markup import escape

from keyturn_cli.doctor.examination import Examination, Options
from keyturn_cli.doctor.examine import examine
from keyturn_cli.doctor.finding import Finding, Verdict
from keyturn_cli.looking.wording import printable
from keyturn_cli.options import AsOutput, Output, Yes, confirm, on_stack, show, target_of
from keyturn_cli.screen import Screen
from keyturn_cli.target import AwsOptions, Target

_STYLES: Final = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.FAILED: "bold red",
    Verdict.NOT_CHECKED: "dim",
}
_NAME_WIDTH: Final = 34
_USD_A_MILLION_READ_UNITS: Final = 0.125
"""DynamoDB on demand, us-east-1, November 2026."""
_READ_UNIT_BYTES: Final = 8_192
"""One read unit, eventually consistent."""


@on_stack
def doctor(
    canary: Annotated[
        bool, typer.Option("--canary/--no-canary", help="Put one event into the stream, under a key of its own.")
    ] = True,
    limit: Annotated[float, typer.Option(min=1, help="Seconds that the canary may take.")] = 120,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Look at every key: scans the state table, asks first.")
    ] = False,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Check a deployed stack from end to end; say what to do about each thing that isn't as it must be.

    Changes nothing, but for the canary: one event of a built-in route that does nothing. Exit code 1 if a check failed.

    Example: keyturn doctor --region eu-west-1 --no-canary
    """
    target = target_of(where)
    if thorough:
        confirm(f"Scan the state table: {_cost(target)}. Go on?", yes=yes)
    examined = Examination(target, Options(canary, limit, thorough))
    screen = Screen()
    if output is Output.TEXT:
        screen.line(f"Stack {target.stack_name} at {target.where}")
    found = _print_as_found(examined, screen) if output is Output.TEXT else list(examine(examined))
    show(output, {"findings": [{"group": group, **finding.as_json()} for group, finding in found]}, lambda _: None)
    verdicts = [finding.verdict for _, finding in found]
    if output is Output.TEXT:
        screen.line("\n" + ", ".join(f"{verdicts.count(verdict)} {verdict.value}" for verdict in Verdict))
    if Verdict.FAILED in verdicts:
        raise typer.Exit(1)


def _print_as_found(examined: Examination, screen: Screen) -> Sequence[tuple[str, Finding]]:
    found: list[tuple[str, Finding]] = []
    with screen.console.status("  looking ...") if screen.is_live else nullcontext():
        for group, finding in examine(examined):
            if not found or found[-1][0] != group:
                screen.line(f"\n{group}")
            found.append((group, finding))
            _print(screen, finding)
    return found


def _print(screen: Screen, finding: Finding) -> None:
    verdict = f"[{_STYLES[finding.verdict]}]{finding.verdict.value:<11}[/]"
    screen.console.print(f"  {verdict}  {escape(finding.name):<{_NAME_WIDTH}}  {escape(printable(finding.told))}")
    if finding.todo:
        screen.line(f"{'':15}{'':{_NAME_WIDTH}}  -> {finding.todo}")


def _cost(target: Target) -> str:
    about = target.client("dynamodb").describe_table(TableName=target.outputs.state_table_name)["Table"]
    units = about["TableSizeBytes"] / _READ_UNIT_BYTES
    usd = units / 1_000_000 * _USD_A_MILLION_READ_UNITS
    return f"about {about['ItemCount']:,} items, {about['TableSizeBytes'] / 1e6:,.0f} MB, {usd:.2f} USD of reads"
