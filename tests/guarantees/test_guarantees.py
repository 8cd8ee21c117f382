"""Each checker passes what is promised and catches what breaks it; the stories are those of their docstrings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from keyturn_cli.guarantees import (
    GUARANTEES,
    EachEffectOnce,
    Effect,
    Fate,
    History,
    NothingLost,
    OneRunAtATime,
    OnlyEvents,
    Order,
    Sent,
    fate,
    violations,
)

from tests.guarantees.kit import STEPS, effect, history, place, sound_histories, told


@given(sound_histories())
def test_what_keyturn_does_right_breaks_no_promise(sound: History) -> None:
    """Batches, retries that go on where they were, and steps side by side are all allowed."""
    assert violations(sound) == []
    assert all(guarantee.proof(sound) for guarantee in GUARANTEES)


@pytest.mark.parametrize("story", ["1a 1b 2a 2b", "1b 1a 2b 2a", "1a 1b 3a 3b", ""])
def test_order_allows(story: str) -> None:
    """One event after the other, its steps in any order."""
    assert not list(Order().check(history(told(story))))


def test_order_allows_steps_of_a_batch_to_run_on() -> None:
    """In one run of several events each step goes through them in its own time."""
    assert not list(Order().check(history(told("1a 2a 1b 2b", batch=True))))


@pytest.mark.parametrize("story", ["1a 2a 1b 2b", "2a 2b 1a 1b", "2a 1a 1b 2b", "1a 2a 3a 2b"])
def test_order_forbids(story: str) -> None:
    """An event that overtakes, wholly or with one step."""
    found = list(Order().check(history(told(story))))
    assert [violation.key for violation in found] == ["k"]
    assert "after" in found[0].what


def test_order_forbids_going_back_within_a_step_of_a_batch() -> None:
    """A batch is in order within each step."""
    assert list(Order().check(history(told("2a 1a 1b 2b", batch=True))))


def test_order_is_told_by_the_ledger_and_not_by_how_it_was_read() -> None:
    """The ledger may be read back in any order."""
    good = told("1a 1b 2a 2b")
    assert not list(Order().check(history(tuple(reversed(good)))))


@given(sound_histories(), st.data())
def test_order_catches_any_two_runs_that_change_places(sound: History, data: st.DataObject) -> None:
    """Two effects of different runs of a key, swapped in the ledger, never pass."""
    effects = list(sound.effects)
    one, other = (data.draw(st.integers(0, len(effects) - 1)) for _ in range(2))
    same_key = effects[one].place.key == effects[other].place.key
    assume(same_key and not _overlap(sound, effects[one], effects[other]))
    effects[one], effects[other] = _swapped(effects[one], effects[other])
    assert list(Order().check(replace(sound, effects=tuple(effects))))


def _swapped(one: Effect, other: Effect) -> tuple[Effect, Effect]:
    return replace(one, turn=other.turn), replace(other, turn=one.turn)


def _overlap(sound: History, one: Effect, other: Effect) -> bool:
    """Whether two effects may be of one run, as far as positions tell: then the checker must not guess."""
    low, high = sorted((one.place.position, other.place.position))
    spans: dict[int, list[str]] = {}
    for found in sound.effects:
        if found.place.key == one.place.key:
            spans.setdefault(found.fence, []).append(found.place.position)
    merged: list[list[str]] = []
    for first, last in sorted((min(span), max(span)) for span in spans.values()):
        if merged and first <= merged[-1][1]:
            merged[-1][1] = max(last, merged[-1][1])
        else:
            merged.append([first, last])
    return any(first <= low and high <= last for first, last in merged)


def _timed(*spans: tuple[int, int, int]) -> Sequence[Effect]:
    """Effects from (fence, began, ended)."""
    return [
        replace(effect(fence, turn=turn, at_ms=began), ended_at_ms=ended)
        for turn, (fence, began, ended) in enumerate(spans, start=1)
    ]


@pytest.mark.parametrize("spans", [[(1, 0, 5), (2, 5, 9)], [(1, 0, 5), (1, 2, 9), (2, 9, 10)], []])
def test_one_at_a_time_allows(spans: list[tuple[int, int, int]]) -> None:
    """Attempts one after the other, steps of one side by side."""
    assert not list(OneRunAtATime().check(history(_timed(*spans))))


@pytest.mark.parametrize("spans", [[(1, 0, 6), (2, 5, 9)], [(2, 0, 1), (1, 3, 4)], [(1, 0, 9), (1, 0, 1), (2, 3, 10)]])
def test_one_at_a_time_forbids(spans: list[tuple[int, int, int]]) -> None:
    """A worker of an attempt that was given up, still at work beside its successor."""
    assert list(OneRunAtATime().check(history(_timed(*spans))))


def test_one_at_a_time_grants_the_clocks_their_skew() -> None:
    """On several machines, times are compared with the skew that was named."""
    effects = _timed((1, 0, 6), (2, 5, 9))
    assert not list(OneRunAtATime().check(history(effects, skew_ms=1)))


def test_one_at_a_time_forbids_a_bigger_slice_than_the_route_allows() -> None:
    """A run holds no more events than its route's batch."""
    sent = [Sent(place=place(number)) for number in (1, 2)]
    assert list(OneRunAtATime().check(history(told("1a 2a", batch=True), sent)))


