"""Reads what the state table holds of an event; writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, takewhile
from typing import Any, Final, Self

from keyturn.adapters.controls import Controls
from keyturn.adapters.keys import STATE, decode_state, partition
from keyturn.adapters.payloads import PayloadStore
from keyturn.adapters.schemas import load_routes
from keyturn.adapters.table import Table
from keyturn.core.event import flow_id_of, identity_hash
from keyturn.core.log_entry import PayloadReference
from keyturn.core.positions import Position
from keyturn.core.route import Routes
from keyturn.core.state import KeyState
from keyturn.errors import StoreError
from keyturn_cli.looking.fates import run_of
from keyturn_cli.looking.key_items import Attempt, Event, KeyItems, Stretch
from keyturn_cli.target import Target
from keyturn_cli.tracing.stops import Stop, stops_of
from keyturn_cli.tracing.telling import Envelope, Item, Material

EVENT: Final = "event#"
_IDENTITY: Final = "id#"

_OPERATIONS_READ_MAX: Final = 500
QUARANTINE_READ_A_DAY_MAX: Final = 2_000
"""Records of one day that are looked through: a few megabytes."""


@dataclass(frozen=True)
class Items:
    """One stack's state table, and the bucket with the events that are too large for it."""

    table: Table
    payloads: PayloadStore
    routes: Routes = field(default_factory=load_routes)
    """Of this checkout: a stack doesn't tell its own."""

    @classmethod
    def of(cls, target: Target) -> Self:
        """The items of a deployed stack."""
        table = Table(target.client("dynamodb"), target.outputs.state_table_name)
        return cls(table, PayloadStore(target.client, target.outputs.payload_bucket_name))

    def event(self, key: str, position: str) -> Item | None:
        """The log item at a place, if there is one."""
        return self.table.get(partition(key), EVENT + position)

    def position_of(self, key: str, source: str, event_id: str) -> str | None:
        """Where an event stands in its key's log, while its identity is remembered."""
        item = self.table.get(partition(key), _IDENTITY + identity_hash(source, event_id))
        return item["position"] if item else None

    def log(self, key: str) -> Iterator[Item]:
        """A key's log, in order."""
        arguments = {"KeyConditionExpression": "pk = :pk AND begins_with(sk, :event)", "ConsistentRead": True}
        return self.table.query(arguments, {"pk": partition(key), "event": EVENT})

    def quarantined(self, since_ms: int, now_ms: int) -> Iterator[Item]:
        """The records in quarantine that arrived since a time, the latest day first."""
        day, first = (datetime.fromtimestamp(at_ms / 1000, UTC).date() for at_ms in (now_ms, since_ms))
        while day >= first:
            arguments = {"KeyConditionExpression": "pk = :pk", "ScanIndexForward": False}
            yield from self.table.query(arguments, {"pk": f"quarantine#{day}"}, QUARANTINE_READ_A_DAY_MAX)
            day -= timedelta(days=1)

    def envelope(self, item: Item, *, fetches: bool = True) -> Envelope:
        """What an event says of itself; nothing if it isn't JSON, or lies in the bucket and isn't fetched."""
        is_apart = fetches and "payload" in item
        try:
            content = self.payloads.get(PayloadReference.from_item(item["payload"])) if is_apart else None
            attributes: Any = json.loads(content or item.get("event") or item.get("raw") or b"")
        except (StoreError, ValueError, RecursionError):
            return Envelope()
        if not isinstance(attributes, dict):
            return Envelope()
        is_identified = all(isinstance(attributes.get(name), str) for name in ("id", "source"))
        event_id, source, time = (_text(attributes.get(name)) for name in ("id", "source", "time"))
        return Envelope(event_id, source, time, _flow_id(attributes) if is_identified else "")

    def material(self, key: str, event: Item) -> Material:
        """Read everything else that is kept of an event; the state first, see Material."""
        position = Position(event["sk"].removeprefix(EVENT))
        state, items, here = self._state(key), KeyItems(self.table, key), Stretch.through(position, position)
        stands = Event(position, event["type"], event["flow_id"], event["arrived_at_ms"])
        attempts = [attempt for attempt in items.attempts(here) if attempt.covers(position)]
        return Material(
            position=position,
            event=event,
            envelope=self.envelope(event),
            state=state,
            attempts=attempts,
            steps=items.steps(here),
            duplicates=[one for one in items.duplicates(Stretch(low=position)) if one.of == position],
            operations=items.operations(_OPERATIONS_READ_MAX),
            dead_letter=items.dead_letters([stands]).get(position),
            stops=self._stops(self._route_of(state, stands, attempts)),
        )

    def _stops(self, name: str) -> tuple[Stop, ...]:
        """When a route started no runs; of an unknown one only when nothing did."""
        controls, route = Controls(self.table, 0), self.routes.named(name)
        breaker = controls.breaker(route.breaker.name) if route is not None and route.breaker is not None else None
        return stops_of(name, reversed(controls.operations(_OPERATIONS_READ_MAX)), breaker)

    def _route_of(self, state: KeyState, event: Event, attempts: Sequence[Attempt]) -> str:
        """The route of the event's run, else that which takes it by this checkout; empty if none does."""
        run = run_of(state, Position(event.position))
        if run is not None:
            return run.slice.route
        route = self.routes.for_type(event.type)
        return attempts[-1].route if attempts else route.name if route is not None else ""

    def firsts_of(self, found: Material) -> set[str]:
        """Where the runs begin that an event was part of: their log lines carry that position and its flow id."""
        run, fences = run_of(found.state, found.position), {step.fence for step in found.steps}
        firsts: set[str] = {found.position, *(attempt.first for attempt in found.attempts)}
        if fences:
            items, place = KeyItems(self.table, found.state.key), found.position
            before = takewhile(lambda stored: stored.fence in fences, items.results_backwards(place))
            for stored in chain(items.results(Stretch.through(place, place)), before):
                firsts.update(one.position for one in stored.results if one.position <= place)
        return firsts | {run.slice.first} if run else firsts

    def earlier_ended_ms(self, key: str, first: str) -> int | None:
        """When the run before the one that begins at a position ended, by its records: the key's turn came then."""
        items = KeyItems(self.table, key)
        ended: list[int] = []
        for event in items.newest_events(1, before=first):
            here = Stretch.through(event.position, event.position)
            ended += [step.ended_at_ms for step in items.steps(here)]
            ended += [attempt.ended_at_ms for attempt in items.attempts(here) if attempt.covers(event.position)]
        return max(ended, default=None)

    def _state(self, key: str) -> KeyState:
        item = self.table.get(partition(key), STATE)
        return decode_state(key, item) if item else KeyState(key)


def _flow_id(attributes: dict[str, Any]) -> str:
    try:
        return flow_id_of(attributes)
    except UnicodeEncodeError:  # half a character in what would identify it
        return ""


def _text(value: Any) -> str:
    """A value of a record that may be none that anybody can write, such as half a character."""
    return str(value or "").encode("utf-8", "backslashreplace").decode()
