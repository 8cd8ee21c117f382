"""The sweeper's work, once a day: nothing that is unfinished may reach the end of its time to live.

By the index alone, those first that have stood there longest: keys with pending events or a replay, open quarantined
records, open dead letters with their events. What has less than half of its life left gets a whole one; of a key that
is its pending events with their payload objects, and what its run, one that was dropped and its replay have done
already, since a resume after a year must not repeat a finished step. Key states themselves never expire.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from heapq import merge
from itertools import islice
from operator import add
from typing import Final

from keyturn.adapters import telemetry
from keyturn.adapters.index import Entry
from keyturn.adapters.log import EVENT
from keyturn.adapters.open_items import Kind
from keyturn.adapters.outcomes import ATTEMPT
from keyturn.adapters.renewal import Renewed
from keyturn.adapters.steps import RESULT
from keyturn.adapters.table import Item
from keyturn.core.replay_plan import finished_through
from keyturn.core.state import KeyState, Queue, Span, queue_name
from keyturn.errors import StoreError
from keyturn.shell.platform import Platform
from keyturn.shell.time_budget import HasTime

_HANDS: Final = 16
_PIECE: Final = 50
"""Entries that one hand takes at once; their key states are loaded in one call."""


def sweep(platform: Platform, has_time: HasTime) -> dict[str, int]:
    """Make one pass; return how many entries were looked at, and how many items were renewed or could not be.

    A pass that runs out of time tells so by not being noted as one. Raises StoreError when the index can't be read.
    """
    began_at_ms = platform.clock()
    entries = merge(*(platform.index.in_order(family) for family in _families(platform)))
    total, looked_at = Renewed(), 0
    while pieces := [piece for _ in range(_HANDS) if (piece := list(islice(entries, _PIECE)))]:
        looked_at += sum(map(len, pieces))
        renewals = platform.process.side_by_side(
            _HANDS, lambda piece: _renew(platform, piece, began_at_ms, has_time), pieces
        )
        total = reduce(add, renewals, total)
        if not has_time():
            break
    done = {"looked_at": looked_at, "renewed": total.renewed, "failed": total.failed}
    is_whole = not pieces
    _tell(done, total.reason, is_whole=is_whole)
    if is_whole:
        platform.passes.record("sweeper", began_at_ms, platform.clock(), done)
    return done


def _families(platform: Platform) -> list[str]:
    """Name the index families of everything that is unfinished: of routes too that are held but deployed no more."""
    routes = sorted(platform.controls.read().routes | {route.name for route in platform.routes.routes})
    return [*Queue, *(queue_name(Queue.HELD, route) for route in routes), *Kind]


def _tell(done: dict[str, int], reason: str, *, is_whole: bool) -> None:
    telemetry.count("Renewed", done["renewed"])
    telemetry.count("RenewalFailed", done["failed"])
    if is_whole:
        telemetry.count("Sweeps")
    if done["failed"]:
        telemetry.logger().error("not everything was renewed", extra=done | {"reason": reason})
    else:
        telemetry.logger().info("swept", extra=done)


def _renew(platform: Platform, piece: Sequence[Entry], now_ms: int, has_time: HasTime) -> Renewed:
    """Renew what some entries stand for; a failure is counted, the others go on."""
    total = Renewed()
    try:
        for renewed in _renewals(platform, piece, now_ms):
            total += renewed
            if not has_time():
                return total + Renewed(failed=1, reason="out of time")
    except StoreError as error:
        return total + Renewed(failed=1, reason=str(error))
    return total


def _renewals(platform: Platform, piece: Sequence[Entry], now_ms: int) -> Iterator[Renewed]:
    items = [entry for entry in piece if not entry.is_key]
    states, unreadable = platform.keys.load_readable([entry.key for entry in piece if entry.is_key])
    for state in states:
        yield from _key(platform, state, now_ms)
    for error in unreadable:
        yield Renewed(failed=1, reason=str(error))
    wanted = ("key", "position", "expires_at", "payload", "closed")
    for item in platform.open_items.load([(entry.pk, entry.sk) for entry in items], wanted).values():
        if "closed" not in item:
            yield platform.renewal.items([item], now_ms)
            yield from _event_of(platform, item, now_ms)


def _key(platform: Platform, state: KeyState, now_ms: int) -> Iterator[Renewed]:
    for low, high in _pending(state):
        yield platform.renewal.span(state.key, low, high, now_ms)
    for span in _begun(state):
        yield from _done(platform, state.key, span, now_ms)


def _pending(state: KeyState) -> Iterator[tuple[str, str]]:
    """Yield the stretches of a key's log that are yet to be run, as sort keys."""
    behind = finished_through(state)
    if behind < state.tail:
        yield f"{EVENT}{behind}!", EVENT + state.tail
    for span in state.replay.spans if state.replay is not None else ():
        yield EVENT + span.first, EVENT + span.last


def _begun(state: KeyState) -> Iterator[Span]:
    """Yield the stretches of a key's log of which something may be done, and all is not."""
    if state.run is not None:
        yield Span(state.run.slice.first, state.run.slice.last)
    behind = finished_through(state)
    if behind < state.dropped_through:
        yield Span(behind, state.dropped_through)
    if state.replay is not None:
        yield from state.replay.spans


def _done(platform: Platform, key: str, span: Span, now_ms: int) -> Iterator[Renewed]:
    """Renew the step results and attempt records of a stretch of the log."""
    reach = span.last
    try:
        reach = platform.past_steps.reach(key, span.last)
    except StoreError as error:
        yield Renewed(failed=1, reason=str(error))
    for prefix, last in ((RESULT, reach), (ATTEMPT, span.last)):
        yield platform.renewal.span(key, prefix + span.first, f"{prefix}{last}#~", now_ms)


def _event_of(platform: Platform, item: Item, now_ms: int) -> Iterator[Renewed]:
    """Renew the event that a dead letter names, and what was done of it; a quarantined record names none."""
    if "position" not in item:
        return
    span = Span(item["position"], item["position"])
    yield platform.renewal.span(item["key"], EVENT + span.first, EVENT + span.last, now_ms)
    yield from _done(platform, item["key"], span, now_ms)
