"""Draws an event's timeline as SVG: what the time went into, attempts and steps as bars, what happened as marks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import sqrt
from typing import Final, Self

from keyturn_cli.looking.times import clock, lasting
from keyturn_cli.looking.wording import one_line
from keyturn_cli.tracing.story import Gap, Moment, Story, What

_LEFT: Final = 150
_WIDTH: Final = 1_000
_LANE: Final = 30
_BAR: Final = 18
_TOP: Final = 10
_LEAST_SHARE: Final = 0.3
"""Of the width, dealt out evenly, so that what took a millisecond can be seen beside what took days."""
_CHARACTER_WIDTH: Final = 6.6
_LANE_CHARACTERS_MAX: Final = 20
_APART: Final = 52
"""Between two time labels."""

_MARKS: Final = frozenset(What) - {
    What.PRODUCED,
    What.ATTEMPT_BEGAN,
    What.ATTEMPT_ENDED,
    What.STEP_BEGAN,
    What.STEP_ENDED,
    What.STEP_FAILED,
}


@dataclass(frozen=True, slots=True)
class Scale:
    """Where times lie, not to scale: an interval's width goes by the square root of its length."""

    times: tuple[int, ...]
    places: tuple[float, ...]

    @classmethod
    def over(cls, times: Sequence[int]) -> Self:
        """The scale over some times, the first to the left, the last to the right."""
        known = tuple(sorted(set(times)))
        lengths = [sqrt(after - before) for before, after in pairwise(known)]
        share, least = (1 - _LEAST_SHARE) / max(1.0, sum(lengths)), _LEAST_SHARE / max(1, len(lengths))
        places, place = [float(_LEFT)], float(_LEFT)
        for one in lengths:
            place += _WIDTH * (one * share + least)
            places.append(place)
        return cls(known, tuple(places))

    def x(self, at_ms: int) -> float:
        """Where a time lies; it must be one of those that the scale was made over."""
        return self.places[self.times.index(at_ms)]


@dataclass(frozen=True, slots=True)
class _Bar:
    lane: str
    begins_ms: int
    ends_ms: int
    kind: str
    label: str
    title: str


def slug(text: str) -> str:
    """A name as style sheets can hold it."""
    return "".join(one if one.isalnum() else "-" for one in text.lower())


def draw(story: Story) -> str:
    """Draw the timeline, from when the event was put; empty if nothing is known but that."""
    moments = [moment for moment in story.moments if moment.what is not What.PRODUCED]
    gaps = [gap for gap in story.gaps if moments and gap.begins_ms >= moments[0].at_ms]
    if not gaps:
        return ""
    scale = Scale.over([moment.at_ms for moment in moments])
    bars = [*_gap_bars(story, gaps), *_attempt_bars(story, moments), *_step_bars(story)]
    failures = [moment for moment in moments if moment.what is What.STEP_FAILED]
    lanes = ["what happened", *(bar.lane for bar in bars), *(_step_lane(moment.name) for moment in failures)]
    lanes = list(dict.fromkeys(lanes))
    height = _TOP + _LANE * (len(lanes) + 1)
    parts = [
        *(_lane_name(name, place) for place, name in enumerate(lanes)),
        *_grid(scale, gaps, height - _LANE),
        *(_drawn_bar(bar, scale, lanes.index(bar.lane)) for bar in bars),
        *(_drawn_failure(moment, scale, lanes.index(_step_lane(moment.name))) for moment in failures),
        *(_drawn_mark(moment, scale) for moment in moments if moment.what in _MARKS),
        *_ticks(scale, moments, gaps, height),
    ]
    return f'<svg viewBox="0 0 {_LEFT + _WIDTH + 40} {height}" role="img" aria-label="Timeline">{"".join(parts)}</svg>'


def _gap_bars(story: Story, gaps: Sequence[Gap]) -> Iterator[_Bar]:
    for number, gap in enumerate(gaps, start=1):
        title = f"{number}. {gap.label}: {lasting(gap.length_ms)}"
        kind = f"gap {slug(gap.wait.name)}{' longest' if gap == story.longest else ''}"
        yield _Bar("time went into", gap.begins_ms, gap.ends_ms, kind, f"{number} {gap.label}", title)


