"""`keyturn release`: publish what is deployed, let some keys try it, promote it or take it back.

`keyturn release KEY`, without one of these words, ends a hold, as `keyturn release held KEY` does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from keyturn.adapters.controls import PARTITION, standing_of
from keyturn.adapters.rollouts import ReleaseStore
from keyturn.adapters.table import Table
from keyturn.core.rollout import WHOLE, Canary, Rollout
from keyturn_cli.errors import CliError
from keyturn_cli.holds import release as release_held
from keyturn_cli.operator import operate
from keyturn_cli.options import AsOutput, Output, Reason, Yes, checked_reason, confirm, on_stack, show, target_of
from keyturn_cli.publishing import deployed, publish_versions
from keyturn_cli.release_text import list_document, list_lines, percent
from keyturn_cli.screen import Screen
from keyturn_cli.target import AwsOptions, Target

_LISTED: Final = 20
_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_NO_PROMOTION: Final = {"promote_after_runs": 0, "promote_after_ms": 0}
_FIRST: Final = Canary(0, WHOLE * 5 // 100, 0)
"""What a canary is like where nothing is said."""


class _ReleaseGroup(TyperGroup):
    """Takes what is none of its commands for the subject of `held`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take options for those of `held`; the group has none but --help."""
        is_of_held = bool(args) and args[0].startswith("-") and args[0] != "--help"
        return super().parse_args(ctx, ["held", *args] if is_of_held else args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take the first word for a key, if it is no command."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["held", *args])


app = typer.Typer(
    cls=_ReleaseGroup,
    help="Deploy without pause: publish a release, let some keys try it, promote it or roll it back."
    " `keyturn release KEY` ends a hold, as `keyturn release held KEY` does.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("held")(release_held)

Number = Annotated[int | None, typer.Argument(min=1, help="The release's number, as `release list` shows it.")]


@app.command()
@on_stack
def publish(reason: Reason, yes: Yes = False, output: AsOutput = Output.TEXT, *, where: AwsOptions) -> None:
    """Publish what is deployed as a release: a version of each workflow and worker. The first one is stable at once.

    Example: sam deploy && keyturn release publish --reason "new card provider"
    """
    told = checked_reason(reason)
    target = target_of(where)
    found = deployed(target)
    what = f"{len(found.machines)} workflows and {len(found.workers)} workers"
    confirm(f"Publish {what} of {target.where} as a release?", yes=yes)
    number = int(operate(target, "release-begin", told)["number"])
    versions = publish_versions(target, found, number)
    done = operate(target, "release-publish", told, number=number, machines=versions.machines, workers=versions.workers)
    _show(output, {"number": number, **done}, f"Published release {number}: {what}.")


@app.command()
@on_stack
def canary(
    reason: Reason,
    number: Number = None,
    share: Annotated[
        float | None, typer.Option(min=0.01, max=100, help="Percent of the keys that take it; at first 5.")
    ] = None,
    promote_after: Annotated[
        str, typer.Option(help="Promote it by itself after so many good runs (200), or so long (30m); or: never.")
    ] = "",
    least: Annotated[
        int | None,
        typer.Option("--min-attempts", min=1, help="Attempts that must have ended before it is judged; at first 10."),
    ] = None,
    most_failed: Annotated[
        int | None,
        typer.Option(
            "--max-failed", min=1, max=100, help="Percent of failed attempts that rolls it back; at first 20."
        ),
    ] = None,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Let a share of the keys take a release, the latest unless one is named; again with another share widens it.

    It is rolled back by itself when too many of its attempts fail. What isn't said again stays as it was.

    Example: keyturn release canary --share 10 --promote-after 500 --reason "new card provider"
    """
    told, said = checked_reason(reason), _promotion(promote_after)
    hundredths = None if share is None else round(share * WHOLE / 100)
    said |= {"share": hundredths, "ended_min": least, "failed_percent": most_failed}
    target = target_of(where)
    rollout = _rollout(target)
    chosen = number or _latest(rollout)
    asked = _asked(rollout, chosen, said)
    keys = f"{percent(asked['share'])} of the keys"
    confirm(f"Let {keys} at {target.where} take release {chosen}?", yes=yes)
    done = operate(target, "release-canary", told, number=chosen, **asked)
    _show(output, done, f"{keys} take release {chosen} when they have been idle.")


