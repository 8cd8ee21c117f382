"""`keyturn status`: how the stack stands, on one screen."""

from __future__ import annotations

import time
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from keyturn.errors import StoreError
from keyturn_cli.looking.overview import Overview, read_overview
from keyturn_cli.looking.stack import StackReader
from keyturn_cli.looking.status_page import status_document, status_lines
from keyturn_cli.looking.wording import one_line
from keyturn_cli.options import AsOutput, Output, on_stack, show, target_of
from keyturn_cli.screen import Screen
from keyturn_cli.target import AwsOptions, Target

_REFRESH_S: Final = 2.0


@on_stack
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every 2 seconds, until Ctrl-C.")] = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Show how the stack stands: keys by phase, runs in flight, what is oldest, what needs a person.

    Example: keyturn status --watch
    """
    if watch and output is Output.JSON:
        raise typer.BadParameter("--watch is for people: leave it out to get one JSON document")
    target = target_of(where)
    overview = read_overview(StackReader.of(target))
    if watch:
        _watch(target, overview, Screen())
    else:
        show(output, status_document(overview), lambda screen: screen.lines(status_lines(overview)))


def _watch(target: Target, overview: Overview, screen: Screen) -> None:
    """Show a stack until Ctrl-C: redrawn on a terminal, one screen below the other elsewhere."""
    if not screen.is_live:
        while True:
            screen.lines(status_lines(overview))
            screen.line()
            time.sleep(_REFRESH_S)
            overview = read_overview(StackReader.of(target))
    with Live(_text(overview), console=Console(highlight=False), auto_refresh=False) as live:
        trouble = ""
        while True:
            live.update(_text(overview, trouble), refresh=True)
            time.sleep(_REFRESH_S)
            try:
                overview, trouble = read_overview(StackReader.of(target)), ""
            except StoreError as error:  # a throttle passes: what was read last stays on the screen
                trouble = f"can't be read just now: {one_line(str(error))}"


def _text(overview: Overview, trouble: str = "") -> Text:
    text = Text()
    for line in status_lines(overview):
        text.append(f"{line.text}\n", style=line.style or None)
    return text.append(trouble, style="red")
