"""Names that AWS sees, derived from a key and its fence."""

import re
from base64 import b32encode
from typing import Final

from keyturn.core.state import key_digest

KEY_CHARACTERS_MAX: Final = 256
"""Source: Kinesis PutRecord API reference, `PartitionKey`."""

_ROUTE_CHARACTERS_MAX: Final = 16
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_DIGEST_CHARACTERS: Final = 26
"""130 bits of the key's SHA-256 in base 32: two keys that share them will not be met."""


def key_problem(key: object) -> str | None:
    """Say why something can't be an ordering key; None for what Kinesis would take as a partition key."""
    if not isinstance(key, str):
        return "the ordering key is no text"
    if not 1 <= len(key) <= KEY_CHARACTERS_MAX:
        return f"the ordering key has {len(key)} characters, not 1 to {KEY_CHARACTERS_MAX}"
    return None if is_unicode(key) else "the ordering key holds half of a surrogate pair, which no UTF-8 can carry"


def is_unicode(text: str) -> bool:
    """Tell whether UTF-8 can carry a text: JSON's escapes can write half a character, which it can't."""
    return not _SURROGATE.search(text)


def as_unicode(text: str) -> str:
    """Write out what no UTF-8 can carry, for whoever must store a text wherever it comes from."""
    return text.encode("utf-8", "backslashreplace").decode()


def key_hash(key: str) -> str:
    """Short stable name of a key, 26 lower-case letters and digits: for execution names, and logs of personal keys."""
    return b32encode(key_digest(key)).decode().lower()[:_DIGEST_CHARACTERS]


def execution_name(route: str, table_incarnation: int, key: str, fence: int) -> str:
    """Name the execution of one attempt: the same attempt always gets the same name, no other attempt ever does.

    At most 80 legal characters for fences below 10^27 (StartExecution API reference, `name`).
    """
    prefix = re.sub(r"[^0-9A-Za-z_-]", "-", route)[:_ROUTE_CHARACTERS_MAX]
    return f"{prefix}-{table_incarnation}-{key_hash(key)}-{fence}"
