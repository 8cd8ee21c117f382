"""The keys of a phase, oldest first over all index buckets, page by page; never by scanning the table.

Where a listing stops is a *mark*: the time of its last key, and the key. All that sorts behind the mark is the next
page, so a key that moves in the index meanwhile can be met again or missed, but no other key is.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from heapq import merge
from itertools import chain, islice
from typing import Final, Self

from keyturn.adapters.controls import standing_of
from keyturn.adapters.index import Entry
from keyturn.adapters.keys import STATE, partition
from keyturn.core.state import Queue, queue_name
from keyturn_cli.errors import BadInput
from keyturn_cli.looking.stack import StackReader

_THREADS: Final = 8


class Listed(StrEnum):
    """What keys can be listed by."""

    RUNNING = "running"
    WAITING = "waiting"
    RETRY = "retry"
    PARKED = "parked"
    HELD = "held"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Mark:
    """A key in the index and the time it stands at; the last one of a page is where its listing stopped."""

    at_ms: int
    key: str

    def token(self, listing: str) -> str:
        """Write the mark for a command line: letters, digits, - and _ only. `listing` says which listing it is of."""
        content = json.dumps([listing, self.at_ms, self.key], separators=(",", ":"))
        return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, token: str, listing: str) -> Self:
        """Read a token. Raises BadInput when it is none, or one of another listing."""
        try:
            padded = token + "=" * (-len(token) % 4)
            match json.loads(base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)):
                case [str(of), int(at_ms), str(key)] if of == listing:
                    return cls(at_ms, key)
                case [str(), int(), str()]:
                    raise BadInput("--after is from a listing with other options: repeat those that it came from")
        except (ValueError, binascii.Error, RecursionError):
            pass
        raise BadInput("--after is no token of this command: take it whole from the end of the page before")


def families(reader: StackReader, phase: Listed | None) -> list[str]:
    """Name the index families of a phase; of all when None. Those of every route are among the held ones."""
    held = held_families(reader, {route.name for route in reader.routes.routes})
    if phase is Listed.HELD:
        return held
    if phase is None:
        return [queue_name(queue) for queue in Queue if queue.value in set(Listed) - {Listed.HELD}] + held
    return [phase.value]


def held_families(reader: StackReader, routes: Collection[str] = ()) -> list[str]:
    """Name the index families of held keys: held themselves, or by a route that is held or broken, or one of `routes`.

    Keys that still wait for a route that nobody holds are what `keyturn doctor` looks for.
    """
    standing = standing_of(reader.controls.values())
    everything = {route.name for route in reader.routes.routes} if standing.hold_of("") else set()
    names = sorted({*standing.routes, *everything, *routes})
    return [queue_name(Queue.HELD), *(queue_name(Queue.HELD, route) for route in names)]


def count(reader: StackReader, names: Sequence[str]) -> dict[str, int]:
    """Count the entries of index families, many at once."""
    with ThreadPoolExecutor(_THREADS) as threads:
        return dict(zip(names, threads.map(reader.index.count_family, names), strict=True))


def listed(reader: StackReader, names: Sequence[str], after: Mark | None = None) -> Iterator[Mark]:
    """Yield the keys of families behind a mark, oldest first over all of them."""
    place = Entry(after.at_ms, partition(after.key), STATE) if after else None
    found = merge(*_begun(reader.index.in_order(name, place) for name in names))
    return (Mark(entry.at_ms, entry.key) for entry in found)


def _begun(families: Iterable[Iterator[Entry]]) -> list[Iterator[Entry]]:
    """Have the first entries of each family fetched, many families at once."""
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(lambda one: chain(list(islice(one, 1)), one), families))
