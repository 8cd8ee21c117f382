"""Tells the records of a batch apart, one key at a time: new ones, duplicates, redelivered and late ones."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from keyturn.core.event import Admissible
from keyturn.core.positions import Position
from keyturn.core.state import KeyState


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An event that its producer sent again, and where it came first."""

    event: Admissible
    first: Position


@dataclass(frozen=True, slots=True)
class Sorted:
    """The records of one key in one batch, by what they are."""

    new: tuple[Admissible, ...]
    """Behind the tail. One may stand in the log already, if a dispatcher died before it admitted it."""
    duplicates: tuple[Duplicate, ...]
    old: tuple[Admissible, ...]
    """At or before the tail: redelivered if the log has them, late if not."""

    @property
    def tail(self) -> Position | None:
        """Up to where to admit: through the new events, and through the first of a duplicate, should its dispatcher
        have died between writing it and admitting it. None when the batch has neither."""
        places = [event.position for event in self.new] + [duplicate.first for duplicate in self.duplicates]
        return max(places, default=None)


def sort_events(
    state: KeyState, events: Sequence[Admissible], first_positions: Mapping[tuple[str, str], Position]
) -> Sorted:
    """Sort one key's events, in stream order. `first_positions` says where known (key, identity) pairs came first."""
    known = dict(first_positions)
    new: list[Admissible] = []
    duplicates: list[Duplicate] = []
    old: list[Admissible] = []
    for event in events:
        identity = (event.key, event.identity)
        first = known.get(identity, event.position)
        if first != event.position:
            duplicates.append(Duplicate(event, first))
        elif event.position <= state.tail:
            # Not known by this: a late one goes to quarantine, and what its producer sent again must run in its place.
            old.append(event)
        else:
            known[identity] = event.position
            new.append(event)
    return Sorted(tuple(new), tuple(duplicates), tuple(old))


def split_old(
    old: Sequence[Admissible], in_log: Collection[tuple[str, Position]]
) -> tuple[list[Admissible], list[Admissible]]:
    """Split events at or before the tail into redelivered ones, which the log has, and late ones."""
    redelivered = [event for event in old if (event.key, event.position) in in_log]
    late = [event for event in old if (event.key, event.position) not in in_log]
    return redelivered, late
