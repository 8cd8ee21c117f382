"""A Kinesis stream and a state table in memory, as far as the command line uses them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyturn_cli.guarantees import Place
from keyturn_cli.store import Quarantined

from keyturn.core.positions import position
from keyturn.core.state import KeyState, Parked, Phase


@dataclass
class Stream:
    """Takes records in order, or refuses some: each call refuses every record with the given chance."""

    refuses: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311  replayed, no secret
    taken: list[tuple[str, bytes]] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    def put_records(self, **request: Any) -> dict[str, Any]:
        """As Kinesis: each record is taken or refused by itself."""
        assert request["StreamName"] == "s"
        self.calls.append(len(request["Records"]))
        return {"Records": [self._take(record) for record in request["Records"]]}

    def _take(self, record: Mapping[str, Any]) -> dict[str, str]:
        if self.chance.random() < self.refuses:
            return {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"}
        self.taken.append((record["PartitionKey"], record["Data"]))
        return {"SequenceNumber": str(len(self.taken)), "ShardId": "shardId-000000000000"}


@dataclass
class StateTable:
    """What `Watch` reads of a store."""

    known: dict[str, KeyState] = field(default_factory=dict)
    duplicate: set[Place] = field(default_factory=set)
    rejected: set[Place] = field(default_factory=set)
    given_up: set[Place] = field(default_factory=set)
    loaded: list[str] = field(default_factory=list)

    @staticmethod
    def place(key: str, sequence_number: str) -> Place:
        """Where the stream has a record."""
        return Place(key, position(1, sequence_number))

    def states(self, keys: Iterable[str]) -> dict[str, KeyState]:
        """The states of keys."""
        wanted = list(keys)
        self.loaded += wanted
        return {key: self.known.get(key, KeyState(key)) for key in wanted}

    def duplicates(self, keys: Iterable[str]) -> set[Place]:
        """The duplicates of keys."""
        wanted = set(keys)
        return {place for place in self.duplicate if place.key in wanted}

    def quarantined(self, _since_ms: int) -> list[Quarantined]:
        """The records in quarantine."""
        return [Quarantined(place, "not_json", "") for place in self.rejected]

    def set_aside(self) -> set[Place]:
        """The records in the failure bucket."""
        return self.given_up


def state(key: str, *, phase: Phase = Phase.IDLE, cursor: int = 0, tail: int = 0, diverts: bool = False) -> KeyState:
    """A key's state, with sequence numbers for positions; 0 is none."""
    return KeyState(
        key,
        version=1,
        phase=phase,
        cursor=position(1, str(cursor)) if cursor else KeyState(key).cursor,
        tail=position(1, str(tail)) if tail else KeyState(key).tail,
        parked=Parked(1, "used up", diverts) if phase is Phase.PARKED else None,
    )
