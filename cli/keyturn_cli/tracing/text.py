"""A story for a terminal: the moments in order, the time between them named, then the log lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from keyturn_cli.looking.times import clock, lasting
from keyturn_cli.looking.wording import one_line
from keyturn_cli.tracing.story import Gap, Line, Story, Wait, What

_TOLD_ONCE: Final = frozenset({"flow_id", "key", "position", "cold_start", "route", "execution"})

_COLOURS: Final[Mapping[What, str]] = {
    What.STEP_BEGAN: "cyan",
    What.STEP_ENDED: "cyan",
    What.STEP_FAILED: "yellow",
    What.ATTEMPT_BEGAN: "blue",
    What.ATTEMPT_ENDED: "blue",
    What.OPERATION: "magenta",
    What.PARKED: "bold red",
    What.HELD: "magenta",
    What.RELEASED: "magenta",
    What.NOW: "dim",
    What.QUARANTINED: "bold red",
    What.DEAD_LETTERED: "bold red",
    What.DONE: "bold green",
}
_LEVELS: Final = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


def print_story(story: Story, console: Console) -> None:
    """Print a story; colours on a terminal only."""
    for text in (*_head(story), *_timeline(story), *_lines(story), *_notes(story)):
        console.print(text, soft_wrap=True, highlight=False)


def _head(story: Story) -> Iterator[Text]:
    subject = story.subject
    told = (("source", subject.source), ("type", subject.type))
    yield Text.assemble(
        "Event ",
        (one_line(subject.id) or "without an id", "bold"),
        *(f", {name} {one_line(value)}" for name, value in told if value),
    )
    yield Text(f"  key      {subject.key!r}")
    yield Text(f"  position {subject.position}")
    if subject.flow_id:
        yield Text(f"  flow id  {one_line(subject.flow_id)}")
    yield Text(one_line(story.standing), style="bold")
    yield Text()


def _timeline(story: Story) -> Iterator[Text]:
    yield Text("Time (UTC)                 since put   what", style="dim")
    put_ms = next((moment.at_ms for moment in story.moments if moment.what is What.PUT), 0)
    gaps = {gap.begins_ms: gap for gap in story.gaps}
    for place, moment in enumerate(story.moments):
        since = f"{'-' if moment.at_ms < put_ms else '+'}{lasting(abs(moment.at_ms - put_ms))}"
        what = Text(one_line(moment.text), style=_COLOURS.get(moment.what, ""))
        yield Text.assemble((clock(moment.at_ms), "dim"), f"  {since:>10}   ", what)
        gap = gaps.get(moment.at_ms)
        is_last_of_its_time = story.moments[place + 1 : place + 2] and story.moments[place + 1].at_ms > moment.at_ms
        if gap is not None and is_last_of_its_time:
            yield _gap(gap, is_longest=gap == story.longest)
    yield Text()


def _gap(gap: Gap, *, is_longest: bool) -> Text:
    style = "dim" if gap.wait in {Wait.STREAM, Wait.AFTER} else "bold yellow" if is_longest else "dim"
    mark = "   <- the longest" if is_longest else ""
    return Text(f"{'':37}| {lasting(gap.length_ms):>8}  {one_line(gap.label)}{mark}", style=style)


def _lines(story: Story) -> Iterator[Text]:
    if not story.lines:
        return
    yield Text(f"Log lines of all functions ({len(story.lines)})", style="dim")
    for line in story.lines:
        fields = one_line(" ".join(f"{name}={value}" for name, value in shown(line).items()))
        level = Text(f"{one_line(line.level):<8}", style=_LEVELS.get(line.level, ""))
        yield Text.assemble(
            (clock(line.at_ms), "dim"),
            "  ",
            level,
            f"{one_line(line.service):<13} {one_line(line.message)}",
            (f"  {fields}", "dim"),
        )
    yield Text()


def _notes(story: Story) -> Iterator[Text]:
    for note in story.notes:
        yield Text(f"Note: {one_line(note)}.", style="dim")


def shown(line: Line) -> Mapping[str, Any]:
    """The fields of a line that differ between lines: who it is about stands above."""
    return {name: value for name, value in line.fields.items() if name not in _TOLD_ONCE}
