"""What is asked of the planner: a load, and the settings that it may choose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from keyturn.limits import EVENT_INLINE_BYTES_MAX, RUN_EVENTS_MAX, RUN_INLINE_BYTES_MAX

HOT_KEYS_SHARE: Final = 0.01
"""The busiest hundredth of the keys: what `--hot-share` is about."""


class Kind(StrEnum):
    """How a route's workflow runs."""

    EXPRESS = "express"
    STANDARD = "standard"
    NESTED = "nested"
    """A Standard parent with history, and an Express child that does the work."""


class StreamMode(StrEnum):
    """As the template's parameter StreamMode names it."""

    ON_DEMAND = "ON_DEMAND"
    PROVISIONED = "PROVISIONED"


class Architecture(StrEnum):
    """As the template's parameter Architecture names it."""

    X86 = "x86_64"
    ARM = "arm64"


@dataclass(frozen=True, slots=True)
class KeyClass:
    """Keys that are equally busy."""

    name: str
    keys: int
    rate: float
    """Events a second of all of them."""

    @property
    def key_rate(self) -> float:
        """Events a second of one key."""
        return self.rate / self.keys


@dataclass(frozen=True, slots=True)
class Workload:
    """A load that is to be held."""

    rate: float
    """Events a second, all month long."""
    keys: int
    """Keys that have events now and then."""
    payload_bytes: int
    """One record as its producer puts it."""
    steps: int
    """Workers that run side by side for an event."""
    step_ms: float
    """What one step takes for one event, without Keyturn."""
    hot_share: float = HOT_KEYS_SHARE
    """Share of the events that the busiest hundredth of the keys gets; a hundredth is even."""
    retention_days: int = 90
    """How long events and step results are kept in the table."""

    def classes(self) -> Iterator[KeyClass]:
        """Yield the busy keys and all others."""
        hot_keys = max(1, round(self.keys * HOT_KEYS_SHARE))
        if hot_keys == self.keys:
            yield KeyClass("all keys", self.keys, self.rate)
            return
        share = max(self.hot_share, hot_keys / self.keys)
        yield KeyClass("the busiest hundredth of the keys", hot_keys, self.rate * share)
        if share < 1:
            yield KeyClass("all other keys", self.keys - hot_keys, self.rate * (1 - share))

    def batch_max(self, wanted: int) -> int:
        """How many events a run can take of those wanted: unless S3 has them, their bytes ride in its input."""
        inline_bytes = self.payload_bytes if self.payload_bytes <= EVENT_INLINE_BYTES_MAX else 1
        return max(1, min(wanted, RUN_EVENTS_MAX, RUN_INLINE_BYTES_MAX // inline_bytes))


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be chosen for a load."""

    kind: Kind
    batch: int
    """Events that a run takes at most, when they wait."""
    stream_mode: StreamMode
    memory_mb: int
    """Of workers and sequencer."""
    architecture: Architecture
    window_s: int
    """The template's BatchingWindowSeconds."""
