"""The whole stack on one screen: how many keys do what, what is oldest, what needs a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from keyturn.adapters.controls import standing_of
from keyturn.adapters.open_items import Kind
from keyturn.adapters.replays import ReplayStore
from keyturn.adapters.rollouts import ReleaseStore
from keyturn.adapters.table import Item
from keyturn.core.breaker import Breaker
from keyturn.core.replay_job import ACTIVE, ReplayJob
from keyturn.core.rollout import NOTHING_PUBLISHED, Health, Rollout
from keyturn.core.route_hold import RouteHold
from keyturn.core.state import KeyState, Queue, queue_name
from keyturn_cli.looking.queues import count, held_families, listed
from keyturn_cli.looking.stack import StackReader

SHOWN: Final = 5
"""Parked and held keys told by name."""
WATCHDOG: Final = "watchdog"
_HEADS: Final = 20
"""Keys at the head of each queue that are looked at for the oldest event."""
_LAG_WINDOW: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Oldest:
    """The event that has been unfinished longest."""

    key: str
    arrived_at_ms: int


@dataclass(frozen=True, slots=True)
class WatchdogPass:
    """What the watchdog's last pass over the index found."""

    at_ms: int
    expired: int
    ready: int
    filled: int


@dataclass(frozen=True, slots=True)
class Overview:
    """A stack at one moment."""

    where: str
    stack_name: str
    running: int
    waiting: int
    retry: int
    parked: int
    held: int
    cap: int
    oldest: Oldest | None
    lag_s: float | None
    """How far the dispatcher is behind the stream, as CloudWatch has it; None where that isn't measured."""
    parked_keys: tuple[KeyState, ...]
    held_keys: tuple[KeyState, ...]
    holds: tuple[RouteHold, ...]
    breakers: tuple[Breaker, ...]
    replays: tuple[ReplayJob, ...]
    """Those under way: being planned, applied or called off."""
    quarantined: int
    dead_letters: int
    watchdog: WatchdogPass | None
    now_ms: int
    rollout: Rollout = NOTHING_PUBLISHED
    health: Health | None = None
    """How the canary does, if there is one."""
    looked_at: int = 0
    """Keys that `oldest` is the oldest of: those at the heads of the queues. The other ones may have older events."""
    unreadable: tuple[str, ...] = ()
    """Keys at the heads of the queues that another version wrote."""

    @property
    def listed(self) -> int:
        """Keys that aren't idle, or are held."""
        return self.running + self.waiting + self.retry + self.parked + self.held


def read_overview(reader: StackReader) -> Overview:
    """Read how a stack stands: about a hundred small queries, many at once; nothing is scanned."""
    held, standing = held_families(reader), standing_of(reader.controls.values())
    queues = [queue_name(queue) for queue in (Queue.RUNNING, Queue.WAITING, Queue.RETRY, Queue.PARKED)]
    counts = count(reader, [*queues, *held, Kind.QUARANTINE, Kind.DEAD_LETTER])
    filled = [name for name in (*queues, *held) if counts[name]]
    heads = _heads(reader, filled)
    states = reader.readable(heads)
    return Overview(
        where=reader.target.where,
        stack_name=reader.target.stack_name,
        running=counts[Queue.RUNNING],
        waiting=counts[Queue.WAITING],
        retry=counts[Queue.RETRY],
        parked=counts[Queue.PARKED],
        held=sum(counts[name] for name in held),
        cap=int(reader.settings["MAX_IN_FLIGHT_RUNS"]),
        oldest=_oldest(states.values()),
        lag_s=_lag_s(reader),
        parked_keys=_first(reader, [name for name in filled if name == Queue.PARKED]),
        held_keys=_first(reader, [name for name in filled if name in held]),
        holds=tuple(hold for hold in standing.holds if hold.is_held),
        breakers=standing.breakers,
        replays=tuple(job for job in ReplayStore(reader.table).listed() if job.state in ACTIVE),
        quarantined=counts[Kind.QUARANTINE],
        dead_letters=counts[Kind.DEAD_LETTER],
        watchdog=_watchdog(reader.controls),
        now_ms=reader.clock(),
        rollout=standing.rollout,
        health=ReleaseStore(reader.table).health(standing.rollout.canary) if standing.rollout.canary else None,
        looked_at=len(heads),
        unreadable=tuple(sorted(heads - states.keys())),
    )


def _first(reader: StackReader, names: Sequence[str]) -> tuple[KeyState, ...]:
    """The states of the keys that stand longest in some queues."""
    marks = list(islice(listed(reader, names), SHOWN))
    states = reader.readable(mark.key for mark in marks)
    return tuple(states[mark.key] for mark in marks if mark.key in states)


def _heads(reader: StackReader, names: Sequence[str]) -> set[str]:
    """The keys at the heads of some queues, which is where the oldest event usually is."""
    with ThreadPoolExecutor(len(names) or 1) as threads:
        heads = threads.map(lambda name: [mark.key for mark in islice(listed(reader, [name]), _HEADS)], names)
        return {key for found in heads for key in found}


def _oldest(states: Iterable[KeyState]) -> Oldest | None:
    """The oldest unfinished event of some keys."""
    pending = [state for state in states if state.pending_since_ms]
    first = min(pending, key=lambda state: (state.pending_since_ms, state.key), default=None)
    return Oldest(first.key, first.pending_since_ms) if first is not None else None


def _lag_s(reader: StackReader) -> float | None:
    """The age of the last record that the dispatcher was given, by Lambda's own metric."""
    now = datetime.now(UTC)
    try:
        answer = reader.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="IteratorAge",
            Dimensions=[{"Name": "FunctionName", "Value": reader.target.outputs.dispatcher_function_name}],
            StartTime=now - _LAG_WINDOW,
            EndTime=now,
            Period=60,
            Statistics=["Maximum"],
        )
    except (ClientError, BotoCoreError):  # who may not read metrics may still see the rest
        return None
    points = sorted(answer["Datapoints"], key=lambda point: point["Timestamp"])
    return points[-1]["Maximum"] / 1_000 if points else None


def _watchdog(controls: Mapping[str, Item]) -> WatchdogPass | None:
    item = controls.get(WATCHDOG)
    if item is None:
        return None
    return WatchdogPass(item["at_ms"], item.get("expired", 0), item.get("ready", 0), item.get("filled", 0))
