"""The events that every contender gets: the same, from the same seed. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

EVENT_BYTES: Final = 400
STEPS: Final = ("inventory", "payment", "notification")
SEED: Final = 1

_BUSY: Final = "busy"
_TIME: Final = "2026-01-05T08:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Workload:
    """So many events, dealt out evenly over so many keys, in an order that mixes the keys."""

    name: str
    events: int
    keys: int
    busy_events: int = 0
    """Of one key more, all put before the others' first event."""

    @property
    def all_events(self) -> int:
        """With those of the busy key."""
        return self.events + self.busy_events

    def without_busy_key(self) -> Workload:
        """The same without the busy key: what it is compared with."""
        return replace(self, name=f"{self.name}-alone", busy_events=0)

    def scaled(self, scale: float) -> Workload:
        """The same shape with `scale` times as many events, and keys where there are many; at least one each."""
        keys = max(1, round(self.keys * min(1.0, scale))) if self.keys > self.events / 20 else self.keys
        busy_events = max(1, round(self.busy_events * scale)) if self.busy_events else 0
        return replace(self, events=max(keys, round(self.events * scale)), keys=keys, busy_events=busy_events)

    @property
    def title(self) -> str:
        """For tables."""
        busy = f" beside {self.busy_events:,} on one" if self.busy_events else ""
        return f"{self.events:,} events on {self.keys:,} key{'s' if self.keys > 1 else ''}{busy}"


WORKLOADS: Final = (
    Workload("spread", events=2_000, keys=50),
    Workload("hot", events=300, keys=1),
    Workload("wide", events=10_000, keys=1_000),
)
BESIDE: Final = Workload("beside", events=200, keys=40, busy_events=200)
"""What a busy key's backlog does to the others; only some contenders run it."""
CURVE_KEYS: Final = (1, 2, 5, 10, 20, 100, 1_000)


def curve(events_max: int) -> tuple[Workload, ...]:
    """One workload for each number of keys of the curve: fewer events where few keys make them slow."""
    return tuple(Workload(f"keys-{keys}", max(keys, min(events_max, 150 + 50 * keys)), keys) for keys in CURVE_KEYS)


@dataclass(frozen=True, slots=True)
class BenchEvent:
    """One event: its key, its number within the key from 0, and its bytes."""

    key: str
    number: int
    id: str
    data: bytes
    is_busy: bool = False
    """Whether its key is the busy one beside the others."""


def events(workload: Workload, *, run: str, event_type: str, seed: int = SEED) -> Sequence[BenchEvent]:
    """Make a run's events in the order in which they are put. `run` begins every key, so that runs don't meet."""
    order = [f"{number % workload.keys:04}" for number in range(workload.events)]
    Random(seed).shuffle(order)  # noqa: S311  a workload, no secret
    return tuple(_numbered([*[_BUSY] * workload.busy_events, *order], run, event_type))


def run_of(events: Sequence[BenchEvent]) -> str:
    """Tell which run events are of."""
    return events[0].key.rpartition("-")[0]


def _numbered(order: Sequence[str], run: str, event_type: str) -> Iterator[BenchEvent]:
    counts: dict[str, int] = {}
    for place in order:
        number = counts.get(place, 0)
        counts[place] = number + 1
        key = f"{run}-{place}"
        yield BenchEvent(key, number, f"{key}/{number}", _cloud_event(key, number, event_type), place == _BUSY)


def _cloud_event(key: str, number: int, event_type: str) -> bytes:
    """Write a CloudEvent of EVENT_BYTES, filled up with a note."""
    content = {
        "specversion": "1.0",
        "id": f"{key}/{number}",
        "source": "/bench",
        "type": event_type,
        "subject": key,
        "time": _TIME,
        "datacontenttype": "application/json",
        "data": {"order_id": key, "sequence": number, "note": ""},
    }
    bare = len(json.dumps(content, separators=(",", ":")))
    filled = content | {"data": {"order_id": key, "sequence": number, "note": "x" * (EVENT_BYTES - bare)}}
    return json.dumps(filled, separators=(",", ":")).encode()