@given(sound_histories(), st.data())
def test_once_catches_any_effect_that_is_repeated(sound: History, data: st.DataObject) -> None:
    """Whoever repeats it: another attempt, or the event sent again under another position."""
    again = data.draw(st.sampled_from(sound.effects))
    resent = replace(again, place=place(99, again.place.key), fence=99, turn=99)
    for repeated in (again, resent):
        found = list(EachEffectOnce().check(replace(sound, effects=(*sound.effects, repeated))))
        assert [violation.key for violation in found] == [again.place.key]


@given(sound_histories(), st.data())
def test_nothing_lost_catches_any_missing_effect(sound: History, data: st.DataObject) -> None:
    """One step of one event is enough."""
    gone = data.draw(st.sampled_from(sound.effects))
    left = tuple(effect for effect in sound.effects if effect != gone)
    found = list(NothingLost().check(replace(sound, effects=left)))
    assert [violation.key for violation in found] == [gone.place.key]
    assert gone.step in found[0].what


@pytest.mark.parametrize(
    ("facts", "told_fate"),
    [
        ({"duplicates": frozenset({place(1)})}, Fate.DUPLICATE),
        ({"quarantined": {place(1): "not_json"}}, Fate.QUARANTINED),
        ({"dead_letters": frozenset({place(1)})}, Fate.DEAD_LETTER),
        ({"set_aside": frozenset({place(1)})}, Fate.SET_ASIDE),
        ({"parked": {"k": "used up"}, "cursors": {"k": place(0).position}}, Fate.PARKED),
        ({"parked": {"k": "used up"}, "cursors": {"k": place(1).position}}, Fate.LOST),
        ({}, Fate.LOST),
    ],
)
def test_a_record_is_lost_unless_somebody_says_where_it_is(facts: dict[str, object], told_fate: Fate) -> None:
    """Parked counts only from the cursor on."""
    sent = Sent(place=place(1), event_id="e", steps=frozenset(STEPS))
    assert fate(sent, history([], [sent], **facts)) is told_fate
    assert bool(list(NothingLost().check(history([], [sent], **facts)))) is (told_fate is Fate.LOST)


def test_without_known_steps_the_cursor_tells_what_is_done() -> None:
    """A workflow of one's own writes no ledger: the key's cursor must be past the record."""
    sent = Sent(place=place(2))
    assert fate(sent, history([], [sent], cursors={"k": place(2).position})) is Fate.DONE
    assert fate(sent, history([], [sent], cursors={"k": place(1).position})) is Fate.LOST


@pytest.mark.parametrize(
    "facts", [{"duplicates": frozenset({place(1)})}, {"quarantined": {place(1): "schema"}}, {"is_whole": True}]
)
def test_only_events_catches_an_effect_that_should_not_be(facts: dict[str, object]) -> None:
    """Of a duplicate, of a record in quarantine, of something nobody sent."""
    assert list(OnlyEvents().check(history(told("1a"), [Sent(place=place(2))], **facts)))


def test_only_events_leaves_other_senders_alone() -> None:
    """Where others put into the stream too, their effects are no concern."""
    assert not list(OnlyEvents().check(history(told("1a"), [])))


def test_a_violation_reads_as_a_sentence() -> None:
    """It names the promise, the key, and what shows it."""
    (found,) = Order().check(history(told("1a 2a 1b")))
    assert str(found).startswith("order: key 'k': b of event k-1 (at 1) took effect as number 3")


def test_a_replay_that_does_steps_again_breaks_no_promise() -> None:
    """Its effects have a generation of their own, with its own order, whenever it comes."""
    first = told("1a 2a 3a")
    again = tuple(replace(one, generation=1, turn=one.turn + 3, fence=one.fence + 3) for one in told("1a 2a"))
    replayed = history([*first, *again])
    assert list(Order().check(replayed)) == list(EachEffectOnce().check(replayed)) == []


def test_order_and_once_hold_within_a_replay_too() -> None:
    first = told("1a 2a")
    swapped = tuple(replace(one, generation=1, turn=one.turn + 2, fence=one.fence + 2) for one in told("2a 1a"))
    twice = tuple(replace(one, generation=1, turn=one.turn + 2) for one in told("1a 1a"))
    assert list(Order().check(history([*first, *swapped])))
    assert list(EachEffectOnce().check(history([*first, *twice])))