def _attempt_bars(story: Story, moments: Sequence[Moment]) -> Iterator[_Bar]:
    for attempt in story.attempts:
        times = [moment.at_ms for moment in moments if moment.fence == attempt.fence]
        if times:
            ends_ms = max(times) if attempt.outcome else moments[-1].at_ms
            outcome = attempt.outcome or "under way"
            told = f"attempt {attempt.number}: {outcome.replace('_', ' ')}"
            title = f"{told}, fence {attempt.fence}, {lasting(ends_ms - min(times))}"
            kind, label = f"attempt {slug(outcome)}", f"{attempt.number} {outcome.replace('_', ' ')}"
            yield _Bar(
                "attempts", min(times), ends_ms, kind, label, f"{title}{f': {attempt.why}' if attempt.why else ''}"
            )


def _step_bars(story: Story) -> Iterator[_Bar]:
    for step in story.steps:
        took = lasting(step.ended_ms - step.began_ms)
        title = f"step {step.name}, attempt {step.attempt}, {took}"
        yield _Bar(_step_lane(step.name), step.began_ms, step.ended_ms, "step", "", title)


def _step_lane(name: str) -> str:
    return f"step {name}"


def _y(lane: int) -> float:
    return _TOP + lane * _LANE


def _text(text: str) -> str:
    return escape(one_line(text))


def _lane_name(name: str, lane: int) -> str:
    shown = name if len(name) <= _LANE_CHARACTERS_MAX else f"{name[:_LANE_CHARACTERS_MAX]}..."
    place = f'x="{_LEFT - 12}" y="{_y(lane) + 13}" text-anchor="end"'
    return f'<text class="lane" {place}><title>{_text(name)}</title>{_text(shown)}</text>'


def _grid(scale: Scale, gaps: Sequence[Gap], bottom: float) -> Iterator[str]:
    for at_ms in {*(gap.begins_ms for gap in gaps), gaps[-1].ends_ms}:
        x = scale.x(at_ms)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom:.1f}"/>'


def _drawn_bar(bar: _Bar, scale: Scale, lane: int) -> str:
    x, width = scale.x(bar.begins_ms), max(2.0, scale.x(bar.ends_ms) - scale.x(bar.begins_ms))
    label = bar.label if len(bar.label) * _CHARACTER_WIDTH < width else bar.label.partition(" ")[0]
    is_fitting = len(label) * _CHARACTER_WIDTH < width
    shown = (
        f'<text class="label" x="{x + width / 2:.1f}" y="{_y(lane) + 13}">{_text(label)}</text>' if is_fitting else ""
    )
    box = f'<rect class="{bar.kind}" x="{x:.1f}" y="{_y(lane)}" width="{width:.1f}" height="{_BAR}" rx="3"/>'
    return f"<g><title>{_text(bar.title)}</title>{box}{shown}</g>"


def _drawn_failure(moment: Moment, scale: Scale, lane: int) -> str:
    x, y = scale.x(moment.at_ms), _y(lane) + _BAR / 2
    cross = f"M{x - 5:.1f} {y - 5}l10 10m0 -10l-10 10"
    return f'<g><title>{_text(moment.text)}</title><path class="failure" d="{cross}"/></g>'


def _drawn_mark(moment: Moment, scale: Scale) -> str:
    title = f"{clock(moment.at_ms)}  {moment.text}"
    circle = f'<circle class="mark {slug(moment.what.value)}" cx="{scale.x(moment.at_ms):.1f}" cy="{_TOP + 9}" r="6"/>'
    return f"<g><title>{_text(title)}</title>{circle}</g>"


def _ticks(scale: Scale, moments: Sequence[Moment], gaps: Sequence[Gap], height: float) -> Iterator[str]:
    last = float("-inf")
    for at_ms in [*(gap.begins_ms for gap in gaps), gaps[-1].ends_ms]:
        x = scale.x(at_ms)
        if x - last >= _APART:
            told = f"+{lasting(at_ms - moments[0].at_ms)}"
            yield f'<text class="tick" x="{x:.1f}" y="{height - 12}" text-anchor="middle">{told}</text>'
            last = x
