"""Routes: what is done with events of a type.

A type is exact ("shop.order.placed") or a pattern with one `*`, which stands for any text, dots included, or none. The
most specific route takes an event: the exact one, else the pattern with the longest text before its `*`, else behind
it. Two patterns that fit one type and are equally long on both sides are the same pattern, which parse_routes refuses:
so there is always one answer, and the order of the file has no part in it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any

from keyturn.core.breaker import BreakerRules
from keyturn.core.plain import Plain
from keyturn.errors import SettingsError
from keyturn.limits import EXPRESS_EXECUTION_S_MAX, EXPRESS_RUN_S_MAX, RUN_INLINE_BYTES_MAX


class Kind(StrEnum):
    """The type of state machine that a route's workflow runs as."""

    STANDARD = "standard"
    EXPRESS = "express"
    NESTED = "nested"
    """A Standard execution around an Express one: a history, for a single transition."""

    @property
    def has_history(self) -> bool:
        """Whether its executions are Standard: of unique names, can be stopped and asked, and tell how they ended."""
        return self is not Kind.EXPRESS


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


def type_fits(pattern: str, event_type: str) -> bool:
    """Tell whether an event type fits an exact type, or a pattern with one `*`."""
    before, star, behind = pattern.partition("*")
    if not star:
        return event_type == before
    is_long_enough = len(event_type) >= len(before) + len(behind)
    return is_long_enough and event_type.startswith(before) and event_type.endswith(behind)


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of the routes file."""

    name: str
    type: str
    """An event type, or a pattern with one `*`."""
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
    plain: Plain | None = None
    breaker: BreakerRules | None = None
    """What holds it while its downstream fails for many keys."""

    def takes(self, event_type: str) -> bool:
        """Tell whether an event type fits this route's; another route may fit it better."""
        return type_fits(self.type, event_type)

    @property
    def specificity(self) -> tuple[bool, int, int]:
        """Sorts routes that take the same type: the largest is the one to follow."""
        before, star, behind = self.type.partition("*")
        return not star, len(before), len(behind)


@dataclass(frozen=True)
class Routes:
    """All routes of a deployment."""

    routes: tuple[Route, ...]

    def for_type(self, event_type: str) -> Route | None:
        """Return the most specific route that takes a type."""
        fitting = (route for route in self.routes if route.takes(event_type))
        return max(fitting, key=lambda route: route.specificity, default=None)

    def for_plain(self, record: Mapping[str, Any]) -> Plain | None:
        """Return how to map a record that is no CloudEvent: the first `plain` of the file that takes it."""
        mappings = (route.plain for route in self.routes if route.plain is not None)
        return next((mapping for mapping in mappings if mapping.takes(record)), None)

    def named(self, name: str) -> Route | None:
        """Return the route of a name, if this deployment has it."""
        return next((route for route in self.routes if route.name == name), None)

    def named_or_missing(self, name: str) -> Route:
        """Return the route of a name, or a stand-in that parks what a removed route left behind."""
        return self.named(name) or _missing(name)

    @property
    def breakers(self) -> tuple[BreakerRules, ...]:
        """All breakers that some route has."""
        found = {route.breaker.name: route.breaker for route in self.routes if route.breaker is not None}
        return tuple(found.values())

    def breaker(self, name: str) -> BreakerRules | None:
        """Return the rules of a breaker, if this deployment has it."""
        return next((rules for rules in self.breakers if rules.name == name), None)

    def with_breaker(self, name: str) -> tuple[str, ...]:
        """Name the routes that have a breaker."""
        return tuple(route.name for route in self.routes if route.breaker is not None and route.breaker.name == name)

    @property
    def batch_events_max(self) -> int:
        """Most events that a run of any route may take."""
        return max((route.batch.events for route in self.routes), default=1)


def parse_routes(document: Mapping[str, Any]) -> Routes:
    """Make routes of a document that fits routes.schema.json; raises SettingsError for what a schema can't say."""
    breakers = {name: BreakerRules(name, **rules) for name, rules in document.get("breakers", {}).items()}
    _refuse_unknown_breakers(document["routes"], breakers)
    routes = Routes(tuple(_parse_route(entry, breakers) for entry in document["routes"]))
    problem = next(chain(_breaker_problems(routes, breakers.values()), _problems(routes)), None)
    if problem is not None:
        raise SettingsError(f"routes.json, {problem}")
    return routes


def _refuse_unknown_breakers(entries: Iterable[Mapping[str, Any]], breakers: Collection[str]) -> None:
    for entry in entries:
        name = entry.get("breaker")
        if name is not None and name not in breakers:
            raise SettingsError(
                f'routes.json, route "{entry["name"]}": there is no breaker "{name}": '
                "put it under breakers, or leave it out"
            )


def _breaker_problems(routes: Routes, breakers: Iterable[BreakerRules]) -> Iterator[str]:
    for rules in breakers:
        if rules.probe_after_s > rules.probe_after_max_s:
            yield (
                f'breaker "{rules.name}": probe_after_s is {rules.probe_after_s}, '
                f"above probe_after_max_s {rules.probe_after_max_s}: lower it"
            )
        if rules not in routes.breakers:
            yield f'breaker "{rules.name}": no route has it: name it in a route, or leave it out'


def _problems(routes: Routes) -> Iterator[str]:
    """Yield what is wrong with routes: where, what, and what to do."""
    for field in ("name", "type"):
        seen: set[str] = set()
        for route in routes.routes:
            value = getattr(route, field)
            if value in seen:
                yield f'route "{route.name}": another route has the {field} "{value}" too: give each one of its own'
            seen.add(value)
    for route in routes.routes:
        for problem in (*_timing_problems(route), *_batch_problems(route), *_plain_problems(route, routes)):
            yield f'route "{route.name}": {problem}'


def _timing_problems(route: Route) -> Iterator[str]:
    if route.kind is not Kind.STANDARD and route.run_timeout_s > EXPRESS_RUN_S_MAX:
        yield (
            f"run_timeout_s is {route.run_timeout_s}, and an Express execution lasts {EXPRESS_EXECUTION_S_MAX} s at "
            f"most, after which nobody works and the key waits: lower it to {EXPRESS_RUN_S_MAX}, or use kind standard"
        )
    if route.worker_timeout_s >= route.run_timeout_s:
        yield (
            f"run_timeout_s is {route.run_timeout_s}, its slowest worker may take {route.worker_timeout_s} s: "
            "raise run_timeout_s above it"
        )
    if route.backoff.first_s > route.backoff.max_s:
        yield f"backoff.first_s is {route.backoff.first_s:g}, above backoff.max_s {route.backoff.max_s:g}: lower it"


def _batch_problems(route: Route) -> Iterator[str]:
    if route.batch.bytes > RUN_INLINE_BYTES_MAX:
        yield f"batch.bytes is {route.batch.bytes}, a run carries {RUN_INLINE_BYTES_MAX} at most: lower it"


def _plain_problems(route: Route, routes: Routes) -> Iterator[str]:
    if route.plain is None:
        return
    if "*" in route.plain.type:
        yield "plain.type is missing, and the route's type is a pattern: say which type its plain records get"
    elif routes.for_type(route.plain.type) != route:
        yield f'plain.type is "{route.plain.type}", which this route does not take: give it a type of this route'


def _parse_route(entry: Mapping[str, Any], breakers: Mapping[str, BreakerRules]) -> Route:
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
        plain=Plain.parse(entry["plain"], entry["type"]) if "plain" in entry else None,
        breaker=breakers[entry["breaker"]] if "breaker" in entry else None,
    )


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
