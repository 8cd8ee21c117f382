"""`keyturn resume`, `keyturn skip`: what becomes of a parked key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from keyturn.adapters.keys import KeyStore
from keyturn.adapters.table import Table
from keyturn_cli.completion import parked_keys
from keyturn_cli.operator import operate
from keyturn_cli.options import AsOutput, Output, Reason, Yes, checked_reason, confirm, on_stack, show, target_of
from keyturn_cli.target import AwsOptions, Target

Key = Annotated[
    str, typer.Argument(help="The ordering key, as it was put into the stream.", autocompletion=parked_keys)
]

_NOT_PARKED_MS: Final = 1
"""Since when no key was ever parked: with 0 the stack would take it that nobody looked, and skip what it finds."""


@on_stack
def resume(
    key: Key,
    reason: Reason,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do its finished steps again too.")] = False,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Try the failed run of a parked key again; steps that are done aren't done again.

    Example: keyturn resume order-1001 --reason "card service is back"
    """
    told = checked_reason(reason)
    target = target_of(where)
    confirm(f"Resume key {key!r}{' from its first step' if fresh else ''} at {target.where}?", yes=yes)
    _show(output, operate(target, "resume", told, key=key, is_fresh=fresh), "resumed")


@on_stack
def skip(
    key: Key,
    reason: Reason,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Dead-letter what a parked key failed at, and let it go on behind that.

    Example: keyturn skip order-1001 --reason "customer was refunded by hand"
    """
    told = checked_reason(reason)
    target = target_of(where)
    seen_ms = _parked_at_ms(target, key)  # while this asks, somebody else may skip it, and what comes next may fail
    confirm(f"Give up the failed run of key {key!r} at {target.where}?", yes=yes)
    _show(output, operate(target, "skip", told, key=key, parked_at_ms=seen_ms), "skipped its failed run")


def _parked_at_ms(target: Target, key: str) -> int:
    """Since when a key is parked. If it isn't, the stack says so, and skips nothing that was parked meanwhile."""
    table = Table(target.client("dynamodb"), target.outputs.state_table_name)
    parked = KeyStore(table, index_buckets=1, index_rounding_ms=1).load(key).parked
    return parked.at_ms if parked is not None else _NOT_PARKED_MS


def _show(output: Output, done: Mapping[str, Any], what: str) -> None:
    show(output, done, lambda screen: screen.line(f"Key {done['key']!r} {what}: {describe(done)}."))


def describe(done: Mapping[str, Any]) -> str:
    """What a key does after a command, in words."""
    if done["phase"] != "waiting":
        return f"it is {done['phase']}{' and held' if done['is_held'] else ''} now"
    waits = {"slot": "for a slot", "time": "until no earlier try can be at work", "release": "until it is released"}
    return f"it waits {waits[done['waits_for']]}"
