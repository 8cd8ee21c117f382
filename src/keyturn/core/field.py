"""How a message names a field of a JSON document: `data.lines[2].quantity`."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_MEMBER_CHARACTERS_MAX: Final = 64

NAME_CHARACTERS_MAX: Final = 160
"""However deep a field lies and however its members are called, so that a message with its name is one short line."""
_LEFT_OUT: Final = "…"

Path = tuple[str | int, ...]
"""Member names and list indexes, from the outside in."""


def name_of(path: Iterable[str | int]) -> str:
    """Name a field; the whole document is called "the event". An odd member name is quoted, and cut if it is long.

    A name longer than NAME_CHARACTERS_MAX keeps its two ends.
    """
    name = "".join(map(_part, path)).removeprefix(".") or "the event"
    if len(name) <= NAME_CHARACTERS_MAX:
        return name
    kept = NAME_CHARACTERS_MAX - len(_LEFT_OUT)
    return f"{name[: kept // 2]}{_LEFT_OUT}{name[-(kept - kept // 2) :]}"


def walk(document: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield each value of `document` and the names of its members, in document order, with the way to it."""
    yield path, document
    if isinstance(document, dict):
        for name, value in document.items():
            yield path, name
            yield from walk(value, (*path, name))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from walk(value, (*path, index))


def _part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    if _PLAIN_NAME.fullmatch(part):
        return f".{part}"
    return f"[{json.dumps(part[:_MEMBER_CHARACTERS_MAX])}]"
