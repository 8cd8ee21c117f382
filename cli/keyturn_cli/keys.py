"""`keyturn keys`: the keys of a phase, oldest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from keyturn.core.state import Phase, WaitsFor
from keyturn_cli.looking.explanation import pending, reason, since_ms
from keyturn_cli.looking.key_page import PHASE_STYLES, state_document
from keyturn_cli.looking.listing import Page, Row, read_page
from keyturn_cli.looking.queues import Listed, Mark
from keyturn_cli.looking.stack import StackReader
from keyturn_cli.looking.times import since
from keyturn_cli.looking.wording import aligned, argument, counted, quoted
from keyturn_cli.options import AsOutput, Output, on_stack, show, target_of
from keyturn_cli.screen import Line
from keyturn_cli.target import AwsOptions

LIMIT_MAX: Final = 1_000
_NAMED_MAX: Final = 5
_IDLE: Final = "Idle keys aren't listed, since they aren't indexed; look at one: keyturn key KEY"
_NONE: Final = {
    None: "No key{of} is running, waiting, parked or held",
    Listed.RUNNING: "No key{of} is running",
    Listed.WAITING: "No key{of} waits for a slot",
    Listed.RETRY: "No key{of} waits for its next attempt",
    Listed.PARKED: "No key{of} is parked",
    Listed.HELD: "No key{of} is held",
}
_HEADINGS: Final = ("KEY", "PHASE", "SINCE", "PENDING", "ROUTE", "ATTEMPT", "WHY")


@on_stack
def keys(
    phase: Annotated[Listed | None, typer.Option(help="Only these; else all that aren't idle.")] = None,
    route: Annotated[str, typer.Option(help="Only keys whose run, or next event, is this route's.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="How many keys to list.")] = 50,
    after: Annotated[str, typer.Option(help="Go on behind the page that printed this token.")] = "",
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """List keys by phase, those that wait longest first. Idle keys aren't indexed, so they aren't listed.

    Example: keyturn keys --phase parked

    running: sorted by deadline. waiting: for a slot. retry: until their next attempt may begin. parked: until a person
    decides. held: until they or their route are released.
    """
    if phase is Listed.IDLE:
        show(output, {"keys": [], "after": None, "note": _IDLE}, lambda screen: screen.line(_IDLE))
        return
    listing = _listing(phase, route)
    mark = Mark.read(after, listing) if after else None
    reader = StackReader.of(target_of(where))
    page = read_page(reader, phase, route=route, limit=limit, after=mark)
    now_ms = reader.clock()
    token = page.after.token(listing) if page.after else None
    more = f"keyturn keys {listing}--limit {limit} --after {token}" if token else ""
    show(
        output,
        _document(page, token, now_ms),
        lambda screen: screen.lines(_lines(page, none_of(phase, route), more, now_ms)),
    )
    if page.unreadable:
        named = ", ".join(map(quoted, page.unreadable[:_NAMED_MAX]))
        more = ", ..." if len(page.unreadable) > _NAMED_MAX else ""
        told = f"{counted(len(page.unreadable), 'key')} can't be read by this version: {named}{more}"
        typer.echo(f"{told}. Look from the version that is deployed.", err=True)
    if route and not page.rows and reader.routes.named(route) is None:
        named = ", ".join(one.name for one in reader.routes.routes)
        typer.echo(f"This checkout has no route {quoted(route)}, only {named}.", err=True)


def _listing(phase: Listed | None, route: str) -> str:
    """The options that make one listing another: what its tokens are good for."""
    options = ([f"--phase {phase.value} "] if phase else []) + ([f"--route {argument(route)} "] if route else [])
    return "".join(options)


def none_of(phase: Listed | None, route: str) -> str:
    """Say that no key is listed by a phase (all when None) and a route ("" for all)."""
    return _NONE[phase].format(of=f" of route {quoted(route)}" if route else "")


def _lines(page: Page, none: str, more: str, now_ms: int) -> Iterator[Line]:
    if page.rows:
        heading, *rows = aligned([_HEADINGS, *(_row(row, now_ms) for row in page.rows)])
        yield Line(heading, "bold")
        for row, text in zip(page.rows, rows, strict=True):
            yield Line(text, PHASE_STYLES.get(row.state.phase, "").removeprefix("bold "))
    else:
        among = f" among the {page.looked_at:,} looked at" if page.after else ""
        yield Line(f"{none}{among}.")
    if more:
        yield Line()
        yield Line(f"More: {more}")


def _row(row: Row, now_ms: int) -> tuple[str, ...]:
    state = row.state
    at_ms = since_ms(state)
    return (
        quoted(state.key),
        _phase(row),
        since(at_ms, now_ms) if at_ms else "",
        f"{pending(state):,}" + (" + replay" if state.replay else ""),
        row.route or "-",
        str(state.run.attempt) if state.run else "-",
        reason(state, now_ms),
    )


def _phase(row: Row) -> str:
    """The phase as it is listed by: keys that wait for a time or a release are listed as what they wait for."""
    if row.state.phase is Phase.IDLE:
        return Listed.HELD.value  # an idle key is in no other queue
    names = {WaitsFor.TIME: Listed.RETRY, WaitsFor.RELEASE: Listed.HELD}
    waits_for = row.state.waits_for
    return names[waits_for].value if waits_for in names else row.state.phase.value


def _document(page: Page, token: str | None, now_ms: int) -> dict[str, Any]:
    return {
        "keys": [
            state_document(row.state, now_ms)
            | {"listed": _phase(row), "route": row.route or None, "why": reason(row.state, now_ms)}
            for row in page.rows
        ],
        "after": token,
        "looked_at": page.looked_at,
        "unreadable": list(page.unreadable),
    }
