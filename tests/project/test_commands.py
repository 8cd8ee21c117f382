"""Every `keyturn` command that a page shows is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from keyturn_cli.app import app
from typer._click.core import Command, Context  # typer carries a click of its own
from typer._click.exceptions import ClickException, MissingParameter
from typer.core import TyperGroup

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
INLINE = re.compile(r"`(?:\.venv/bin/)?keyturn ([a-z][^`]*)`")
BLOCK = re.compile(r"^ {4,}(?:\$ )?(?:\.venv/bin/)?keyturn ([a-z].*)$", re.MULTILINE)
GAPS = ("...", "…", "(", "|", "[", "COMMAND")
"""Marks of a form rather than a command that one could type."""


def shown() -> Iterator[tuple[str, str, bool]]:
    """Yield (page, command, whether it stands to be copied) for the pages, without what follows it on the line."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        joined = re.sub(r"\\\n\s*", " ", text)
        inline = [re.sub(r"\s+", " ", one) for one in INLINE.findall(joined)]
        blocks = BLOCK.findall(joined)
        for command in dict.fromkeys([*inline, *blocks]):
            if not any(gap in command for gap in GAPS):
                yield page.name, re.split(r"\s+(?:#|&&|>)|\s{3,}", command)[0], command in blocks


@pytest.mark.parametrize(("page", "command", "is_whole"), list(shown()), ids=str)
def test_a_command_on_a_page_is_one_that_can_be_typed(page: str, command: str, is_whole: bool) -> None:
    """Its name, its arguments and each of its options: parsed, not carried out."""
    try:
        parse(typer.main.get_command(app), shlex.split(command, comments=True))
    except MissingParameter:
        assert not is_whole, f"{page}: keyturn {command}: lacks what it needs"
    except ClickException as error:
        raise AssertionError(f"{page}: keyturn {command}: {error.format_message()}") from error


def parse(command: Command, words: list[str]) -> None:
    """Parse words as a command's; raises ClickException for those that aren't."""
    while isinstance(command, TyperGroup) and words:
        context = Context(command)
        _name, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    if "--help" not in words and not isinstance(command, TyperGroup):
        command.make_context("keyturn", words)


def test_the_check_would_find_a_command_that_is_not_there() -> None:
    for wrong in (["dance"], ["resume", "k", "--no-such-option"], ["status", "--output", "xml"]):
        with pytest.raises(ClickException):
            parse(typer.main.get_command(app), wrong)
