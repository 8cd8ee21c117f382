"""The event source's promises, over any order of arrivals, answers, failures and waits."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from keyturn_local.poller.answer import AllDone, AllFailed, FailedFrom
from keyturn_local.poller.core import (
    Batch,
    Doom,
    GivenUp,
    GiveUp,
    Invoke,
    NotGivenUp,
    Outcome,
    Record,
    Rest,
    Shard,
    Throttled,
    TooLarge,
    accept,
    new_shard,
    next_work,
    resume_point,
    settle,
)
from keyturn_local.poller.mapping import FOREVER, Mapping
from keyturn_local.poller.wire import PAYLOAD_BYTES_MAX, payload

from tests.local.kit import mapping, record

KEYS = st.sampled_from(["a", "b", "c", "d"])
SIZES = st.sampled_from([100, 100, 100, PAYLOAD_BYTES_MAX // 2, PAYLOAD_BYTES_MAX + 1])


class OneShard(RuleBasedStateMachine):
    """A shard, its stream, and a function that answers anything."""

    @initialize(
        batch_size=st.integers(1, 6),
        lanes=st.integers(1, 4),
        window_s=st.sampled_from([0, 1]),
        bisect=st.booleans(),
        limits=st.tuples(st.sampled_from([FOREVER, 0, 2]), st.sampled_from([FOREVER, 60])),
    )
    def set_up(self, batch_size: int, lanes: int, window_s: float, bisect: bool, limits: tuple[int, int]) -> None:
        self.mapping: Mapping = mapping(
            batch_size=batch_size,
            parallelization_factor=lanes,
            batching_window_s=window_s,
            bisect_on_error=bisect,
            retries_max=limits[0],
            record_age_max_s=limits[1],
        )
        self.shard: Shard = new_shard(self.mapping)
        self.stream: list[Record] = []
        self.fetched: dict[int, Record] = {}
        self.gone: dict[int, str] = {}
        self.now_s = 1000.0

    # Moves

    @rule(key=KEYS, size=SIZES)
    def put(self, key: str, size: int) -> None:
        self.stream.append(record(len(self.stream) + 1, key, at_s=self.now_s, wire_bytes=size))

    @rule(count=st.integers(1, 5), overlap=st.integers(0, 2))
    def fetch(self, count: int, overlap: int) -> None:
        read = self.shard.last.sequence if self.shard.last else 0
        records = [
            replace(found, gathered_at_s=self.now_s) for found in self.stream[max(0, read - overlap) : read + count]
        ]
        self.shard = accept(self.shard, records)
        self.fetched |= {found.sequence: found for found in records}

    @rule(seconds=st.sampled_from([0.1, 1.0, 20.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(at=st.integers(0, 3))
    def hand_over(self, at: int) -> None:
        assume(at < len(self.shard.lanes))
        lane, work = next_work(self.shard.lanes[at], self.mapping, self.now_s)
        self._replace_lane(at, lane)
        if isinstance(work, Invoke):
            self._check_invocation(work.batch)
        elif isinstance(work, GiveUp):
            self._check_order(work.batch)
        elif isinstance(work, Rest) and work.until_s is not None:
            assert work.until_s > self.now_s, "a rest that is over already would spin"

    @precondition(lambda self: self._busy())
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        at = data.draw(st.sampled_from(self._busy()))
        batch = self.shard.lanes[at].busy
        assert batch is not None
        self._settle(at, batch, data.draw(_outcomes(batch)))

    @rule(keys=st.lists(KEYS, min_size=2, max_size=12))
    def put_and_fetch(self, keys: list[str]) -> None:
        """Many at once, so that batches have several records."""
        for key in keys:
            self.put(key, 100)
        self.fetch(len(self.stream), 0)

    @precondition(lambda self: not self.shard.idle)
    @rule(data=st.data())
    def turn(self, data: st.DataObject) -> None:
        """Every lane that can start does, past any backoff; then everything that runs comes back."""
        self.wait(11.0)
        for at in range(len(self.shard.lanes)):
            self.hand_over(at)
        for at in self._busy():
            batch = self.shard.lanes[at].busy
            assert batch is not None
            self._settle(at, batch, data.draw(_outcomes(batch)))

    # Promises

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        """Every fetched record is unfinished, taken or given up: exactly one of the three."""
        unfinished = [found.sequence for lane in self.shard.lanes for found in lane.unfinished]
        assert len(unfinished) == len(set(unfinished))
        assert set(unfinished) | self.gone.keys() == self.fetched.keys()
        assert not set(unfinished) & self.gone.keys()

    @invariant()
    def a_restart_reads_everything_unfinished_again(self) -> None:
        """The resume point never lies beyond an unfinished record, nor beyond one that wasn't fetched."""
        point = resume_point(self.shard)
        unfinished = {found.sequence for found in self.stream} - self.gone.keys()
        if point is None:
            assert not self.fetched
            return
        first_read = int(point.sequence_number) + (0 if point.inclusive else 1)
        assert all(sequence >= first_read for sequence in unfinished)

    def teardown(self) -> None:
        """Something good happens: with a function that works, everything that was put is finished."""
        if not hasattr(self, "stream"):
            return
        self.shard = accept(self.shard, self.stream)
        self.fetched = {found.sequence: found for found in self.stream}
        for _ in range(10 * len(self.stream) + 10):
            if self.shard.idle:
                break
            self.now_s += 11.0
            for at in range(len(self.shard.lanes)):
                self.hand_over_if_free(at)
        assert self.shard.idle
        self.nothing_is_lost_or_doubled()

    def hand_over_if_free(self, at: int) -> None:
        """One whole turn of a lane, with a function and a destination that work."""
        if self.shard.lanes[at].busy is None:
            lane, _ = next_work(self.shard.lanes[at], self.mapping, self.now_s)
            self._replace_lane(at, lane)
        batch = self.shard.lanes[at].busy
        if batch is not None:
            self._settle(at, batch, GivenUp() if batch.doom else AllDone())

    # Bookkeeping

    def _busy(self) -> list[int]:
        return [at for at, lane in enumerate(self.shard.lanes) if lane.busy is not None]

    def _replace_lane(self, at: int, lane: object) -> None:
        lanes = list(self.shard.lanes)
        lanes[at] = lane  # type: ignore[call-overload]
        self.shard = replace(self.shard, lanes=tuple(lanes))

    def _settle(self, at: int, batch: Batch, outcome: Outcome) -> None:
        match outcome:
            case AllDone():
                self.gone |= dict.fromkeys(batch.sequences, "taken")
            case GivenUp():
                self._check_given_up(batch)
                self.gone |= dict.fromkeys(batch.sequences, "given up")
            case FailedFrom(sequence):
                self.gone |= {found: "taken" for found in batch.sequences if found < sequence}
        self._replace_lane(at, settle(self.shard.lanes[at], outcome, self.mapping, self.now_s))

    def _check_invocation(self, batch: Batch) -> None:
        assert 1 <= len(batch.records) <= self.mapping.batch_size
        assert len(payload([found.wire for found in batch.records])) <= PAYLOAD_BYTES_MAX
        if self.mapping.record_age_max_s != FOREVER:
            assert self.now_s - batch.records[0].arrived_at_s <= self.mapping.record_age_max_s
        self._check_order(batch)

    def _check_order(self, batch: Batch) -> None:
        """Allowed: 1 2 3; 1 2 2 3 (2 again before it finished). Forbidden: 1 3 2; 1 2 3 2."""
        sequences = [found.sequence for found in batch.records]
        assert sequences == sorted(set(sequences))
        keys = {found.partition_key for found in batch.records}
        earlier = [
            found for found in self.fetched.values() if found.partition_key in keys and found.sequence < sequences[-1]
        ]
        assert all(found.sequence in self.gone or found.sequence in sequences for found in earlier)

    def _check_given_up(self, batch: Batch) -> None:
        match batch.doom:
            case Doom.RETRIES:
                assert batch.invocations == self.mapping.retries_max + 1
            case Doom.AGE:
                assert all(self.now_s - found.arrived_at_s > self.mapping.record_age_max_s for found in batch.records)
            case Doom.SIZE:
                assert len(batch.records) == 1
            case None:
                raise AssertionError("a batch was given up without a reason")


def _outcomes(batch: Batch) -> st.SearchStrategy[Outcome]:
    if batch.doom is not None:
        return st.sampled_from([GivenUp(), NotGivenUp("no bucket")])
    return st.one_of(
        st.just(AllDone()),
        st.sampled_from(sorted(batch.sequences)).map(FailedFrom),
        st.sampled_from([AllFailed("boom", "Unhandled"), AllFailed("bad answer"), Throttled("rate"), TooLarge()]),
    )


TestOneShard = OneShard.TestCase
TestOneShard.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
