"""Names that AWS sees, derived from a key and its fence."""

import re
from base64 import b32encode
from typing import Final

from keyturn.core.state import key_digest

_ROUTE_CHARACTERS_MAX: Final = 16
_DIGEST_CHARACTERS: Final = 26
"""130 bits of the key's SHA-256 in base 32: two keys that share them will not be met."""


def key_hash(key: str) -> str:
    """Short stable name of a key, 26 lower-case letters and digits: for execution names, and logs of personal keys."""
    return b32encode(key_digest(key)).decode().lower()[:_DIGEST_CHARACTERS]


def execution_name(route: str, table_incarnation: int, key: str, fence: int) -> str:
    """Name the execution of one attempt: the same attempt always gets the same name, no other attempt ever does.

    At most 80 legal characters for fences below 10^27 (StartExecution API reference, `name`).
    """
    prefix = re.sub(r"[^0-9A-Za-z_-]", "-", route)[:_ROUTE_CHARACTERS_MAX]
    return f"{prefix}-{table_incarnation}-{key_hash(key)}-{fence}"
