"""Events, and records that can't be one."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, Self

from keyturn.core.positions import Position

_TRACEPARENT: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?",
    re.DOTALL,
)
"""W3C Trace Context, section 3.2.2: no version ff, no id of zeros only, and more fields only in later versions."""


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvents 1.0 event, as a worker sees it."""

    source: str
    id: str
    type: str
    subject: str | None
    time: str | None
    data: Any
    """JSON; bytes if it was sent as `data_base64`; None if the event has none."""
    attributes: Mapping[str, Any]
    """The whole CloudEvent, extensions included."""

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Self:
        """Make an event of a CloudEvent's JSON, which was validated when it was admitted."""
        binary = attributes.get("data_base64")
        return cls(
            source=attributes["source"],
            id=attributes["id"],
            type=attributes["type"],
            subject=attributes.get("subject"),
            time=attributes.get("time"),
            data=attributes.get("data") if binary is None else base64.b64decode(binary),
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
    """The CloudEvent's JSON as the producer wrote it; a plain record's bytes stand in it as its data."""
    type: str
    route: str
    identity: str
    flow_id: str


class Reason(StrEnum):
    """Why a record can't be an event."""

    NOT_BASE64 = "not_base64"
    """The event source's own encoding is broken: no producer can cause it."""
    KEY = "key"
    """The ordering key is none that Kinesis would take; only a KPL aggregate can hold such a key."""
    EMPTY = "empty"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    """Also JSON that readers would read in different ways: repeated names, numbers out of range, half characters."""
    TOO_DEEP = "too_deep"
    NOT_AN_OBJECT = "not_an_object"
    ENVELOPE = "envelope"
    """Not a CloudEvent, and no route maps it as a plain record: the detail names the attribute."""
    UNKNOWN_TYPE = "unknown_type"
    """No route takes the event's type."""
    DATA = "data"
    """The route's schema refuses the data: the detail names the field."""
    AGGREGATED = "aggregated"
    """Records that the Kinesis Producer Library packed, which the deployment rejects or which can't be taken apart."""
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
    """One line that names the field. It never quotes values, so it may be shown where the data may not."""
    raw: bytes
    arrived_at_ms: int


def identity_hash(source: str, id: str) -> str:  # noqa: A002 - the attribute's own name
    """Return the hash of what identifies an event; the length before the source keeps the joint unambiguous."""
    return sha256(f"{len(source)}:{source}{id}".encode()).hexdigest()


def flow_id_of(attributes: Mapping[str, Any]) -> str:
    """Return the trace id of the event's `traceparent` (W3C Trace Context), else one derived from its identity."""
    value = attributes.get("traceparent")
    found = _TRACEPARENT.fullmatch(value) if isinstance(value, str) else None
    if found and not (found["version"] == "00" and found["more"]):
        return found["trace"]
    return identity_hash(attributes["source"], attributes["id"])[:32]
