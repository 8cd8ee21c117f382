"""`keyturn key`, `keyturn run`: one key whole, one run of it."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from keyturn_cli.completion import parked_keys
from keyturn_cli.looking.key_page import key_document, key_lines
from keyturn_cli.looking.positions import read_position
from keyturn_cli.looking.run_page import run_document, run_lines
from keyturn_cli.looking.runs import read_run
from keyturn_cli.looking.stack import StackReader
from keyturn_cli.looking.story import read_story
from keyturn_cli.options import AsOutput, Output, on_stack, show, target_of
from keyturn_cli.target import AwsOptions

EVENTS_MAX: Final = 1_000

Key = Annotated[
    str,
    typer.Argument(help="The ordering key, as it was put into the stream.", metavar="KEY", autocompletion=parked_keys),
]
Results = Annotated[bool, typer.Option("--results", help="Show what the steps returned too.")]


@on_stack
def key(
    key: Key,
    events: Annotated[int, typer.Option(min=1, max=EVENTS_MAX, help="How many of the log's events to show.")] = 20,
    before: Annotated[str, typer.Option(help="Show the events before this position.")] = "",
    results: Results = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Show one key whole: what it does and why, what you can do, its log with attempts and steps.

    Example: keyturn key order-1001
    """
    reader = StackReader.of(target_of(where))
    place = read_position(before, int(reader.settings["STREAM_EPOCH"])) if before else ""
    story = read_story(reader, key, events=events, before=place)
    show(
        output,
        key_document(story, results=results),
        lambda screen: screen.lines(key_lines(story, results=results)),
    )


@on_stack
def run(
    key: Key,
    which: Annotated[
        str, typer.Argument(metavar="[POSITION|EXECUTION]", help="A position in it, or the name of an execution of it.")
    ] = "",
    results: Results = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Show one run of a key: its events, each attempt with its end and reason, its steps; by default the last run.

    Example: keyturn run order-1001
    """
    reader = StackReader.of(target_of(where))
    story = read_run(reader, key, which)
    show(
        output,
        run_document(story, results=results),
        lambda screen: screen.lines(run_lines(story, results=results)),
    )
