"""Shows a record's bytes: JSON laid out, anything else as a hex dump."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

_WIDTH: Final = 16


def readable(raw: bytes) -> str:
    """Lay bytes out for people."""
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "\n".join(hex_dump(raw))


def hex_dump(raw: bytes) -> Iterator[str]:
    """Yield lines of offset, sixteen bytes, and those of them that are printable."""
    for start in range(0, len(raw), _WIDTH):
        part = raw[start : start + _WIDTH]
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        yield f"{start:08x}  {part.hex(' '):<{3 * _WIDTH - 1}}  {shown}"


def as_json(raw: bytes) -> dict[str, Any]:
    """Put bytes into a JSON document: as text where they are text."""
    try:
        return {"data": raw.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(raw).decode()}
