"""When a route started no runs: holds of it, or of everything, and its circuit breaker. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from keyturn.adapters.controls import RouteOperation
from keyturn.core.breaker import Breaker
from keyturn_cli.tracing.story import Moment, What


@dataclass(frozen=True, slots=True)
class Stop:
    """A time in which a route started no runs."""

    begins_ms: int
    ends_ms: int | None
    """None while it lasts."""
    how: str
    """For people, behind "held": with the route, with everything, by a breaker."""
    began: str
    """What happened at its beginning; `ended` the same for its end."""
    ended: str
    source: str
    """Where it is written down."""

    def covers(self, begins_ms: int, ends_ms: int) -> bool:
        """Whether it lasted through all of a time."""
        return self.begins_ms <= begins_ms and (self.ends_ms is None or ends_ms <= self.ends_ms)

    def touches(self, begins_ms: int, ends_ms: int) -> bool:
        """Whether it lasted through some of a time."""
        return self.begins_ms < ends_ms and (self.ends_ms is None or begins_ms < self.ends_ms)

    def moments(self) -> Iterator[Moment]:
        """Its beginning, and its end if it has one."""
        yield Moment(self.begins_ms, What.HELD, self.began, self.source)
        if self.ends_ms is not None:
            yield Moment(self.ends_ms, What.RELEASED, self.ended, self.source)


def stops_of(route: str, operations: Iterable[RouteOperation], breaker: Breaker | None) -> tuple[Stop, ...]:
    """The stops of a route ("" if it isn't known), by what people did, in order of time, and by its breaker.

    A breaker remembers when it was open last, no time before that.
    """
    done = list(operations)
    of_holds = [stop for held in {route, ""} for stop in _of_holds([one for one in done if one.route == held])]
    of_breaker = _of_breaker(breaker) if breaker is not None else ()
    return tuple(sorted([*of_holds, *of_breaker], key=lambda stop: stop.begins_ms))


def _of_holds(operations: Iterable[RouteOperation]) -> Iterator[Stop]:
    hold: RouteOperation | None = None
    for one in operations:
        if one.command == "Hold":
            hold = one
        elif one.command == "Release" and hold is not None:
            yield _of_hold(hold, one)
            hold = None
    if hold is not None:
        yield _of_hold(hold, None)


def _of_hold(hold: RouteOperation, release: RouteOperation | None) -> Stop:
    what = f"route {hold.route}" if hold.route else "everything"
    return Stop(
        begins_ms=hold.at_ms,
        ends_ms=release.at_ms if release else None,
        how=f"with {what}",
        began=f"{what} held by {hold.by}: {hold.reason}",
        ended=f"{what} released by {release.by}: {release.reason}" if release else "",
        source="operation",
    )


def _of_breaker(breaker: Breaker) -> Iterator[Stop]:
    if breaker.opened_at_ms:
        yield Stop(
            begins_ms=breaker.opened_at_ms,
            ends_ms=None if breaker.is_holding else breaker.closed_at_ms,
            how=f"by breaker {breaker.name}",
            began=f"breaker {breaker.name} opened: its routes are held",
            ended=f"breaker {breaker.name} closed",
            source="breaker",
        )
