"""Events, and records that can't be one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, Self

from keyturn.core.positions import Position

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvents 1.0 event, as a worker sees it."""

    source: str
    id: str
    type: str
    subject: str | None
    time: str | None
    data: Any
    attributes: Mapping[str, Any]
    """The whole CloudEvent, extensions included."""

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Self:
        """Make an event of a CloudEvent's JSON, which was validated when it was admitted."""
        return cls(
            source=attributes["source"],
            id=attributes["id"],
            type=attributes["type"],
            subject=attributes.get("subject"),
            time=attributes.get("time"),
            data=attributes.get("data"),
            attributes=attributes,
        )


@dataclass(frozen=True, slots=True)
class Admissible:
    """A record that is an event."""

    shard: str
    key: str
    position: Position
    arrived_at_ms: int
    raw: bytes
    """The CloudEvent's JSON as the producer wrote it."""
    type: str
    route: str
    identity: str
    flow_id: str


class Reason(StrEnum):
    """Why a record can't be an event."""

    EMPTY = "empty"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    ENVELOPE = "envelope"
    """Not a CloudEvent: the detail names the attribute."""
    UNKNOWN_TYPE = "unknown_type"
    """No route takes the event's type."""
    DATA = "data"
    """The route's schema refuses the data: the detail names the field."""
    AGGREGATED = "aggregated"
    """Records that the Kinesis Producer Library packed together, where the deployment rejects them."""
    LATE = "late"
    """Set aside by the event source, and delivered after later events of its key were admitted."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record for quarantine, with its bytes as they came."""

    shard: str
    position: Position
    key: str
    reason: Reason
    detail: str
    raw: bytes
    arrived_at_ms: int


def identity_hash(source: str, id: str) -> str:  # noqa: A002 - the attribute's own name
    """Return the hash of what identifies an event; the length before the source keeps the joint unambiguous."""
    return sha256(f"{len(source)}:{source}{id}".encode()).hexdigest()


def flow_id_of(attributes: Mapping[str, Any]) -> str:
    """Return the trace id of the event's `traceparent` (W3C Trace Context), else one derived from its identity."""
    found = _TRACEPARENT.fullmatch(str(attributes.get("traceparent", "")))
    if found and set(found[1]) != {"0"}:
        return found[1]
    return identity_hash(attributes["source"], attributes["id"])[:32]
