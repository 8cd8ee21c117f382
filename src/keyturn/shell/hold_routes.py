"""What a person does to routes: hold one or all, release, close a breaker. Who, when and why is recorded with it."""

from datetime import UTC, datetime
from typing import Any, Final

from keyturn.adapters.controls import Moved, RouteOperation, Standing
from keyturn.core.breaker import Breaker
from keyturn.core.commands import Operator
from keyturn.core.route_hold import RouteHold
from keyturn.errors import CannotOperate
from keyturn.shell.breakers import close
from keyturn.shell.platform import Platform
from keyturn.shell.releasing import begin, wake_ramps

EVERYTHING: Final = ""
"""Stands for all routes where a route's name stands."""


def hold_route(platform: Platform, route: str, operator: Operator) -> dict[str, Any]:
    """Let a route, or everything, start no run until it is released. Raises CannotOperate when it is held already."""
    known = _names(platform)
    _refuse_unknown(route, known)
    now_ms = platform.clock()
    routes = known if route == EVERYTHING else (route,)
    hold = RouteHold(route, is_held=True, at_ms=now_ms, by=operator.by, reason=operator.reason, routes=routes)
    try:
        platform.controls.hold(hold, RouteOperation("Hold", route, operator.by, operator.reason, now_ms))
    except Moved as moved:
        raise CannotOperate(f"{_named(route)} is held already, {_since(moved.standing)}") from moved
    return told(platform, route)


def release_route(platform: Platform, route: str, operator: Operator, *, closes_breaker: bool) -> dict[str, Any]:
    """Let a held route, or everything, go on. Raises CannotOperate when no person holds it.

    A breaker's hold stays, unless `closes_breaker`.
    """
    standing = platform.controls.read()
    hold, broken = standing.hold_of(route), _open_breaker(platform, standing, route)
    if hold is None:
        _refuse_unknown(route, _names(platform))
    is_held = hold is not None and hold.is_held
    if not is_held and not (broken and closes_breaker):
        raise CannotOperate(_why_not(standing, route, hold, broken))
    if hold is not None and is_held:
        _release(platform, hold, operator)
    if broken and closes_breaker:
        _close(platform, broken, route, operator)
    return told(platform, route)


def told(platform: Platform, route: str) -> dict[str, Any]:
    """Tell what stands after a command, for the caller to print."""
    standing = platform.controls.read()
    hold, broken = standing.hold_of(route), _open_breaker(platform, standing, route)
    return {
        "route": route or None,
        "is_held": hold is not None and hold.is_held,
        "is_everything_held": standing.is_held_by_person(EVERYTHING),
        "by": hold.by if hold else None,
        "reason": hold.reason if hold else None,
        "at_ms": hold.at_ms if hold else None,
        "open_breaker": broken.name if broken else None,
    }


def _release(platform: Platform, hold: RouteHold, operator: Operator) -> None:
    now_ms = platform.clock()
    routes = hold.routes if hold.route else tuple(dict.fromkeys((*hold.routes, *_names(platform))))
    begin(platform, routes)
    released = RouteHold(hold.route, is_held=False, at_ms=now_ms, by=operator.by, reason=operator.reason)
    done = RouteOperation("Release", hold.route, operator.by, operator.reason, now_ms)
    try:
        platform.controls.release(hold, released, done)
    except Moved as moved:
        raise CannotOperate(_why_not(platform.controls.read(), hold.route, moved.standing, None)) from moved
    wake_ramps(platform, routes)


def _close(platform: Platform, broken: Breaker, route: str, operator: Operator) -> None:
    rules = platform.routes.breaker(broken.name)
    if rules is None:
        raise CannotOperate(f"breaker {broken.name!r} is no more")
    close(platform, rules)
    done = RouteOperation("CloseBreaker", route, operator.by, operator.reason, platform.clock())
    platform.controls.record(done)


def _open_breaker(platform: Platform, standing: Standing, name: str) -> Breaker | None:
    route = platform.routes.named(name)
    if route is None or route.breaker is None:
        return None
    breaker = standing.breaker(route.breaker.name)
    return breaker if breaker.is_holding else None


def _why_not(standing: Standing, route: str, hold: RouteHold | None, broken: Breaker | None) -> str:
    if broken is not None:
        return (
            f"{_named(route)} is held by the breaker {broken.name!r}, open since {_at(broken.opened_at_ms)}: it closes "
            "by itself once a probe succeeds; --close-breaker closes it now"
        )
    if hold is not None and hold.is_held:
        return f"{_named(route)} was held anew meanwhile, {_since(hold)}"
    if route != EVERYTHING and standing.is_held_by_person(EVERYTHING):
        return f"{_named(route)} is held only as everything is, {_since(standing.hold_of(EVERYTHING))}: release that"
    if hold is not None:
        return f"{_named(route)} is not held: it was released, {_since(hold)}"
    return f"{_named(route)} is not held"


def _refuse_unknown(route: str, known: tuple[str, ...]) -> None:
    if route != EVERYTHING and route not in known:
        raise CannotOperate(f"there is no route {route!r}: one of {', '.join(known)}")


def _names(platform: Platform) -> tuple[str, ...]:
    return tuple(route.name for route in platform.routes.routes)


def _named(route: str) -> str:
    return f"route {route!r}" if route else "everything"


def _since(hold: RouteHold | None) -> str:
    return f"by {hold.by} at {_at(hold.at_ms)}: {hold.reason}" if hold else "by somebody else"


def _at(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