@app.command()
@on_stack
def promote(
    reason: Reason, number: Number = None, yes: Yes = False, output: AsOutput = Output.TEXT, *, where: AwsOptions
) -> None:
    """Make a release everybody's, the canary unless one is named: each key takes it when it has been idle.

    Example: keyturn release promote --reason "a day without a failure"
    """
    told = checked_reason(reason)
    target = target_of(where)
    confirm(f"Promote {_named(number, 'the canary')} at {target.where}?", yes=yes)
    done = operate(target, "release-promote", told, number=number)
    _show(output, done, f"Promoted release {done['stable']}: each key takes it when it has been idle.")


@app.command()
@on_stack
def rollback(
    reason: Reason, number: Number = None, yes: Yes = False, output: AsOutput = Output.TEXT, *, where: AwsOptions
) -> None:
    """Take the canary back, or the stable release if there is none; runs under way end on it, nothing begins on it.

    Example: keyturn release rollback --reason "refunds are wrong"
    """
    told = checked_reason(reason)
    target = target_of(where)
    confirm(f"Roll back {_named(number, 'the canary, or else the stable release,')} at {target.where}?", yes=yes)
    done = operate(target, "release-rollback", told, number=number)
    gone = done["rolled_back"][-1]
    _show(
        output,
        done,
        f"Rolled back release {gone}: its keys go on with release {done['stable']}; parked ones are resumed.",
    )


@app.command("list")
@on_stack
def list_releases(output: AsOutput = Output.TEXT, *, where: AwsOptions) -> None:
    """List the releases, the latest first: what each is now, and who did what last, when and why.

    Example: keyturn release list
    """
    target = target_of(where)
    rollout, store = _rollout(target), ReleaseStore(_table(target))
    records = list(store.listed(_LISTED))
    health = store.health(rollout.canary) if rollout.canary is not None else None
    now_ms = int(time.time() * 1_000)
    show(
        output,
        list_document(rollout, records, health),
        lambda screen: screen.lines(list_lines(rollout, records, health, now_ms)),
    )


def _table(target: Target) -> Table:
    return Table(target.client("dynamodb"), target.outputs.state_table_name)


def _rollout(target: Target) -> Rollout:
    arguments = {"KeyConditionExpression": "pk = :pk", "ConsistentRead": True}
    return standing_of(_table(target).query(arguments, {"pk": PARTITION})).rollout


def _latest(rollout: Rollout) -> int:
    if not rollout.machines:
        raise CliError("no release is published yet: keyturn release publish")
    return max(rollout.machines)


def _asked(rollout: Rollout, number: int, said: Mapping[str, int | None]) -> dict[str, int]:
    """Share and rules of a canary: as they are said, else as they stand, else a new canary's."""
    standing = rollout.canary if rollout.canary is not None and rollout.is_canary(number) else _FIRST
    asked = {"share": standing.share, **asdict(standing.rules)}
    return asked | {name: value for name, value in said.items() if value is not None}


def _promotion(text: str) -> dict[str, int | None]:
    """Read --promote-after: a number of runs, or a span of time, or never."""
    if not text:
        return {}
    if text == "never":
        return {**_NO_PROMOTION}
    found = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
    if found is None or int(found[1]) == 0:
        raise typer.BadParameter(
            f"{text!r} is neither a number of runs (200) nor a time (30m), nor never", param_hint="--promote-after"
        )
    amount, unit = int(found[1]), found[2]
    asked = {"promote_after_ms": amount * _UNITS_MS[unit]} if unit else {"promote_after_runs": amount}
    return {**_NO_PROMOTION, **asked}


def _named(number: int | None, otherwise: str) -> str:
    return f"release {number}" if number is not None else otherwise


def _show(output: Output, done: Mapping[str, Any], text: str) -> None:
    def draw(screen: Screen) -> None:
        screen.line(text)

    show(output, done, draw)
