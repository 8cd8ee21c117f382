"""Prints open items: a page of them, or one whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from keyturn_cli.items.dump import as_json, readable
from keyturn_cli.items.found import Found, Items, entry_of, token_of
from keyturn_cli.looking.wording import aligned, one_line
from keyturn_cli.options import Output, show
from keyturn_cli.screen import Screen

Columns = Sequence[tuple[str, str]]
"""Attribute of an item -> its heading."""


def print_page(
    items: Items, columns: Columns, output: Output, *, reason: str | None, limit: int, after: str | None
) -> None:
    """Print what is open, `limit` items at most, and how to go on."""
    found = list(islice(items.opened(entry_of(after) if after else None, reason), limit + 1))
    page, has_more = found[:limit], len(found) > limit
    content = {
        "open": items.count(),
        "items": [described(one) for one in page],
        "after": token_of(page[-1].entry) if has_more else None,
    }
    show(output, content, lambda screen: _draw(screen, items, columns, page, content))


def print_one(items: Items, found: Found, output: Output, *, facts: Mapping[str, Any], raw: bytes | None) -> None:
    """Print one item whole; its bytes too if they are given."""
    content = {**described(found), **facts, **(as_json(raw) if raw is not None else {})}
    show(output, content, lambda screen: _draw_one(screen, items, found, content, raw))


def described(found: Found) -> dict[str, Any]:
    """Describe an item without its bytes."""
    item = {name: value for name, value in found.item.items() if name not in {"pk", "sk"}}
    return {"id": found.id, **item}


def _draw(screen: Screen, items: Items, columns: Columns, page: Sequence[Found], content: Mapping[str, Any]) -> None:
    words = items.words
    if page:
        rows = [[one.id, *(one_line(_text(name, one.item.get(name, ""))) for name, _ in columns)] for one in page]
        for row in aligned([["id", *(heading for _, heading in columns)], *rows]):
            screen.line(row)
        screen.line()
    screen.line(f"{words.counted(content['open'])} open.")
    if content["after"]:
        screen.line(f"More: keyturn {words.group} list --after {content['after']}")
    if page:
        screen.line(f"One whole: keyturn {words.group} show {page[0].id}")
        screen.line(f'Again: keyturn {words.group} redrive {page[0].id} --because "..."')


def _draw_one(screen: Screen, items: Items, found: Found, content: Mapping[str, Any], raw: bytes | None) -> None:
    for name, value in content.items():
        if name not in {"data", "data_base64"}:
            screen.line(f"{name.removesuffix('_at_ms').removesuffix('_ms'):<12} {_text(name, value)}")
    screen.line()
    if raw is not None:
        screen.line(readable(raw))
    else:
        screen.line(f"What it holds: keyturn {items.words.group} show {found.id} --data")
    if "closed" not in content:
        screen.line(f'Again: keyturn {items.words.group} redrive {found.id} --because "..."')
        screen.line(f'Never: keyturn {items.words.group} discard {found.id} --because "..."')


def _text(name: str, value: Any) -> str:
    if name.endswith("at_ms") and isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Mapping):
        at = _text("at_ms", value["at_ms"])
        return f"{value['how']} {at} by {value['by']}: {value.get('because', '')}"
    return str(value)
