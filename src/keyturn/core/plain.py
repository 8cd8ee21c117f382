"""Plain records: JSON objects that are no CloudEvents, which a route takes by mapping their fields into one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import quote

_MISSING: Final = object()


class CannotMap(ValueError):
    """A plain record lacks what its route maps; the message names the attribute and the field."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A route's `plain` option. Fields of the record are named by JSON pointers (RFC 6901)."""

    match: Mapping[str, Any]
    """Pointer -> value: the route takes a record in which all of them hold, so any record if there are none."""
    source: str
    """The events' source, as it stands here."""
    type: str
    """The events' type, as it stands here."""
    id: tuple[str, ...]
    """Pointers to what tells one event of the source from another. Several are joined by ":"."""
    subject: str | None
    time: str | None

    @classmethod
    def parse(cls, entry: Mapping[str, Any], route_type: str) -> Self:
        """Read the option as routes.json has it; the type is the route's own unless it says otherwise."""
        pointers = entry["id"]
        return cls(
            match=entry.get("match", {}),
            source=entry["source"],
            type=entry.get("type", route_type),
            id=(pointers,) if isinstance(pointers, str) else tuple(pointers),
            subject=entry.get("subject"),
            time=entry.get("time"),
        )

    def takes(self, record: Mapping[str, Any]) -> bool:
        """Tell whether a record is one of this route's."""
        return all(_is_same(_at(record, pointer), value) for pointer, value in self.match.items())

    def attributes_of(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Map a record to the attributes of a CloudEvent, `data` left out; raises CannotMap."""
        attributes = {
            "specversion": "1.0",
            "id": self._id_of(record),
            "source": self.source,
            "type": self.type,
            "datacontenttype": "application/json",
        }
        for name, pointer in (("subject", self.subject), ("time", self.time)):
            if pointer is not None and _at(record, pointer) not in (_MISSING, None):
                attributes[name] = _text_at(record, pointer, name)
        return attributes

    def _id_of(self, record: Mapping[str, Any]) -> str:
        values = [_text_at(record, pointer, "id") for pointer in self.id]
        # Escaped only where there are several, so that ("a:b", "c") and ("a", "b:c") stay apart.
        return values[0] if len(values) == 1 else ":".join(quote(value, safe="") for value in values)


def envelope(attributes: Mapping[str, Any], record: bytes) -> bytes:
    """Put a record into the envelope of its attributes; its own bytes stay as they are."""
    head = json.dumps(attributes, ensure_ascii=False, separators=(",", ":")).encode()
    return head[:-1] + b',"data":' + record + b"}"


def _at(record: Any, pointer: str) -> Any:
    """Return what a JSON pointer names, or _MISSING. It goes through objects only."""
    value = record
    for token in pointer.split("/")[1:]:
        if not isinstance(value, dict):
            return _MISSING
        value = value.get(token.replace("~1", "/").replace("~0", "~"), _MISSING)
    return value


def _text_at(record: Mapping[str, Any], pointer: str, attribute: str) -> str:
    value = _at(record, pointer)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value:
        return value
    raise CannotMap(f"{attribute}: the plain record has neither text nor a whole number at {pointer}")


def _is_same(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)
