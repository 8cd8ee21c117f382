"""One stack's tables, ready to be read by whoever may: with the caller's own credentials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from keyturn.adapters.controls import PARTITION
from keyturn.adapters.index import DueIndex
from keyturn.adapters.keys import KeyStore
from keyturn.adapters.process import now_ms
from keyturn.adapters.schemas import load_routes
from keyturn.adapters.table import Item, Table
from keyturn.core.naming import execution_name
from keyturn.core.route import Routes
from keyturn.core.state import Clock, KeyState
from keyturn_cli.errors import NotFound
from keyturn_cli.looking.wording import quoted
from keyturn_cli.target import Target


@dataclass(frozen=True)
class StackReader:
    """What the read-only commands read."""

    target: Target
    table: Table
    index: DueIndex
    keys: KeyStore
    settings: Mapping[str, str]
    """The environment of the deployed functions."""
    routes: Routes
    """Of this checkout: a stack doesn't tell its own."""
    clock: Clock = now_ms

    @classmethod
    def of(cls, target: Target) -> Self:
        """The reader of a deployed stack. Raises ClientError when its settings can't be read."""
        table = Table(target.client("dynamodb"), target.outputs.state_table_name)
        settings = target.environment
        buckets, rounding_ms = int(settings["INDEX_BUCKETS"]), int(settings["INDEX_ROUNDING_S"]) * 1_000
        return cls(
            target, table, DueIndex(table, buckets), KeyStore(table, buckets, rounding_ms), settings, load_routes()
        )

    @cached_property
    def controls(self) -> Mapping[str, Item]:
        """Holds, breakers, the last passes of what comes by itself: by their sort key, read once."""
        arguments = {"KeyConditionExpression": "pk = :pk", "ConsistentRead": True}
        return {item["sk"]: item for item in self.table.query(arguments, {"pk": PARTITION})}

    def known(self, key: str) -> KeyState:
        """A key's state. Raises NotFound when it never had an event here."""
        state = self.keys.load(key)
        if state.version == 0:
            raise NotFound(f"key {quoted(key)} has never had an event in this stack ({self.target.where})")
        return state

    def readable(self, keys: Iterable[str]) -> dict[str, KeyState]:
        """Many keys' states; without those that another version wrote, which this one can't read."""
        return {state.key: state for state in self.keys.load_readable(keys)[0]}

    def execution_name(self, route: str, key: str, fence: int) -> str:
        """The name of the execution of an attempt."""
        return execution_name(route, int(self.settings["TABLE_INCARNATION"]), key, fence)

    def client(self, service: str) -> Any:
        """A client of another service of the stack's."""
        return self.target.client(service)
