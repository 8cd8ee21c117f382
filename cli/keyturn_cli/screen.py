"""What a command shows while it works: steps with their times. Spinners for people, plain lines for logs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from keyturn_cli.looking.wording import printable

_TITLE_WIDTH = 48


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its style ("bold", "red"), which only a terminal shows."""

    text: str = ""
    style: str = ""


class Screen:
    """Prints to standard output. What it is given may hold what anybody wrote, so it is made printable."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)

    @property
    def is_live(self) -> bool:
        """Whether somebody watches: a terminal that can be drawn on."""
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def line(self, text: str = "") -> None:
        """Print a line, or several."""
        self.console.print(escape(printable(text)))

    def lines(self, lines: Iterable[Line]) -> None:
        """Print lines in their styles."""
        for line in lines:
            self.console.print(escape(printable(line.text)), style=line.style or None)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show that something is under way, then how long it took; nothing when it fails, the error says it."""
        began_s = time.monotonic()
        if self.is_live:
            with self.console.status(f"  {escape(title)}"):
                yield
        else:
            yield
        self.done(title, time.monotonic() - began_s)

    def done(self, title: str, took_s: float) -> None:
        """Print a finished step."""
        self.line(f"  {title:<{_TITLE_WIDTH}} {took_s:6.1f} s")
