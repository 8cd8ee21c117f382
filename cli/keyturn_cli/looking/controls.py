"""Holds of routes and circuit breakers, as the stack's control partition has them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from keyturn.adapters.controls import HOLD_EVERYTHING, HOLD_ROUTE
from keyturn.adapters.table import Item

_BREAKER: Final = "breaker#"
CLOSED: Final = "closed"


@dataclass(frozen=True, slots=True)
class RouteHold:
    """A person's hold of a route, or of everything if it names none; or what is remembered of it."""

    route: str
    is_held: bool
    by: str
    reason: str
    at_ms: int
    routes: tuple[str, ...]
    """Those that it stood for when it was set."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """A circuit breaker: unless it is closed, its routes start no runs."""

    name: str
    phase: str
    opened_at_ms: int
    probe_at_ms: int
    routes: tuple[str, ...]

    @property
    def is_closed(self) -> bool:
        """Whether it keeps nobody from running."""
        return self.phase == CLOSED


def route_holds(controls: Mapping[str, Item]) -> Iterator[RouteHold]:
    """Yield the holds of routes; that of everything first."""
    for name, item in sorted(controls.items()):
        if name == HOLD_EVERYTHING or name.startswith(HOLD_ROUTE):
            yield RouteHold(
                route="" if name == HOLD_EVERYTHING else name.removeprefix(HOLD_ROUTE),
                is_held=item.get("is_held", item.get("status") == "held"),
                by=item.get("by", ""),
                reason=item.get("reason", ""),
                at_ms=item.get("at_ms", 0),
                routes=tuple(item.get("routes", ())),
            )


def breakers(controls: Mapping[str, Item]) -> Iterator[Breaker]:
    """Yield the circuit breakers by name."""
    for name, item in sorted(controls.items()):
        if name.startswith(_BREAKER):
            yield Breaker(
                name=name.removeprefix(_BREAKER),
                phase=item.get("phase", CLOSED),
                opened_at_ms=item.get("opened_at_ms", 0),
                probe_at_ms=item.get("probe_at_ms", 0),
                routes=tuple(item.get("routes", ())),
            )
