"""The options that both groups of commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Ids = Annotated[list[str] | None, typer.Argument(help="IDs, as a list prints them.", metavar="ID")]
Id = Annotated[str, typer.Argument(help="Its ID, as a list prints it.", metavar="ID")]
All = Annotated[bool, typer.Option("--all", help="Every one that is open.")]
Because = Annotated[str, typer.Option("--because", "-b", help="Why; recorded with who and when.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Lines at most.")]
After = Annotated[str | None, typer.Option("--after", help="Go on behind a page: what it printed last.")]
Data = Annotated[bool, typer.Option("--data", help="What it holds too, personal data included.")]
