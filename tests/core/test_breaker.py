"""A circuit breaker holds routes whose downstream fails for many keys, and lets one run at a time find out."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.breaker import (
    Breaker,
    BreakerEvent,
    BreakerPhase,
    BreakerRules,
    Close,
    Failed,
    Missed,
    Send,
    Succeeded,
    after,
    may_probe,
)

RULES = BreakerRules("card-service", keys=3, window_s=60, probe_after_s=10, probe_after_max_s=35)
START_MS = 1_000_000


def told(breaker: Breaker, *events: BreakerEvent, at_ms: int = START_MS) -> Breaker:
    """Tell a breaker of events, all at one moment."""
    for event in events:
        breaker = after(breaker, event, RULES, at_ms)
    return breaker


def failed(key: str, began_at_ms: int = START_MS) -> Failed:
    """Make the report of a key that failed."""
    return Failed(key, f"hash of {key}", began_at_ms, ("paid", "placed"))


def opened() -> Breaker:
    """Return a breaker that opened at the start."""
    return told(Breaker("card-service"), failed("a"), failed("b"), failed("c"))


def probing(key: str = "a", at_ms: int = START_MS + 10_000) -> Breaker:
    """Return a breaker whose first probe is under way."""
    return told(opened(), Send(key, at_ms + 20_000), at_ms=at_ms)


def test_so_many_different_keys_open_it() -> None:
    """It remembers the routes that it holds, and sends the first probe no sooner than its rules say."""
    almost = told(Breaker("card-service"), failed("a"), failed("b"))
    assert not almost.is_holding
    breaker = opened()
    assert (breaker.phase, breaker.opened_at_ms, breaker.routes) == (BreakerPhase.OPEN, START_MS, ("paid", "placed"))
    assert not may_probe(breaker, START_MS + 9_999)
    assert may_probe(breaker, START_MS + 10_000)


def test_a_probe_that_a_clock_put_off_for_hours_may_go() -> None:
    """Else its routes would be held until that clock's time."""
    assert may_probe(told(Breaker("card-service"), *map(failed, "abc"), at_ms=START_MS + 6 * 3_600_000), START_MS)


@given(st.lists(st.integers(0, 59_999), max_size=50))
def test_one_key_alone_never_opens_it(times: list[int]) -> None:
    """However often its event fails."""
    breaker = Breaker("card-service")
    for at_ms in sorted(times):
        breaker = told(breaker, failed("poison"), failed("as bad"), at_ms=START_MS + at_ms)
    assert not breaker.is_holding
    assert len(breaker.failures) <= 2


def test_a_success_between_makes_it_count_anew() -> None:
    """The downstream works, so what failed has a reason of its own."""
    breaker = told(Breaker("card-service"), failed("a"), failed("b"), Succeeded("z"), failed("c"), failed("d"))
    assert not breaker.is_holding
    assert told(breaker, failed("e")).is_holding


def test_what_failed_before_the_window_counts_no_more() -> None:
    """Three keys that fail within a day are three bad events."""
    breaker = Breaker("card-service")
    for number in range(20):
        breaker = told(breaker, failed(f"k{number}"), at_ms=START_MS + number * 30_001)
    assert not breaker.is_holding


def test_only_the_probes_success_closes_it() -> None:
    """A run that began before the outage may have passed the step that fails."""
    assert told(opened(), Succeeded("z")) == opened()
    assert told(probing("a"), Succeeded("z"), failed("z"), Missed("z")) == probing("a")
    closed = told(probing("a"), Succeeded("a"), at_ms=START_MS + 12_000)
    assert (closed.phase, closed.failures, closed.probe) == (BreakerPhase.CLOSED, (), None)
    assert closed.closed_at_ms == START_MS + 12_000


def test_each_probe_that_fails_doubles_the_wait_up_to_the_most() -> None:
    """10 s, then 20, 35, 35: a downstream that is being mended isn't hammered."""
    breaker, now_ms, waits = opened(), START_MS, []
    for _ in range(4):
        waits.append(breaker.probe_at_ms - now_ms)
        now_ms = breaker.probe_at_ms
        breaker = told(breaker, Send("a", now_ms + 20_000), failed("a"), at_ms=now_ms)
    assert waits == [10_000, 20_000, 35_000, 35_000]


def test_one_probe_at_a_time() -> None:
    """The second is refused until the first is lost."""
    breaker = probing("a")
    assert told(breaker, Send("b", 2 * START_MS), at_ms=START_MS + 29_999) == breaker
    another = told(breaker, Send("b", 2 * START_MS), at_ms=START_MS + 30_000)
    assert another.probe is not None
    assert another.probe.key == "b"
    assert told(another, Succeeded("a")) == another


def test_a_probe_that_says_nothing_makes_way_for_another_at_once() -> None:
    """It was parked for a reason of its own, or had too little time: the downstream may be back."""
    breaker = told(probing("a"), Missed("a"), at_ms=START_MS + 11_000)
    assert may_probe(breaker, START_MS + 11_000)
    assert breaker.wait_ms == 10_000


@pytest.mark.parametrize("breaker", [opened(), probing()], ids=["open", "probing"])
def test_a_person_closes_it(breaker: Breaker) -> None:
    """Whatever it waits for; a closed one stays as it is."""
    closed = told(breaker, Close())
    assert not closed.is_holding
    assert told(closed, Close()) is closed


def test_what_met_the_outage_counts_for_nothing_even_once_it_is_over() -> None:
    """A run that hung while it was open is found dead after it closed: it neither opens it again nor is used up."""
    closed = told(probing("a"), Succeeded("a"), at_ms=START_MS + 12_000)
    assert closed.excuses(START_MS + 11_999)
    assert told(closed, *(failed(key, START_MS) for key in "abcd")) == closed
    assert not closed.excuses(START_MS + 12_000)
    assert told(closed, *(failed(key, START_MS + 12_000) for key in "abcd"), at_ms=START_MS + 13_000).is_holding


_KEYS = st.sampled_from("abcdef")
_EVENTS: st.SearchStrategy[Any] = st.one_of(
    st.builds(failed, _KEYS, st.integers(START_MS, 2 * START_MS)),
    _KEYS.map(Succeeded),
    _KEYS.map(Missed),
    st.builds(lambda key, s: Send(key, START_MS + s * 1_000), _KEYS, st.integers(0, 400)),
    st.just(Close()),
)


@given(st.lists(st.tuples(_EVENTS, st.integers(0, 20_000)), max_size=60))
def test_whatever_it_is_told_it_can_be_left(story: list[tuple[BreakerEvent, int]]) -> None:
    """It is always sound; and a probe that succeeds, once one may go, closes it."""
    breaker, now_ms = Breaker("card-service"), START_MS
    for event, passed_ms in story:
        now_ms += passed_ms
        before, breaker = breaker, after(breaker, event, RULES, now_ms)
        assert (breaker.probe is not None) == (breaker.phase is BreakerPhase.PROBING)
        assert len(breaker.failures) <= RULES.keys
        assert breaker.wait_ms <= RULES.probe_after_max_s * 1_000
        assert breaker.is_holding or len(breaker.failures) < RULES.keys
        if before.is_holding and not breaker.is_holding:
            is_probes = isinstance(event, Succeeded) and before.probe is not None and before.probe.key == event.key
            assert is_probes or isinstance(event, Close)
    if breaker.is_holding:
        now_ms = max(now_ms, breaker.look_at_ms)
        assert not told(breaker, Send("last", now_ms + 1), Succeeded("last"), at_ms=now_ms).is_holding
