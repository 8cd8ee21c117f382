"""`keyturn quarantine`: records that can't be events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from keyturn.adapters.quarantine import raw_of
from keyturn.core.event import Reason
from keyturn_cli.errors import CliError
from keyturn_cli.items.bulk import Order, carry_out, discarding
from keyturn_cli.items.found import QUARANTINED, Chosen, Items
from keyturn_cli.items.listing import print_one, print_page
from keyturn_cli.items.options import After, All, Because, Data, Id, Ids, Limit
from keyturn_cli.options import AsOutput, Output, Yes, checked_reason, on_stack, target_of
from keyturn_cli.target import AwsOptions, Target

app = typer.Typer(help="Records that can't be events.", no_args_is_help=True, rich_markup_mode=None)

_COLUMNS: Final = (
    ("arrived_at_ms", "arrived (UTC)"),
    ("key", "key"),
    ("reason", "reason"),
    ("detail", "what is wrong"),
)

ByReason = Annotated[str | None, typer.Option("--reason", help=f"Only those set aside as: {', '.join(Reason)}.")]


@app.command("list")
@on_stack
def list_(
    reason: ByReason = None,
    limit: Limit = 20,
    after: After = None,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """List the records that are open, the oldest first.

    Example: keyturn quarantine list --reason data
    """
    _check_reason(reason)
    items = _items(target_of(where))
    print_page(items, _COLUMNS, output, reason=reason, limit=limit, after=after)


@app.command()
@on_stack
def show(
    id_: Id,
    data: Data = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Show one record: what is wrong with it, and with --data what it holds.

    Example: keyturn quarantine show 20260105-k3f9x2ab7q4m --data
    """
    items = _items(target_of(where))
    (found,) = items.named([id_])
    raw = raw_of(items.payloads, items.store.table.get(*found.place) or {}) if data else None
    print_one(items, found, output, facts={}, raw=raw)


@app.command()
@on_stack
def redrive(
    because: Because,
    ids: Ids = None,
    reason: ByReason = None,
    every: All = False,
    force: Annotated[bool, typer.Option("--force", help="Put those too that are still no events.")] = False,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Put records into the stream again, each under its key, in their old order within it.

    Each is checked against the deployed routes and schemas first; what would go wrong again is left. They come behind
    what their keys have done meanwhile. One that is put twice, after a crash, runs once: its source and id tell.

    Example: keyturn quarantine redrive --reason data --because "schema of 5 Jan is deployed"
    """
    told = checked_reason(because, "--because")
    order = Order("quarantine-redrive", told, "Redrive {items} of {keys}", "redriven", {"is_forced": force})
    chosen = _chosen(ids, reason, every=every)
    target = target_of(where)
    carry_out(target, _items(target), chosen, order, output, yes=yes)


@app.command()
@on_stack
def discard(
    because: Because,
    ids: Ids = None,
    reason: ByReason = None,
    every: All = False,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Close records that nothing is to be done for. They can be shown until their time to live ends.

    Example: keyturn quarantine discard 20260105-k3f9x2ab7q4m --because "a test of ours"
    """
    order, chosen = discarding(because), _chosen(ids, reason, every=every)
    target = target_of(where)
    carry_out(target, _items(target), chosen, order, output, yes=yes)


def _items(target: Target) -> Items:
    return Items.of(target, QUARANTINED, lambda reason, wanted: reason == wanted)


def _chosen(ids: Sequence[str] | None, reason: str | None, *, every: bool) -> Chosen:
    _check_reason(reason)
    return Chosen(ids, reason, every)


def _check_reason(reason: str | None) -> None:
    if reason is not None and reason not in set(Reason):
        raise CliError(f"--reason {reason!r} is none of quarantine's: {', '.join(Reason)}")
