"""Routes: what is done with events of a type."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from keyturn.errors import SettingsError


class Kind(StrEnum):
    """The type of state machine that a route's workflow runs as."""

    STANDARD = "standard"
    EXPRESS = "express"


class Exhaustion(StrEnum):
    """What becomes of a key whose run has used up its attempts."""

    PARK = "park"
    SKIP = "skip"
    FAIL_BEHIND = "fail-behind"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a failed attempt's successor waits at least: `first_s * rate ** (attempt - 1)`, `max_s` at most."""

    first_s: float
    rate: float
    max_s: float

    def delay_ms(self, attempt: int) -> int:
        """Return the wait after a failed `attempt` (from 1), in milliseconds."""
        # The exponent is bounded, since a key may be restarted for years.
        return int(min(self.first_s * self.rate ** min(attempt - 1, 64), self.max_s) * 1000)


@dataclass(frozen=True, slots=True)
class Batch:
    """How much of a waiting key's log one run may take."""

    events: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of the routes file."""

    name: str
    type: str
    """An event type, or a pattern in which `*` stands for anything."""
    workflow: str
    kind: Kind
    schema: str | None
    run_timeout_s: int
    worker_timeout_s: int
    max_attempts: int
    backoff: Backoff
    on_exhaustion: Exhaustion
    batch: Batch
    personal_key: bool
    plain: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Routes:
    """All routes of a deployment."""

    routes: tuple[Route, ...]

    def for_type(self, event_type: str) -> Route | None:
        """Return the route of a type: the exact one, else the pattern with most characters before its first `*`."""
        fitting = [route for route in self.routes if fnmatchcase(event_type, route.type)]
        return max(fitting, key=_specificity, default=None)

    def named(self, name: str) -> Route | None:
        """Return the route of a name, if this deployment has it."""
        return next((route for route in self.routes if route.name == name), None)

    def named_or_missing(self, name: str) -> Route:
        """Return the route of a name, or a stand-in that parks what a removed route left behind."""
        return self.named(name) or _missing(name)

    @property
    def batch_events_max(self) -> int:
        """Most events that a run of any route may take."""
        return max((route.batch.events for route in self.routes), default=1)


def parse_routes(document: Mapping[str, Any]) -> Routes:
    """Make routes of a document that fits routes.schema.json; raises SettingsError for what a schema can't say."""
    routes = tuple(_parse_route(entry) for entry in document["routes"])
    for field in ("name", "type"):
        values = [getattr(route, field) for route in routes]
        repeated = next((value for value in values if values.count(value) > 1), None)
        if repeated is not None:
            raise SettingsError(f"routes.json: two routes have the {field} {repeated!r}: give each one of its own")
    for route in routes:
        if route.worker_timeout_s >= route.run_timeout_s:
            raise SettingsError(
                f'routes.json, route "{route.name}": run_timeout_s is {route.run_timeout_s}, its slowest worker may '
                f"take {route.worker_timeout_s} s: raise run_timeout_s above it"
            )
    return Routes(routes)


def _parse_route(entry: Mapping[str, Any]) -> Route:
    return Route(
        name=entry["name"],
        type=entry["type"],
        workflow=entry["workflow"],
        kind=Kind(entry["kind"]),
        schema=entry.get("schema"),
        run_timeout_s=entry["run_timeout_s"],
        worker_timeout_s=entry["worker_timeout_s"],
        max_attempts=entry["max_attempts"],
        backoff=Backoff(**entry["backoff"]),
        on_exhaustion=Exhaustion(entry["on_exhaustion"]),
        batch=Batch(**entry["batch"]),
        personal_key=entry.get("personal_key", False),
        plain=entry.get("plain"),
    )


def _specificity(route: Route) -> tuple[bool, int]:
    return "*" not in route.type, len(route.type.split("*")[0])


def _missing(name: str) -> Route:
    return Route(
        name=name,
        type=name,
        workflow="",
        kind=Kind.STANDARD,
        schema=None,
        run_timeout_s=900,
        worker_timeout_s=900,
        max_attempts=1,
        backoff=Backoff(1, 2.0, 60),
        on_exhaustion=Exhaustion.PARK,
        batch=Batch(1, 1),
        personal_key=True,
    )
