"""Gathers what became of records that were put, for the checkers: read once, when everything is over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from keyturn.adapters.schemas import load_routes
from keyturn.core.state import KeyState, Phase
from keyturn_cli.guarantees import History, Sent
from keyturn_cli.putter import Put
from keyturn_cli.store import Attempt, Quarantined, Store

_ORDER_STEPS: Final = frozenset({"inventory", "payment", "notification"})
_SKEW_MS: Final = 250
"""Between two Lambdas' clocks on AWS; they are kept by the same time service."""


@dataclass(frozen=True)
class Facts:
    """A history with what a report tells besides."""

    history: History
    states: Mapping[str, KeyState]
    quarantined: tuple[Quarantined, ...]
    attempts: tuple[Attempt, ...]
    repeated_tries: int


def gather(store: Store, puts: Sequence[Put], *, is_whole: bool, is_local: bool, own_keys: bool = False) -> Facts:
    """Read the ledger and the state table. `is_whole`: nobody else has put anything into this stack.

    `own_keys`: nobody else uses the keys of these records, so only they are read.
    """
    since_ms = min((put.at_ms for put in puts), default=0)
    sent = tuple(_sent(store, put) for put in puts)
    places = {record.place for record in sent}
    keys = {place.key for place in places}
    ledger = store.ledger(keys if own_keys else None)
    effects = tuple(effect for effect in ledger.effects if is_whole or effect.place in places)
    states = store.states(keys)
    quarantined = tuple(found for found in store.quarantined(since_ms) if found.place in places)
    unprocessed = {place.key for place in places - {effect.place for effect in effects}}
    history = History(
        sent=sent,
        effects=effects,
        duplicates=frozenset(store.duplicates(unprocessed) & places),
        quarantined={found.place: found.reason for found in quarantined},
        dead_letters=frozenset(store.dead_letters(since_ms)) & places,
        set_aside=frozenset(store.set_aside() & places),
        parked={key: state.parked.reason for key, state in states.items() if state.parked is not None},
        cursors={key: state.cursor for key, state in states.items()},
        is_whole=is_whole,
        skew_ms=0 if is_local else _SKEW_MS,
    )
    troubled = {key for key, state in states.items() if state.phase is Phase.PARKED or state.fence > 0}
    return Facts(history, states, quarantined, tuple(store.attempts(troubled)), ledger.repeated_tries)


def _sent(store: Store, put: Put) -> Sent:
    place = store.place(put.record.key, put.sequence_number)
    event = _event(put.record.data)
    if event is None:
        return Sent(place=place, line=put.record.line)
    route = load_routes().for_type(str(event.get("type", "")))
    return Sent(
        place=place,
        event_id=str(event.get("id", "")),
        steps=_steps(route.workflow, event.get("data")) if route else frozenset(),
        batch=route.batch.events if route else 1,
        line=put.record.line,
    )


def _event(data: bytes) -> Mapping[str, Any] | None:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _steps(workflow: str, data: Any) -> frozenset[str]:
    """The steps of the sample's workflows; of others, which write no ledger, none is known."""
    if workflow == "order":
        return _ORDER_STEPS
    if workflow == "tracking":
        return frozenset({"notification"})
    if workflow == "lines" and isinstance(data, dict) and isinstance(data.get("lines"), list):
        return frozenset({"packing", *(f"picking-{line}" for line in range(len(data["lines"])))})
    return frozenset()
