"""Which shards may begin: a child only after its parents, so that a key's records keep their order over a reshard.

A key's records go to the parent before the reshard and to a child after it. A child that were begun before its parent
is drained *and* finished (nothing of it at the function, nothing waiting for a retry) could overtake it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """A shard as the stream lists it."""

    shard_id: str
    parents: tuple[str, ...] = ()
    closed: bool = False
    """It takes no more records (it has an ending sequence number)."""


def may_begin(listed: Iterable[ShardInfo], begun: Collection[str], finished: Collection[str]) -> tuple[ShardInfo, ...]:
    """The listed shards to begin now, by name.

    A parent that is not listed and was never begun has left the stream with its records: it holds nobody up.
    One that isn't listed any more but was begun still has records in our hands.
    """
    shards = {shard.shard_id: shard for shard in listed}

    def is_done(parent: str) -> bool:
        return parent in finished or (parent not in shards and parent not in begun)

    return tuple(
        shards[name]
        for name in sorted(shards)
        if name not in begun and name not in finished and all(is_done(parent) for parent in shards[name].parents)
    )
