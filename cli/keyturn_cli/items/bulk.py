"""Has the stack do something with many items: page by page, so that no invocation runs out of time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from keyturn_cli.errors import CliError, Refused
from keyturn_cli.items.found import Chosen, Found, Items, Words
from keyturn_cli.looking.wording import counted
from keyturn_cli.operator import operate
from keyturn_cli.options import Output, checked_reason, confirm, show
from keyturn_cli.screen import Screen
from keyturn_cli.target import Target

PAGE: Final = 50
"""Items that one invocation is asked for; it takes no more."""

_LISTED_MAX: Final = 20

_NOT_DONE: Final[Mapping[str, str]] = {
    "left": "left, since they would go wrong again",
    "refused": "refused",
    "failed": "failed",
    "undone": "not begun",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What to ask of the operator function, and what it is called afterwards."""

    command: str
    because: str
    asks: str
    """What to ask before it is done, with `items` and `keys` counted."""
    done: str
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """The answers so far, by ID."""

    answers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    problem: str = ""
    """Why it stopped before its end."""

    def of(self, fate: str) -> list[Mapping[str, Any]]:
        """The answers with one fate."""
        return [answer for answer in self.answers.values() if answer["fate"] == fate]


def discarding(because: str) -> Order:
    """What closes items that nothing is to be done for."""
    return Order("discard", checked_reason(because, "--because"), "Discard {items}", "discarded")


def carry_out(target: Target, items: Items, chosen: Chosen, order: Order, output: Output, *, yes: bool) -> None:
    """Ask, do it, print what was done, and fail when not all of it was. Repeated, it goes on where it stopped."""
    words, found = items.words, items.chosen(chosen)
    keys = counted(len({one.key for one in found}), "key")
    confirm(f"{order.asks.format(items=words.counted(len(found)), keys=keys)} at {target.where}?", yes=yes)
    with _bar(order.done) as advance:
        tally = send(lambda page: _ask(target, order, page), found, advance)
    show(output, _content(tally, order), lambda screen: _draw(screen, tally, words, order))
    if len(tally.of("done")) == len(found):
        return
    if output is Output.JSON:
        raise typer.Exit(1)
    raise _error(tally, len(found), words, order)


def send(
    ask: Callable[[Sequence[Found]], Sequence[Mapping[str, Any]]],
    found: Sequence[Found],
    advance: Callable[[int, int], None],
) -> Tally:
    """Ask page by page; what a page didn't get to comes first in the next one. Stops where a call to AWS failed."""
    tally, left = Tally(), deque(found)
    while left and not tally.problem:
        page = [left.popleft() for _ in range(min(PAGE, len(left)))]
        try:
            answers = ask(page)
        except Refused as refused:
            tally.problem = str(refused)
            break
        tally.answers |= {answer["id"]: answer for answer in answers}
        again = [one for one in page if tally.answers.get(one.id, {"fate": "undone"})["fate"] == "undone"]
        failed = next((answer["detail"] for answer in answers if answer["fate"] == "failed"), "")
        tally.problem = failed or ("the stack got to none of them" if len(again) == len(page) else "")
        left.extendleft(reversed(again))
        advance(len(found) - len(left), len(found))
    return tally


def _ask(target: Target, order: Order, page: Sequence[Found]) -> Sequence[Mapping[str, Any]]:
    places = [list(one.place) for one in page]
    answers: Sequence[Mapping[str, Any]] = operate(target, order.command, order.because, places=places, **order.more)[
        "items"
    ]
    return answers


class _bar:  # noqa: N801 - used like a function
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, title: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._is_shown = self._progress.console.is_terminal
        self._task = self._progress.add_task(title, total=None)

    def __enter__(self) -> Callable[[int, int], None]:
        if self._is_shown:
            self._progress.start()
        return lambda done, total: self._progress.update(self._task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            self._progress.stop()


def _content(tally: Tally, order: Order) -> dict[str, Any]:
    counts = Counter(answer["fate"] for answer in tally.answers.values())
    items = [{name: answer[name] for name in ("id", "fate", "detail")} for answer in tally.answers.values()]
    return {"done": order.done, **{fate: counts[fate] for fate in ("done", *_NOT_DONE)}, "items": items}


def _draw(screen: Screen, tally: Tally, words: Words, order: Order) -> None:
    screen.line(f"{words.counted(len(tally.of('done')))} {order.done}.")
    for fate, told in _NOT_DONE.items():
        answers = tally.of(fate)
        if answers and len(tally.answers) > 1:
            screen.line(f"{len(answers):,} {told}:")
            for answer in answers[:_LISTED_MAX]:
                screen.line(f"  {answer['id']}  {answer['detail']}")
            if len(answers) > _LISTED_MAX:
                screen.line(f"  and {len(answers) - _LISTED_MAX:,} more: --output json lists them all")


def _error(tally: Tally, total: int, words: Words, order: Order) -> CliError:
    if total == 1 and tally.answers:
        (answer,) = tally.answers.values()
        return Refused(f"{answer['detail']}. It was not {order.done}")
    why = f": {tally.problem}. Repeat the command to go on" if tally.problem else ""
    return Refused(f"{total - len(tally.of('done')):,} of {words.counted(total)} were not {order.done}{why}")
