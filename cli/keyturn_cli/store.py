"""Reads the state table, the ledger and the failure bucket of a deployed stack; writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Self

from keyturn.adapters.keys import KeyStore, partition
from keyturn.adapters.table import Table, decode_item
from keyturn.core.positions import position
from keyturn.core.state import KeyState
from keyturn_cli.given_up import records_in
from keyturn_cli.guarantees import Effect, Place
from keyturn_cli.target import Target

_DUPLICATE: Final = "duplicate#"
_ATTEMPT: Final = "attempt#"
_EFFECT: Final = "effect#"
_TRIES: Final = "tries#"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record in quarantine."""

    place: Place
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt ended that did not simply succeed."""

    key: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the sample's workers wrote."""

    effects: tuple[Effect, ...]
    repeated_tries: int
    """Tries after the first one, of the steps that count theirs."""


@dataclass(frozen=True)
class Store:
    """One stack's tables and buckets."""

    table: Table
    ledger_name: str
    s3: Any
    failure_bucket: str
    epoch: int

    @classmethod
    def of(cls, target: Target) -> Self:
        """The store of a deployed stack."""
        return cls(
            table=Table(target.client("dynamodb"), target.outputs.state_table_name),
            ledger_name=target.outputs.ledger_table_name,
            s3=target.client("s3"),
            failure_bucket=target.outputs.failure_bucket_name,
            epoch=int(target.environment["STREAM_EPOCH"]),
        )

    def place(self, key: str, sequence_number: str) -> Place:
        """Where the stream has a record."""
        return Place(key, position(self.epoch, sequence_number))

    def states(self, keys: Iterable[str]) -> dict[str, KeyState]:
        """The states of keys, 100 a call."""
        # index settings matter for writing only
        return KeyStore(self.table, index_buckets=1, index_rounding_ms=1).load_many(keys)

    def duplicates(self, keys: Iterable[str]) -> set[Place]:
        """The records of keys that were recorded as duplicates."""
        return {
            Place(key, item["sk"].removeprefix(_DUPLICATE)) for key in keys for item in self._beginning(key, _DUPLICATE)
        }

    def attempts(self, keys: Iterable[str]) -> list[Attempt]:
        """The attempt records of keys."""
        return [
            Attempt(key, item["outcome"], item["reason"]) for key in keys for item in self._beginning(key, _ATTEMPT)
        ]

    def quarantined(self, since_ms: int) -> list[Quarantined]:
        """The records that went into quarantine since a time, by the day they arrived."""
        return [
            Quarantined(Place(item["key"], item["sk"].rpartition("#")[2]), item["reason"], item.get("detail", ""))
            for day in _days(since_ms)
            for item in self._partition(f"quarantine#{day}", ("key", "sk", "reason", "detail"))
        ]

    def dead_letters(self, since_ms: int) -> dict[Place, str]:
        """The events that were given up since a time, with the reason."""
        return {
            Place(item["key"], item["position"]): item["reason"]
            for day in _days(since_ms)
            for item in self._partition(f"deadletter#{day}", ("key", "position", "reason"))
        }

    def set_aside(self) -> set[Place]:
        """The records that the event source gave up: whole batches lie in the failure bucket."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.failure_bucket)
        return {
            self.place(record["kinesis"]["partitionKey"], record["kinesis"]["sequenceNumber"])
            for page in pages
            for found in page.get("Contents", [])
            for record in self._batch(found["Key"])
        }

    def ledger(self, keys: Iterable[str] | None = None) -> Ledger:
        """The ledger, whole or of some keys. Raises nothing on items of another kind: they are passed over."""
        effects: list[Effect] = []
        repeated_tries = 0
        of_keys = None if keys is None else (item for key in keys for item in self._in_ledger(key))
        for item in self._scan(self.ledger_name) if of_keys is None else of_keys:
            if item["sk"].startswith(_EFFECT):
                effects.append(_effect(item))
            elif item["sk"].startswith(_TRIES):
                repeated_tries += item["n"] - 1
        return Ledger(tuple(effects), repeated_tries)

    def tries(self, key: str) -> dict[str, int]:
        """How often the sample's workers that misbehave on purpose began each step of a key, over all of its events."""
        tries: Counter[str] = Counter()
        for item in self._in_ledger(key):
            if item["sk"].startswith(_TRIES):
                tries[item["sk"].rpartition("#")[2]] += item["n"]
        return dict(tries)

    def _in_ledger(self, key: str) -> Iterator[Mapping[str, Any]]:
        ledger = Table(self.table.client, self.ledger_name)
        return ledger.query({"KeyConditionExpression": "pk = :pk", "ConsistentRead": True}, {"pk": key})

    def _beginning(self, key: str, prefix: str) -> Iterator[Mapping[str, Any]]:
        arguments = {"KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)", "ConsistentRead": True}
        return self.table.query(arguments, {"pk": partition(key), "prefix": prefix})

    def _partition(self, pk: str, names: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
        """Some attributes of a partition's items: not the raw bytes."""
        arguments = {
            "KeyConditionExpression": "pk = :pk",
            "ConsistentRead": True,
            "ProjectionExpression": ", ".join(f"#{name}" for name in names),
            "ExpressionAttributeNames": {f"#{name}": name for name in names},
        }
        return self.table.query(arguments, {"pk": pk})

    def _scan(self, name: str) -> Iterator[Mapping[str, Any]]:
        pages = self.table.client.get_paginator("scan").paginate(TableName=name, ConsistentRead=True)
        return (decode_item(raw) for page in pages for raw in page["Items"])

    def _batch(self, name: str) -> Sequence[Mapping[str, Any]]:
        return records_in(self.s3.get_object(Bucket=self.failure_bucket, Key=name)["Body"].read())


def _effect(item: Mapping[str, Any]) -> Effect:
    return Effect(
        place=Place(item["pk"], item["position"]),
        step=item["step"],
        event_id=item["event_id"],
        turn=item["sequence"],
        fence=item["fence"],
        attempt=item["attempt"],
        generation=int(item["sk"].split("#")[3]),  # effect#KEYHASH#POSITION#GENERATION#STEP
        began_at_ms=item["began_at_ms"],
        ended_at_ms=item["ended_at_ms"],
    )


def _days(since_ms: int) -> list[date]:
    """Every UTC day from a time until now; one more before it, for the stream's clock may be behind ours."""
    first = datetime.fromtimestamp(since_ms / 1000, UTC).date() - timedelta(days=1)
    last = datetime.now(UTC).date()
    return [first + timedelta(days=day) for day in range((last - first).days + 1)]
