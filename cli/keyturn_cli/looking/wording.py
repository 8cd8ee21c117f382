"""Keys, reasons and commands, as they can be shown on a terminal and typed into a shell.

A key is any text that a producer chose, and a reason may quote anything: neither may move the cursor or end a line.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len

_COLUMN_MAX: Final = 72
"""Cells: a position fits, a key of 256 characters doesn't widen every row."""


def quoted(key: str) -> str:
    """A key in quotes; what can't be printed is written as an escape."""
    return repr(key)


def one_line(text: str) -> str:
    """A text in one printable line."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """A text that can't move the cursor, change colours, a title or the direction of writing; its lines stay."""
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


def argument(text: str) -> str:
    """A text as a word of a POSIX shell, on one line: `$'...'` where it holds what can't be printed."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(_escaped(one) for one in text) + "'"


def _escaped(one: str) -> str:
    if one in "\\'":
        return f"\\{one}"
    if one.isprintable():
        return one
    return "".join(f"\\x{byte:02x}" for byte in one.encode("utf-8", "surrogateescape"))


def command(name: str, key: str, *options: str) -> str:
    """The command line that does something to a key: `keyturn skip order-7 --reason WHY`."""
    if key.startswith("-"):
        return " ".join(["keyturn", name, *options, "--", argument(key)])
    return " ".join(["keyturn", name, argument(key), *options])


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun: "1 key", "2,000 keys"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def aligned(rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """Rows as lines with straight columns, whatever scripts their texts are in; what is very long sticks out."""
    widths = [
        max((cell_len(text) for text in column if cell_len(text) <= _COLUMN_MAX), default=0)
        for column in zip(*rows, strict=True)
    ]
    return [
        gap.join(text + " " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
