"""`keyturn deadletter`: events that were given up."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from keyturn.adapters.keys import KeyStore
from keyturn.adapters.log import EventLog
from keyturn.core.positions import Position
from keyturn_cli.errors import NotFound
from keyturn_cli.items.bulk import Order, carry_out, discarding
from keyturn_cli.items.found import DEAD_LETTERS, Chosen, Found, Items
from keyturn_cli.items.listing import print_one, print_page
from keyturn_cli.items.options import After, All, Because, Data, Id, Ids, Limit
from keyturn_cli.options import AsOutput, Output, Yes, checked_reason, on_stack, target_of
from keyturn_cli.target import AwsOptions, Target

app = typer.Typer(help="Events that were given up.", no_args_is_help=True, rich_markup_mode=None)

_COLUMNS: Final = (("at_ms", "given up (UTC)"), ("key", "key"), ("type", "type"), ("reason", "why"))

ByReason = Annotated[str | None, typer.Option("--reason", help="Only those whose reason holds this text.")]


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
    """List the events that were given up and are open, the first given up first.

    Example: keyturn deadletter list --reason "no such card"
    """
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
    """Show one: why it was given up, what its key does now, and with --data the event.

    Example: keyturn deadletter show 20260105-k3f9x2ab7q4m --data
    """
    items = _items(target_of(where))
    (found,) = items.named([id_])
    state = KeyStore(items.store.table, index_buckets=1, index_rounding_ms=1).load(found.key)
    print_one(items, found, output, facts={"key is": state.phase.value}, raw=_event(items, found) if data else None)


@app.command()
@on_stack
def redrive(
    because: Because,
    ids: Ids = None,
    reason: ByReason = None,
    every: All = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do their finished steps again too.")] = False,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Run given-up events again: a replay of just those, in order within a key; what is new waits behind it.

    Steps that are done aren't done again. A parked key is refused: resume or skip it first. So is one whose replay is
    under way.

    Example: keyturn deadletter redrive 20260105-k3f9x2ab7q4m --because "card service is mended"
    """
    told = checked_reason(because, "--because")
    order = Order("deadletter-redrive", told, "Run {items} of {keys} again", "redriven", {"is_fresh": fresh})
    target = target_of(where)
    carry_out(target, _items(target), Chosen(ids, reason, every), order, output, yes=yes)


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
    """Close dead letters that nothing is to be done for. Each event stays in its key's log until its time to live ends.

    Example: keyturn deadletter discard --reason "no such card" --because "orders were cancelled by phone"
    """
    order = discarding(because)
    target = target_of(where)
    carry_out(target, _items(target), Chosen(ids, reason, every), order, output, yes=yes)


def _items(target: Target) -> Items:
    return Items.of(target, DEAD_LETTERS, lambda reason, wanted: wanted.lower() in reason.lower())


def _event(items: Items, found: Found) -> bytes:
    place = Position(found.item["position"])
    entries = EventLog(items.store.table, retention_s=0).read(found.key, place, place)
    if not entries:
        raise NotFound(f"the event of {found.id} is not in the log any more: its time to live ended")
    content = entries[0].content
    return content if isinstance(content, bytes) else items.payloads.get(content)
