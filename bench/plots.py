"""Plots as SVG, drawn by hand: no library for two pictures. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_COLOURS: Final = ("#1b6ca8", "#5fa8d3", "#0b3954", "#9a9a9a", "#c96b3b", "#6a994e", "#8e5aa8")
_WIDTH: Final = 860
_LEFT, _RIGHT, _TOP, _BOTTOM = 150, 70, 46, 34
_BAR: Final = 20


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the curve."""

    name: str
    points: Sequence[tuple[float, float]]


def bars(title: str, values: Mapping[str, float], unit: str) -> str:
    """Draw one bar for each name."""
    most = max(values.values(), default=1.0) or 1.0
    room = _WIDTH - _LEFT - _RIGHT
    parts = [_text(_LEFT, 24, title, size=15, weight="bold")]
    for place, (name, value) in enumerate(values.items()):
        y = _TOP + place * (_BAR + 8)
        length = room * value / most
        parts += [
            _text(_LEFT - 8, y + 15, name, anchor="end"),
            f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR}" fill="{_colour(place)}"/>',
            _text(_LEFT + length + 6, y + 15, f"{value:,.0f} {unit}"),
        ]
    return _svg(_TOP + len(values) * (_BAR + 8) + 10, parts)


def curve(title: str, lines: Sequence[Line], x_title: str, y_title: str) -> str:
    """Draw lines over a logarithmic x axis; y begins at 0."""
    height, points = 380, [point for line in lines for point in line.points]
    x_max = max((x for x, _ in points), default=1.0)
    step = nice_step(max((y for _, y in points), default=1.0))
    y_max = step * math.ceil(max((y for _, y in points), default=1.0) / step)

    def at(x: float, y: float) -> tuple[float, float]:
        along = math.log10(max(x, 1.0)) / (math.log10(x_max) or 1.0)
        return _LEFT + along * (_WIDTH - _LEFT - 160), height - _BOTTOM - y / y_max * (height - _TOP - _BOTTOM)

    parts = [_text(_LEFT, 24, title, size=15, weight="bold"), _text(_LEFT, height - 4, x_title), _text(8, 24, y_title)]
    for number in range(round(y_max / step) + 1):
        x, y = at(1, number * step)
        parts += [
            f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{_WIDTH - 160}" y2="{y:.1f}" stroke="#ddd"/>',
            _text(x - 8, y + 4, f"{number * step:,.0f}", anchor="end"),
        ]
    for value in sorted({x for x, _ in points}):
        x, y = at(value, 0)
        parts.append(_text(x, y + 16, f"{value:,.0f}", anchor="middle"))
    for place, line in enumerate(lines):
        colour = _colour(place)
        drawn = [at(*point) for point in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
        parts += [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in drawn]
        if drawn:
            parts.append(_text(drawn[-1][0] + 8, drawn[-1][1] + 4, line.name, colour=colour))
    return _svg(height, parts)


def nice_step(highest: float) -> float:
    """Return 1, 2 or 5 times a power of ten that makes three to eight steps up to `highest`."""
    power = 10.0 ** math.floor(math.log10(max(highest, 1e-9)))
    return next(step for step in (power * one for one in (0.2, 0.5, 1, 2)) if highest / step <= 8)


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    anchor: str = "start",
    weight: str = "normal",
    colour: str = "#222",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}"'
        f' fill="{colour}">{escape(text)}</text>'
    )


def _svg(height: float, parts: Sequence[str]) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}"'
        f' viewBox="0 0 {_WIDTH} {height:.0f}" font-family="sans-serif">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{inside}\n</svg>\n'
    )
