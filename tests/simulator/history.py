"""What happened, in order: the facts that the checker holds the promises against, and that a story is told from.

Only from outside: what the stream took and handed on, what workers did, what operators asked, and each version of each
key state as it landed in the table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from keyturn.core.state import KeyState


@dataclass(frozen=True, slots=True)
class Put:
    """The stream took a record."""

    at_ms: int
    key: str
    position: str
    event_id: str
    """Empty for a record that is no event."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A worker did something outside: once as its function begins, once as it ends."""

    at_ms: int
    key: str
    position: str
    event_id: str
    step: str
    fence: int
    name: str
    """Its idempotency key."""
    is_end: bool
    execution: str
    invocation: int

    @property
    def generation(self) -> int:
        """Which generation of results it belongs to."""
        return int(self.name.split("#")[2])


@dataclass(frozen=True, slots=True)
class Saved:
    """A version of a key state landed in the table."""

    at_ms: int
    state: KeyState
    log: tuple[str, ...]
    """The positions that the key's log held at that moment."""
    fence: int = 0
    """Of the attempt that had finished, if a sequencer wrote it for that; else 0."""
    execution: str = ""
    """The execution that the sequencer was called by; empty when no worker of it ever answered."""


@dataclass(frozen=True, slots=True)
class Told:
    """Something that the checker needs no sense of, for the story."""

    at_ms: int
    text: str


@dataclass
class History:
    """Everything that happened in one simulation."""

    facts: list[Put | Effect | Saved | Told] = field(default_factory=list)
    acknowledged: set[tuple[str, str]] = field(default_factory=set)
    """(key, position) of the records that the stream's reader has passed."""
    dead: set[tuple[str, str]] = field(default_factory=set)
    """(key, position) of the events that were given up."""
    stored: dict[str, int] = field(default_factory=dict)
    """When the result of a step was stored, by key, position, generation and step."""
    answered: set[int] = field(default_factory=set)
    """Invocations of workers that weren't killed, and of which no call to the table failed: what they did is stored."""
    duplicates: set[tuple[str, str]] = field(default_factory=set)
    """(key, position) of the events that were recorded as duplicates."""
    quarantined: dict[str, str] = field(default_factory=dict)
    """Reason by position."""
    broken: list[str] = field(default_factory=list)
    """Promises that were seen broken as it happened."""

    def of(self, kind: type[Any], key: str | None = None) -> list[Any]:
        """Return the facts of a kind, of one key or all."""
        return [fact for fact in self.facts if isinstance(fact, kind) and (key is None or _key_of(fact) == key)]

    def tell(self, at_ms: int, text: str) -> None:
        """Note something for the story."""
        self.facts.append(Told(at_ms, text))


def _key_of(fact: Put | Effect | Saved | Told) -> str:
    return fact.state.key if isinstance(fact, Saved) else "" if isinstance(fact, Told) else fact.key
