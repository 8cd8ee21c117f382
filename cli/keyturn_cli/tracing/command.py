"""`keyturn trace`: the story of one event on one timeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from keyturn.adapters.process import now_ms
from keyturn_cli.errors import CliError
from keyturn_cli.looking.times import as_json
from keyturn_cli.options import AsOutput, Output, Yes, confirm, on_stack, show, target_of
from keyturn_cli.target import AwsOptions, Target
from keyturn_cli.tracing.find import Finder, Scan, Wanted
from keyturn_cli.tracing.items import Items
from keyturn_cli.tracing.logs import Logs
from keyturn_cli.tracing.page import page_of
from keyturn_cli.tracing.reading_times import span_ms
from keyturn_cli.tracing.scan import TableSize, scan_events
from keyturn_cli.tracing.story import Story
from keyturn_cli.tracing.telling import Item
from keyturn_cli.tracing.text import print_story


@on_stack
def trace(
    event: Annotated[str, typer.Argument(help="A flow id, or a CloudEvent's id (then with --key or --source).")],
    key: Annotated[str, typer.Option("--key", "-k", help="The event's ordering key: found at once then.")] = "",
    source: Annotated[str, typer.Option("--source", help="The CloudEvent's source.")] = "",
    since: Annotated[
        str, typer.Option("--since", help="How far back to search logs and quarantine: 30m, 24h, 7d.")
    ] = "24h",
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with the timeline drawn.")] = None,
    scan: Annotated[bool, typer.Option("--scan", help="Read the whole state table if need be; asks first.")] = False,
    yes: Yes = False,
    output: AsOutput = Output.TEXT,
    *,
    where: AwsOptions,
) -> None:
    """Tell the story of one event: put, admitted, waiting, each attempt and step, parked, done; gaps, and log lines.

    Example: keyturn trace order-1001/0 --key order-1001 --html trace.html
    """
    at_ms = now_ms()
    since_ms = at_ms - span_ms(since)
    target = target_of(where)
    finder = Finder(Items.of(target), Logs.of(target, _busy), at_ms, since_ms)
    story = finder.story(Wanted(event, key, source), _scan_of(target, yes=yes) if scan else None)
    if html is not None:
        _write(html, page_of(story))
    show(output, content_of(story), lambda screen: print_story(story, screen.console))


def _busy(title: str) -> AbstractContextManager[Any]:
    console = Console(stderr=True)
    return console.status(title) if console.is_terminal else nullcontext()


def _scan_of(target: Target, *, yes: bool) -> Scan:
    def scan() -> Iterator[Item]:
        size = TableSize.of(target)
        confirm(f"Read the whole state table at {target.where}? It has {size}.", yes=yes)
        return scan_events(target, size)

    return scan


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CliError(f"{path} can't be written: {error.strerror}") from error


def content_of(story: Story) -> dict[str, Any]:
    """A story for programs: its values, with times in ISO 8601 too, and the longest gap."""
    content: dict[str, Any] = _with_iso(asdict(story))
    for told, gap in zip(content["gaps"], story.gaps, strict=True):
        told.update(length_ms=gap.length_ms, is_longest=gap == story.longest)
    return content


def _with_iso(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_with_iso(one) for one in value]
    if not isinstance(value, dict):
        return value
    content: dict[str, Any] = {}
    for name, one in value.items():
        is_time = name.endswith("_ms") and isinstance(one, int | None)
        content |= as_json(name.removesuffix("_ms"), one) if is_time else {name: _with_iso(one)}
    return content
