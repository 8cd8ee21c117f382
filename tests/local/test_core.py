"""Single rules of the event source's core, each as AWS documents it."""

from __future__ import annotations

from keyturn_local.poller.answer import AllDone, AllFailed, FailedFrom
from keyturn_local.poller.core import (
    Batch,
    Doom,
    GiveUp,
    Invoke,
    Lane,
    Rest,
    Throttled,
    accept,
    lane_of,
    new_shard,
    next_work,
    settle,
)
from keyturn_local.poller.mapping import Mapping

from tests.local.kit import mapping, record


def handed_over(lane: Lane, rules: Mapping, now_s: float) -> tuple[Lane, Batch]:
    """Start the lane's next work, which must be an invocation."""
    lane, work = next_work(lane, rules, now_s)
    assert isinstance(work, Invoke)
    return lane, work.batch


def lane_with(count: int, rules: Mapping) -> Lane:
    """A lane with records 1 to `count`, fetched at time 0."""
    (lane,) = accept(new_shard(rules), [record(sequence) for sequence in range(1, count + 1)]).lanes
    return lane


def sequences(batch: Batch) -> list[int]:
    """Its sequence numbers in order."""
    return [found.sequence for found in batch.records]


def test_a_batch_waits_for_its_size_or_its_window() -> None:
    """A batch goes when it is full, or when its first record has waited for the window."""
    rules = mapping(batch_size=3, batching_window_s=5)
    lane, work = next_work(lane_with(2, rules), rules, 4.9)
    assert work == Rest(5.0)
    assert sequences(handed_over(lane, rules, 5.0)[1]) == [1, 2]
    assert sequences(handed_over(lane_with(4, rules), rules, 0.0)[1]) == [1, 2, 3]


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    """Neither a window nor a backoff ends at a time that was set before it."""
    rules = mapping(batch_size=3, batching_window_s=5)
    hour_s = 3600.0
    (late,) = accept(new_shard(rules), [record(1, at_s=hour_s)]).lanes
    lane, _ = handed_over(late, rules, 1.0)
    lane = settle(lane, Throttled("busy"), rules, hour_s)
    assert isinstance(next_work(lane, rules, hour_s)[1], Rest)
    handed_over(lane, rules, 2.0)


def test_a_partial_failure_retries_from_the_lowest_failure_as_a_new_batch() -> None:
    """What succeeded below the lowest failure doesn't come again; the rest starts with all its retries."""
    rules = mapping(retries_max=3)
    lane, _ = handed_over(lane_with(5, rules), rules, 0.0)
    lane = settle(lane, FailedFrom(3), rules, 0.0)
    for invocations, now_s in enumerate(range(100, 2000, 100)):
        lane, work = next_work(lane, rules, now_s)
        if isinstance(work, GiveUp):
            assert (sequences(work.batch), work.batch.doom, invocations) == ([3, 4, 5], Doom.RETRIES, 4)
            return
        assert isinstance(work, Invoke)
        lane = settle(lane, FailedFrom(3), rules, now_s)
    raise AssertionError("never given up")


def test_bisecting_costs_no_retries() -> None:
    """A failing batch is halved until the bad record is alone; only there retries are counted."""
    rules = mapping(bisect_on_error=True, retries_max=0)
    lane, now_s = lane_with(8, rules), 0.0
    given_up, taken = [], []
    while lane.first is not None:
        now_s += 100.0
        lane, work = next_work(lane, rules, now_s)
        assert not isinstance(work, Rest)
        bad = 6 in sequences(work.batch)
        if isinstance(work, GiveUp):
            given_up += sequences(work.batch)
        elif not bad:
            taken += sequences(work.batch)
        lane = settle(
            lane, AllFailed("boom", "Unhandled") if bad and isinstance(work, Invoke) else AllDone(), rules, now_s
        )
    assert (taken, given_up) == ([1, 2, 3, 4, 5, 7, 8], [6])


def test_throttles_cost_no_retries_and_wait_longer_each_time() -> None:
    """A throttled batch is tried again for ever, with growing waits up to ten seconds."""
    rules = mapping(retries_max=0)
    lane, now_s, waits = lane_with(1, rules), 0.0, []
    for _ in range(12):
        lane, _ = handed_over(lane, rules, now_s)
        lane = settle(lane, Throttled("rate"), rules, now_s)
        _, work = next_work(lane, rules, now_s)
        assert isinstance(work, Rest)
        assert work.until_s is not None
        waits.append(round(work.until_s - now_s, 3))
        now_s = work.until_s
    assert waits[:4] == [0.2, 0.4, 0.8, 1.6]
    assert waits[-1] == 10.0


def test_only_the_records_that_grew_too_old_are_given_up() -> None:
    """The young rest of a batch still goes to the function."""
    rules = mapping(record_age_max_s=60)
    (lane,) = accept(new_shard(rules), [record(1, at_s=0.0), record(2, at_s=50.0)]).lanes
    lane, work = next_work(lane, rules, 70.0)
    assert isinstance(work, GiveUp)
    assert (sequences(work.batch), work.batch.doom) == ([1], Doom.AGE)
    assert sequences(handed_over(settle(lane, AllDone(), rules, 70.0), rules, 70.0)[1]) == [2]


def test_a_key_has_one_lane_in_every_process() -> None:
    """The lane is a function of the key alone: a restart must not let a key's records overtake each other."""
    assert [lane_of(key, 10) for key in ("order-1", "order-2", "schlüssel", "🙂")] == [9, 3, 8, 5]
