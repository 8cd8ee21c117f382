"""What the checkers are fed with: what was put, what workers really did, what the state table says became of the rest.

Times are epoch milliseconds. Positions sort as text, in stream order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple


class Place(NamedTuple):
    """Where a record stands: its ordering key, and its position in the stream."""

    key: str
    position: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A record that the stream took."""

    place: Place
    event_id: str | None = None
    """None for a record that is no event."""
    steps: frozenset[str] = frozenset()
    """Whose effects it must have once it is processed. Empty: not known, then the key's cursor must be past it."""
    batch: int = 1
    """How many events its route lets one run hold."""
    line: int = 0
    """Of the file it came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a worker wrote: one step's effect for one event."""

    place: Place
    step: str
    event_id: str
    turn: int
    """The how-manieth effect of its key it was; counted by the ledger as the worker wrote it."""
    fence: int
    attempt: int = 1
    generation: int = 0
    """Of the step's results: a replay that does finished steps again has one of its own."""
    began_at_ms: int
    ended_at_ms: int


@dataclass(frozen=True, kw_only=True)
class History:
    """Everything that is known of some records and what became of them."""

    sent: tuple[Sent, ...]
    effects: tuple[Effect, ...]
    duplicates: frozenset[Place] = frozenset()
    quarantined: Mapping[Place, str] = field(default_factory=dict)
    """With the reason."""
    dead_letters: frozenset[Place] = frozenset()
    set_aside: frozenset[Place] = frozenset()
    """What the event source gave up: it lies whole in the failure bucket."""
    parked: Mapping[str, str] = field(default_factory=dict)
    """Keys that wait for a person, with the reason."""
    cursors: Mapping[str, str] = field(default_factory=dict)
    """Up to where each key is finished."""
    is_whole: bool = False
    """Whether nobody else put anything, so that every effect must belong to a record in `sent`."""
    skew_ms: int = 0
    """How far the clocks of two workers may be apart: 0 on one machine."""

    @cached_property
    def by_key(self) -> Mapping[str, list[Effect]]:
        """The effects of each key, as they were written."""
        found: dict[str, list[Effect]] = defaultdict(list)
        for effect in sorted(self.effects, key=lambda effect: effect.turn):
            found[effect.place.key].append(effect)
        return found

    @cached_property
    def steps_done(self) -> Mapping[Place, set[str]]:
        """The steps that had their effect, by record."""
        found: dict[Place, set[str]] = defaultdict(set)
        for effect in self.effects:
            found[effect.place].add(effect.step)
        return found

    def is_parked(self, place: Place) -> bool:
        """Whether a record is the one its key is parked at, or waits behind it."""
        return place.key in self.parked and place.position > self.cursors.get(place.key, "")


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, with what shows it."""

    promise: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.promise}: key {self.key!r}: {self.what}"


def short(position: str) -> str:
    """A position as a message shows it: without the padding."""
    parts = position.split("-")
    return parts[1].lstrip("0") if len(parts) == 3 else position
