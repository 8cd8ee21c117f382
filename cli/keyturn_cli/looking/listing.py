"""A page of keys by phase, each with its state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from keyturn.adapters.log import EventLog
from keyturn.core.state import KeyState, Queue, due, queue_name, to_run
from keyturn_cli.looking.queues import Listed, Mark, families, listed
from keyturn_cli.looking.stack import StackReader

LOOKED_AT_MAX: Final = 2_000
"""Keys that one page looks at, however few of them have the wanted route."""
_LOADED_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Row:
    """A listed key."""

    state: KeyState
    route: str
    """Of its run, or of what it would run next; empty when it has none or this checkout doesn't know it."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some keys, oldest first, and where the next page begins."""

    rows: tuple[Row, ...]
    after: Mark | None
    """None when there are no more."""
    looked_at: int
    unreadable: tuple[str, ...] = ()
    """Keys among them that another version wrote."""


def read_page(
    reader: StackReader, phase: Listed | None, *, route: str = "", limit: int, after: Mark | None = None
) -> Page:
    """Read a page of keys. A key that left its queue since the index was read is left out."""
    names = _families(reader, phase, route)
    marks = listed(reader, names, after)
    rows: list[Row] = []
    unreadable: list[str] = []
    last, looked_at = after, 0

    def page(behind: Mark | None) -> Page:
        return Page(tuple(rows), behind, looked_at, tuple(unreadable))

    while chunk := list(islice(marks, min(_LOADED_AT_ONCE, limit))):
        states = reader.readable(mark.key for mark in chunk)
        for mark in chunk:
            last, looked_at = mark, looked_at + 1
            if mark.key not in states:
                unreadable.append(mark.key)
                continue
            row = _row(reader, states[mark.key], names)
            if row is not None and route in {"", row.route}:
                rows.append(row)
            if len(rows) == limit:
                return page(_next(last, marks, is_last_of_chunk=mark is chunk[-1]))
        if looked_at >= LOOKED_AT_MAX:
            return page(last)
    return page(None)


def _next(last: Mark, marks: Iterator[Mark], *, is_last_of_chunk: bool) -> Mark | None:
    """Where the next page begins; None when nothing is behind."""
    return last if not is_last_of_chunk or next(marks, None) is not None else None


def _families(reader: StackReader, phase: Listed | None, route: str) -> list[str]:
    """The queues to read; with a route, those of other held routes needn't be."""
    held = queue_name(Queue.HELD, "")
    others = {f"{held}:{route}", held}
    names = families(reader, phase)
    return [name for name in names if not route or not name.startswith(held) or name in others]


def _row(reader: StackReader, state: KeyState, names: Sequence[str]) -> Row | None:
    """The row of a key; None if it has left its queue since the index was read."""
    entry = due(state, reader.keys.index_rounding_ms)
    is_there = entry is not None and entry.family in names
    return Row(state, route_of(reader, state)) if is_there else None


def route_of(reader: StackReader, state: KeyState) -> str:
    """The route of a key's run, else of what it would run next by this checkout's routes."""
    if state.run is not None:
        return state.run.slice.route
    if state.held_route:
        return state.held_route
    bounds = to_run(state)
    head = EventLog(reader.table, 0).read_behind(state.key, *bounds, limit=1) if bounds else ()
    route = reader.routes.for_type(head[0].type) if head else None
    return route.name if route else ""
