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

_TIME: Final = "2026-01-05T08:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Workload:
    """So many events, dealt out evenly over so many keys, in an order that mixes the keys."""

    name: str
    events: int
    keys: int

    def scaled(self, scale: float) -> Workload:
        """The same shape with `scale` times as many events, and keys where there are many; at least one each."""
        keys = max(1, round(self.keys * min(1.0, scale))) if self.keys > self.events / 20 else self.keys
        return replace(self, events=max(keys, round(self.events * scale)), keys=keys)

    @property
    def title(self) -> str:
        """For tables."""
        return f"{self.events:,} events on {self.keys:,} key{'s' if self.keys > 1 else ''}"


WORKLOADS: Final = (
    Workload("spread", events=2_000, keys=50),
    Workload("hot", events=300, keys=1),
    Workload("wide", events=10_000, keys=1_000),
)
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


def events(workload: Workload, *, run: str, event_type: str, seed: int = SEED) -> Sequence[BenchEvent]:
    """Make a run's events in the order in which they are put. `run` begins every key, so that runs don't meet."""
    order = [number % workload.keys for number in range(workload.events)]
    Random(seed).shuffle(order)  # noqa: S311  a workload, no secret
    return tuple(_numbered(order, run, event_type))


def _numbered(order: Sequence[int], run: str, event_type: str) -> Iterator[BenchEvent]:
    counts: dict[int, int] = {}
    for place in order:
        number = counts.get(place, 0)
        counts[place] = number + 1
        key = f"{run}-{place:04}"
        yield BenchEvent(key, number, f"{key}/{number}", _cloud_event(key, number, event_type))


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
