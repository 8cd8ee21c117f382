"""`keyturn hold`, `keyturn release`: keep a key, a route or everything from starting runs, and let it go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from keyturn_cli.operator import operate
from keyturn_cli.options import AsOutput, Output, Reason, Yes, checked_reason, confirm, on_stack, show, target_of
from keyturn_cli.parked import describe
from keyturn_cli.target import AwsOptions

Key = Annotated[str | None, typer.Argument(help="The ordering key, as it was put into the stream.")]
OfRoute = Annotated[str | None, typer.Option("--route", help="A route, by its name in routes.json.")]
Everything = Annotated[bool, typer.Option("--everything", help="All routes.")]


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is to be held or released."""

    command: str
    """What the operator function calls it, behind `hold-` or `release-`."""
    named: str
    request: Mapping[str, str]


@on_stack
def hold(
    reason: Reason,
    key: Key = None,
    route: OfRoute = None,
    everything: Everything = False,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Let a key, a route or everything start no run until it is released; what comes for it waits.

    Example: keyturn hold --route order-paid --reason "the card service is being mended"
    """
    subject, told = _subject(key, route, everything=everything), checked_reason(reason)
    target = target_of(where)
    confirm(f"Hold {subject.named} at {target.where}?", yes=yes)
    done = operate(target, f"hold-{subject.command}", told, **subject.request)
    show(output, done, lambda screen: screen.line(f"Held {subject.named}: {_standing(done)}. {_afterwards(done)}."))


@on_stack
def release(
    reason: Reason,
    key: Key = None,
    route: OfRoute = None,
    everything: Everything = False,
    close_breaker: Annotated[
        bool, typer.Option("--close-breaker", help="With --route: close the open circuit breaker that holds it, too.")
    ] = False,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Let a held key, route or everything go on: some keys at once, twice as many each second.

    Example: keyturn release --route order-paid --reason "the card service is back"
    """
    if close_breaker and route is None:
        raise typer.BadParameter("it goes with --route only", param_hint="--close-breaker")
    subject, told = _subject(key, route, everything=everything), checked_reason(reason)
    target = target_of(where)
    confirm(f"Release {subject.named}{' and close its breaker' if close_breaker else ''} at {target.where}?", yes=yes)
    more = {"closes_breaker": True} if close_breaker else {}
    done = operate(target, f"release-{subject.command}", told, **subject.request, **more)
    show(output, done, lambda screen: screen.line(f"Released {subject.named}: {_standing(done)}."))


def _subject(key: str | None, route: str | None, *, everything: bool) -> _Subject:
    """Tell what the arguments are about; a usage error unless it is exactly one thing."""
    if [key is not None, route is not None, everything].count(True) != 1:
        raise typer.BadParameter("name exactly one: a KEY, --route ROUTE or --everything", param_hint="KEY")
    if key is not None:
        return _Subject("key", f"key {key!r}", {"key": key})
    if route is not None:
        return _Subject("route", f"route {route!r}", {"route": route})
    return _Subject("everything", "everything", {})


def _afterwards(done: Mapping[str, Any]) -> str:
    if "key" in done:
        return "A run under way goes on"
    return "Runs under way go on; new ones may still start for a second"


def _standing(done: Mapping[str, Any]) -> str:
    """What stands after a command, in words."""
    if "key" in done:
        return describe(done)
    if done["is_held"]:
        return "what comes for it waits until it is released"
    if done["open_breaker"]:
        return f"the breaker {done['open_breaker']!r} still holds it, until a probe succeeds"
    if done["is_everything_held"]:
        return "it still waits, since everything is held"
    return "its keys go on, some more each second"
