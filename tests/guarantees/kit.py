"""Histories for the tests of the checkers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st
from keyturn_cli.guarantees import Effect, History, Place, Sent

STEPS = ("inventory", "notification", "payment")


def place(number: int, key: str = "k") -> Place:
    """The place of a key's record."""
    return Place(key, f"0001-{number:056d}-000000")


def effect(
    number: int,
    step: str = "inventory",
    *,
    turn: int,
    fence: int | None = None,
    key: str = "k",
    at_ms: int | None = None,
) -> Effect:
    """An effect of 2 ms; by default each turn takes 10 ms, and each event is an attempt of its own."""
    began_at_ms = turn * 10 if at_ms is None else at_ms
    return Effect(
        place=place(number, key),
        step=step,
        event_id=f"{key}-{number}",
        turn=turn,
        fence=number if fence is None else fence,
        began_at_ms=began_at_ms,
        ended_at_ms=began_at_ms + 2,
    )


def told(story: str, *, batch: bool = False) -> tuple[Effect, ...]:
    """Effects as the checkers' docstrings write them: "1a 1b 2a" is events and steps in the order of writing.

    `batch`: all of them are of one attempt.
    """
    return tuple(
        effect(int(word[:-1]), word[-1], turn=turn, fence=1 if batch else None)
        for turn, word in enumerate(story.split(), start=1)
    )


def history(effects: Sequence[Effect], sent: Sequence[Sent] | None = None, **facts: object) -> History:
    """A history; by default exactly the records that had effects were sent."""
    records = sent if sent is not None else [Sent(place=at, batch=10) for at in {e.place for e in effects}]
    return History(sent=tuple(records), effects=tuple(effects), **facts)  # type: ignore[arg-type]  # tests name fields


@dataclass(frozen=True)
class Run:
    """A slice of a key's log, and how many attempts it took."""

    events: tuple[int, ...]
    attempts: int


@st.composite
def sound_histories(draw: st.DrawFn) -> History:
    """Histories as Keyturn makes them: several keys, batches, steps in any order, retries that go on."""
    sent: list[Sent] = []
    effects: list[Effect] = []
    for number in range(draw(st.integers(1, 3))):
        key = f"k{number}"
        events = draw(st.integers(1, 6))
        runs = draw(_cut(events))
        batch = max(len(run.events) for run in runs)
        sent += [
            Sent(place=place(event, key), event_id=f"{key}-{event}", steps=frozenset(STEPS), batch=batch)
            for event in range(1, events + 1)
        ]
        effects += draw(_effects(key, runs))
    return History(sent=tuple(sent), effects=tuple(effects), is_whole=True)


@st.composite
def _cut(draw: st.DrawFn, events: int) -> list[Run]:
    runs: list[Run] = []
    start = 1
    while start <= events:
        size = draw(st.integers(1, min(3, events - start + 1)))
        runs.append(Run(tuple(range(start, start + size)), draw(st.integers(1, 3))))
        start += size
    return runs


@st.composite
def _effects(draw: st.DrawFn, key: str, runs: Sequence[Run]) -> list[Effect]:
    made: list[Effect] = []
    fence = now_ms = 0
    for run in runs:
        steps = draw(_side_by_side(run.events))
        cuts = sorted(draw(st.lists(st.integers(0, len(steps)), min_size=run.attempts - 1, max_size=run.attempts - 1)))
        for first, last in zip((0, *cuts), (*cuts, len(steps)), strict=True):
            fence += 1
            for event, step in steps[first:last]:
                now_ms += draw(st.integers(0, 5))
                turn = len(made) + 1
                made.append(replace(effect(event, step, turn=turn, key=key, at_ms=now_ms), fence=fence))
            now_ms += 2
    return made


@st.composite
def _side_by_side(draw: st.DrawFn, events: tuple[int, ...]) -> list[tuple[int, str]]:
    """Any interleaving of the steps, each going through the events in order."""
    turns = draw(st.permutations([step for step in STEPS for _ in events]))
    left = {step: iter(events) for step in STEPS}
    return [(next(left[step]), step) for step in turns]
