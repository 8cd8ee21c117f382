"""Counts what an invocation asks of AWS, if the stack is deployed with Metering=on: calls, and DynamoDB's units as it
bills them, its index's among them. `keyturn cost` sums the lines up that it makes.

It listens to the clients, so that nothing has to remember to count, and what isn't asked for isn't counted either.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import ceil
from threading import Lock
from typing import Any, Final

MESSAGE: Final = "usage"
"""Of the log line that tells an invocation's usage."""

_ITEM_OPERATIONS: Final = frozenset(
    {
        *("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan"),
        *("BatchGetItem", "BatchWriteItem", "TransactGetItems", "TransactWriteItems"),
    }
)
_OPERATIONS_OF: Final[Mapping[str, Sequence[str]]] = {
    "dynamodb": tuple(sorted(_ITEM_OPERATIONS)),
    "stepfunctions": ("StartExecution", "StartSyncExecution", "DescribeExecution", "StopExecution"),
    "sqs": ("SendMessage",),
    "s3": ("PutObject", "GetObject", "CopyObject", "HeadObject"),
    "kinesis": ("PutRecord", "PutRecords", "GetRecords"),
}

_READ_UNIT_BYTES: Final = 4_096
_REFUSED_UNITS: Final = 1.0
"""Of a write whose condition failed, which tells none. DynamoDB Developer Guide, "Conditional writes": it consumes
write capacity by the item's size, one at least; an item of a key here is smaller than that."""

_READS: Final = frozenset({"GetItem", "BatchGetItem", "Query", "Scan", "TransactGetItems"})
_WHOLE_WORDS: Final = frozenset({"control", "capacity", "operations", "releases", "replay"})
"""Partition keys of the state table that are one word; with another, a table isn't the state table."""

_NOBODYS_KEY: Final = "index"
"""Where a call has no partition key: it asks the index."""


@dataclass(slots=True)
class Usage:
    """What was used since it was last taken."""

    is_on: bool
    _counts: Counter[str] = field(default_factory=Counter)
    _lock: Any = field(default_factory=Lock)

    def add(self, name: str, value: float = 1) -> None:
        """Count something; free when metering is off."""
        if self.is_on:
            with self._lock:
                self._counts[name] += value  # type: ignore[assignment]  # units come in halves

    def take(self) -> dict[str, float]:
        """Return what was counted, and begin anew."""
        with self._lock:
            taken: dict[str, float] = dict(self._counts)
            self._counts.clear()
        return taken

    def listen(self, client: Any, service: str) -> None:
        """Count the calls of a client from now on."""
        if not self.is_on:
            return
        events = client.meta.events
        for operation in _OPERATIONS_OF.get(service, ()):
            events.register(f"provide-client-params.{service}.{operation}", self._asked(service, operation))
            if service == "dynamodb":
                events.register(f"after-call.{service}.{operation}", self._answered(operation))

    def _asked(self, service: str, operation: str) -> Callable[..., Any]:
        """Count a call when it is made; have DynamoDB tell what it takes."""

        def note(params: dict[str, Any], context: dict[str, Any], **_: Any) -> dict[str, Any] | None:
            self.add(f"calls {service}.{operation}{_machine(params)}")
            if service != "dynamodb":
                return None
            context["keyturn_part"] = _part(params)
            context["keyturn_table"] = str(params.get("TableName", "")).rpartition("/")[2]
            context["keyturn_asked"] = params.get("RequestItems", {})
            return params | {"ReturnConsumedCapacity": "INDEXES"}

        return note

    def _answered(self, operation: str) -> Callable[..., None]:
        def note(parsed: Mapping[str, Any], context: Mapping[str, Any], **_: Any) -> None:
            part = context.get("keyturn_part", "")
            if parsed.get("Error", {}).get("Code") == "ConditionalCheckFailedException":
                self.add(f"refused {context.get('keyturn_table', '')} {part}", _REFUSED_UNITS)
                return
            kind = "read" if operation in _READS else "write"
            for table, units in _units(parsed) or _units_of_batch(context.get("keyturn_asked", {}), parsed):
                self.add(f"{kind} {table} {part}", units)

        return note


@cache
def usage() -> Usage:
    """Return this process's usage; it counts if METERING is "on"."""
    return Usage(os.environ.get("METERING") == "on")


def _units(parsed: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Tell the units that an answer says it took, by table."""
    told = parsed.get("ConsumedCapacity") or []
    tables = [told] if isinstance(told, Mapping) else told
    return [(str(one["TableName"]).rpartition("/")[2], float(one["CapacityUnits"])) for one in tables]


def _units_of_batch(asked: Mapping[str, Any], parsed: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Work out what a strongly consistent BatchGetItem took, whose answer doesn't tell (the embedded engine's).

    Source: DynamoDB Developer Guide, "Read consistency and capacity": each item is rounded up to 4 KB by itself, and
    one that isn't there takes a unit too.
    """
    found = []
    for table, wanted in asked.items():
        if not isinstance(wanted, Mapping):
            continue
        items = parsed.get("Responses", {}).get(table, [])
        left = len(parsed.get("UnprocessedKeys", {}).get(table, {}).get("Keys", []))
        absent = len(wanted["Keys"]) - left - len(items)
        found.append((table, float(absent + sum(ceil(_bytes(item) / _READ_UNIT_BYTES) for item in items))))
    return found


def _bytes(value: Any) -> int:
    """Tell an item's size as DynamoDB counts it, names and values, near enough for rounding to units."""
    if isinstance(value, Mapping):
        return sum(len(str(name)) + _bytes(inner) for name, inner in value.items())
    return (
        sum(map(_bytes, value)) if isinstance(value, list) else len(value if isinstance(value, bytes) else str(value))
    )


def _machine(params: Mapping[str, Any]) -> str:
    """Tell which state machine a start is of."""
    return ":" + str(params["stateMachineArn"]).split(":")[6] if "stateMachineArn" in params else ""


def _part(params: Mapping[str, Any]) -> str:
    """Tell which part of a table a call is about: the first word of its partition key, in the state table's form."""
    key = _partition_key(params)
    if not key:
        return _NOBODYS_KEY
    word, hash_sign, _ = key.partition("#")
    return word if hash_sign or word in _WHOLE_WORDS else "other"


def _partition_key(params: Mapping[str, Any]) -> str:
    for place in _places(params):
        if "pk" in place:
            return str(place["pk"].get("S", ""))
    return ""


def _places(params: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Find where a request names its items."""
    yield params.get("Key", {})
    yield params.get("Item", {})
    values = params.get("ExpressionAttributeValues", {})
    if ":pk" in values:
        yield {"pk": values[":pk"]}
    for asked in params.get("RequestItems", {}).values():
        first = asked["Keys"][0] if isinstance(asked, Mapping) else asked[0].get("PutRequest", {}).get("Item", {})
        yield first
    for write in params.get("TransactItems", ()):
        yield write.get("Put", {}).get("Item", {})
