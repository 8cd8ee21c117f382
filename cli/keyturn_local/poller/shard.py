"""One thread a shard: fetches records, hands batches over in threads of their own, settles what comes back.

All state of a shard is a core.Shard that only its own thread touches, and invocations report through a queue: no locks.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from keyturn_local.poller.answer import AllDone, AllFailed, FailedFrom
from keyturn_local.poller.aws import Fetched, IteratorExpired, Reader, ShardGone
from keyturn_local.poller.core import (
    BACKOFF_MAX_S,
    Batch,
    GivenUp,
    GiveUp,
    Invoke,
    NotGivenUp,
    Outcome,
    Rest,
    ResumePoint,
    Shard,
    Throttled,
    accept,
    buffered,
    is_ahead,
    new_shard,
    next_work,
    resume_point,
    settle,
)
from keyturn_local.poller.mapping import Mapping

log = logging.getLogger("keyturn.poller")

POLL_FIRST_S: Final = 0.1
POLL_MAX_S: Final = 0.8
"""Wait between reads: shortest while records come, doubled by each empty read. (AWS reads a shard once a second.)"""
ERROR_PAUSE_S: Final = 1.0
"""No wait between reads is longer."""
BUFFER_BYTES_MAX: Final = 32 * 1024 * 1024
"""Records held back in memory a shard, besides two batches a lane."""
CHECKPOINT_EVERY_S: Final = 1.0
YOUNG_S: Final = 23 * 3600
"""The shortest retention is 24 h. Until then an emulator's iterator can't be moved by records that leave the stream."""


@dataclass(slots=True)
class Tally:
    """What happened so far, for status lines."""

    fetched: int = 0
    done: int = 0
    invocations: int = 0
    failed: int = 0
    throttled: int = 0
    given_up: int = 0
    last_problem: str = ""

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            fetched=self.fetched + other.fetched,
            done=self.done + other.done,
            invocations=self.invocations + other.invocations,
            failed=self.failed + other.failed,
            throttled=self.throttled + other.throttled,
            given_up=self.given_up + other.given_up,
            last_problem=self.last_problem or other.last_problem,
        )


@dataclass(slots=True, kw_only=True)
class ShardRunner:
    """Runs one shard from its resume point until it is finished or asked to stop."""

    reader: Reader
    mapping: Mapping
    invoke: Callable[[Batch], Outcome]
    give_up: Callable[[Batch], Outcome]
    is_gone: Callable[[], bool]
    """Whether the stream doesn't list this shard any more."""
    checkpoint: Callable[[ResumePoint | None, bool], None]
    clock: Callable[[], float]
    start_at_s: float | None
    stream_created_s: float
    resumed_at: ResumePoint | None = None
    tally: Tally = field(default_factory=Tally)
    _shard: Shard = field(init=False)
    _events: queue.SimpleQueue[tuple[int, Outcome] | None] = field(default_factory=queue.SimpleQueue)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _iterator: str | None = None
    closed: bool = False
    """Set from outside, once the stream lists the shard as closed."""
    _poll_s: float = POLL_FIRST_S
    _next_fetch_s: float = 0.0
    _saved: tuple[ResumePoint | None, bool] | None = None
    _next_save_s: float = 0.0

    def __post_init__(self) -> None:
        self._shard = new_shard(self.mapping)

    @property
    def idle(self) -> bool:
        """Whether all that was fetched is finished."""
        return self._shard.idle

    @property
    def finished(self) -> bool:
        """Whether the shard is drained and all of it finished."""
        return self._shard.finished

    def stop(self) -> None:
        """Ask run() to return; what is at the function is delivered again later."""
        self._stopping.set()
        self._events.put(None)

    def run(self) -> None:
        """Until finished or stopped."""
        while not self._stopping.is_set() and not self.finished:
            self._fetch_if_due()
            until_s = self._start_work()
            self._save(force=False)
            if not self.finished:
                self._await_event(until_s)
        self._save(force=True)

    # Fetching

    def _fetch_if_due(self) -> None:
        now_s = self.clock()
        room = self._room()
        if self._shard.drained or is_ahead(self._next_fetch_s, now_s, ERROR_PAUSE_S) or room <= 0:
            return
        try:
            closed = self.closed  # as it was before the read: an empty one after the close means the end
            self._take(self._read(room), closed=closed)
        except IteratorExpired:
            self._iterator = None  # the next read asks for a new one, after the last record that was fetched
        except ShardGone:
            self._leave_if_gone()
        except (ClientError, BotoCoreError, OSError) as error:
            self._problem(f"reading {self.reader.shard_id} failed, trying again: {error}")
            self._iterator = None
            self._next_fetch_s = self.clock() + ERROR_PAUSE_S

    def _room(self) -> int:
        count, held_bytes = buffered(self._shard)
        if held_bytes >= BUFFER_BYTES_MAX:
            return 0
        return 2 * self.mapping.batch_size * self.mapping.parallelization_factor - count

    def _read(self, room: int) -> Fetched:
        if self._iterator is None:
            last = self._shard.last
            after = ResumePoint(last.sequence_number, inclusive=False) if last is not None else self.resumed_at
            self._iterator = self.reader.iterator(after, self.start_at_s)
        return self.reader.fetch(self._iterator, room)

    def _take(self, fetched: Fetched, *, closed: bool) -> None:
        records = tuple(
            record for record in fetched.records if self.start_at_s is None or record.arrived_at_s >= self.start_at_s
        )
        self._shard = accept(self._shard, records)
        self.tally.fetched += len(records)
        self._poll_s = POLL_FIRST_S if fetched.records else min(POLL_MAX_S, self._poll_s * 2)
        self._next_fetch_s = self.clock() + (0 if fetched.behind_ms else self._poll_s)
        if _is_end(fetched, closed=closed):
            self._shard = replace(self._shard, drained=True)
        # The emulator's iterator is an index into the shard's records, and records that expire shift it: it would pass
        # over others. So in an old stream each read asks for an iterator anew, after the last record.
        aged = self.clock() - self.stream_created_s > YOUNG_S and self._shard.last is not None
        self._iterator = None if aged else fetched.next_iterator

    def _leave_if_gone(self) -> None:
        """The shard left the stream under our hands. What was fetched is finished; what wasn't is lost, and said."""
        self._iterator = None
        self._next_fetch_s = self.clock() + ERROR_PAUSE_S
        if self.is_gone():
            self._problem(f"{self.reader.shard_id} left the stream; records that were not read by then are lost")
            self._shard = replace(self._shard, drained=True)

    # Handing over

    def _start_work(self) -> float | None:
        """Start what can be started; the earliest time at which there is more to start."""
        rests = []
        lanes = []
        for at, lane in enumerate(self._shard.lanes):
            changed, work = next_work(lane, self.mapping, self.clock())
            lanes.append(changed)
            match work:
                case Invoke(batch):
                    self.tally.invocations += 1
                    self._spawn(at, self.invoke, batch)
                case GiveUp(batch):
                    self._problem(f"giving up {len(batch.records)} records of {self.reader.shard_id}: {batch.doom}")
                    self._spawn(at, self.give_up, batch)
                case Rest(until_s):
                    rests.append(until_s)
        self._shard = replace(self._shard, lanes=tuple(lanes))
        return min((until_s for until_s in rests if until_s is not None), default=None)

    def _spawn(self, lane: int, task: Callable[[Batch], Outcome], batch: Batch) -> None:
        def run() -> None:
            try:
                outcome = task(batch)
            except Exception as error:  # noqa: BLE001  a bug here must cost a retry, not a lane that hangs for ever
                outcome = Throttled(f"{type(error).__name__}: {error}")
            self._events.put((lane, outcome))

        threading.Thread(target=run, name=f"{self.reader.shard_id}-{lane}", daemon=True).start()

    def _await_event(self, until_s: float | None) -> None:
        """Wait for an answer, the next read or the next batch, whichever is first; then take all answers there are."""
        now_s = self.clock()
        times = [] if self._shard.drained or self._room() <= 0 else [self._next_fetch_s]
        times += [until_s] if until_s is not None else []
        try:
            # the longest wait, in case that the clock is set back right now
            event = self._events.get(timeout=min(max(0.0, min(times) - now_s), BACKOFF_MAX_S) if times else None)
            while True:
                if event is not None:
                    self._settle(*event)
                event = self._events.get_nowait()
        except queue.Empty:
            return

    def _settle(self, at: int, outcome: Outcome) -> None:
        lane = self._shard.lanes[at]
        batch = lane.busy
        settled = settle(lane, outcome, self.mapping, self.clock())
        lanes = (*self._shard.lanes[:at], settled, *self._shard.lanes[at + 1 :])
        self._shard = replace(self._shard, lanes=lanes)
        self._poll_s = POLL_FIRST_S
        self._count(batch, outcome)

    def _count(self, batch: Batch | None, outcome: Outcome) -> None:
        records = batch.records if batch is not None else ()
        match outcome:
            case AllDone():
                self.tally.done += len(records)
            case FailedFrom(sequence):
                self.tally.done += sum(record.sequence < sequence for record in records)
                self.tally.failed += 1
            case AllFailed(error):
                self.tally.failed += 1
                self._problem(f"the function failed for {len(records)} records of {self.reader.shard_id}: {error}")
            case Throttled(reason):
                self.tally.throttled += 1
                self._problem(f"the function could not be run: {reason}")
            case NotGivenUp(reason):
                self._problem(f"the failure destination took nothing, trying again: {reason}")
            case GivenUp():
                self.tally.given_up += len(records)

    def _problem(self, text: str) -> None:
        self.tally.last_problem = text
        log.warning(text)

    def _save(self, *, force: bool) -> None:
        now_s = self.clock()
        point = (resume_point(self._shard) or self.resumed_at, self.finished)
        if point == self._saved or (is_ahead(self._next_save_s, now_s, CHECKPOINT_EVERY_S) and not force):
            return
        self._next_save_s = now_s + CHECKPOINT_EVERY_S
        try:
            self.checkpoint(*point)
            self._saved = point
        except OSError as error:  # a full disk costs a redelivery after a restart, not the shard
            self._problem(f"the checkpoint could not be written: {error}")


def _is_end(fetched: Fetched, *, closed: bool) -> bool:
    """AWS ends a closed shard with no next iterator. Emulators go on: there it is an empty read after the close."""
    return fetched.next_iterator is None or (closed and not fetched.records and not fetched.behind_ms)
