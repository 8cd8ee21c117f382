"""A circuit breaker: routes whose downstream fails for many keys start no runs until one run has shown it to be back.

Many functions report to it, and its state is one item; so every change is a pure function of the state and an event,
written by compare-and-set on `version`. What each phase takes; a missing cell changes nothing:

    closed    Failed: counts the key; opens with the last that is too many    Succeeded: forgets the failures
    open      Send: probing    Close: closed
    probing   of the probe's key: Succeeded: closed    Failed: open, twice the wait    Missed: open, no wait
              Send: probing with another key, once the probe is lost    Close: closed

Only different keys count, so one key whose event can't be worked off never opens a breaker. An attempt that fails while
it isn't closed, or that began before it closed, uses nothing up and counts for nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from keyturn.core.clocks import is_put_off


class BreakerPhase(StrEnum):
    """Whether the routes of a breaker may start runs."""

    CLOSED = "closed"
    """They may."""
    OPEN = "open"
    """They may not; once its time has come, one held key is let go as a probe."""
    PROBING = "probing"
    """They may not; a probe is under way."""


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """What the routes file says of a breaker."""

    name: str
    keys: int
    """So many different keys must fail, ..."""
    window_s: int
    """... within so many seconds and with no success between, for it to open."""
    probe_after_s: int
    """A first probe goes that long after it opened; each that fails doubles the wait ..."""
    probe_after_max_s: int
    """... up to this."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A key whose run failed, by the key's hash, and when it failed last."""

    key_hash: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Probe:
    """The one run that may show that the downstream is back."""

    key: str
    until_ms: int
    """If nothing was heard of it by then, it is lost, and the next one may go."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state of one breaker. `version` counts its writes."""

    name: str
    version: int = 0
    phase: BreakerPhase = BreakerPhase.CLOSED
    failures: tuple[Failure, ...] = ()
    """Since the last success, within the window; at the moment that it opened, once it is open."""
    opened_at_ms: int = 0
    """When it opened last; 0 if it never did."""
    closed_at_ms: int = 0
    """When it closed last."""
    wait_ms: int = 0
    probe_at_ms: int = 0
    """From when the next probe may go, while it is open."""
    probe: Probe | None = None
    routes: tuple[str, ...] = ()
    """The routes that had it when it opened: a deploy may take it from one whose keys are held."""

    @property
    def is_holding(self) -> bool:
        """Whether its routes start no runs."""
        return self.phase is not BreakerPhase.CLOSED

    @property
    def wants_news(self) -> bool:
        """Whether a success would change anything: else it needn't be reported."""
        return self.is_holding or bool(self.failures)

    def excuses(self, began_at_ms: int) -> bool:
        """Whether an attempt that failed met the time that it was open: no attempt is used up by that."""
        return self.is_holding or began_at_ms < self.closed_at_ms

    @property
    def look_at_ms(self) -> int:
        """When it wants to be looked at next, while it holds its routes: a probe may go, or is lost."""
        return self.probe.until_ms if self.probe else self.probe_at_ms


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt of a key failed, in a way that another attempt may mend."""

    key: str
    key_hash: str
    began_at_ms: int
    """When the attempt was claimed."""
    routes: tuple[str, ...] = ()
    """All routes that have the breaker."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A run of a key succeeded."""

    key: str


@dataclass(frozen=True, slots=True)
class Missed:
    """An attempt of a key came to an end that says nothing about the downstream, or was never claimed."""

    key: str


@dataclass(frozen=True, slots=True)
class Send:
    """A held key is about to be let go as the probe."""

    key: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class Close:
    """A person says that the downstream is back."""


BreakerEvent = Failed | Succeeded | Missed | Send | Close


def after(breaker: Breaker, event: BreakerEvent, rules: BreakerRules, now_ms: int) -> Breaker:
    """Return what becomes of a breaker; the very same value when nothing does."""
    handler = _HANDLERS.get((breaker.phase, type(event)))
    return handler(breaker, event, rules, now_ms) if handler else breaker


def may_probe(breaker: Breaker, now_ms: int) -> bool:
    """Tell whether a probe may go now: its time has come, or the last one is lost."""
    if breaker.phase is BreakerPhase.OPEN:
        return not is_put_off(breaker.probe_at_ms, now_ms, breaker.wait_ms)
    return breaker.is_holding and now_ms >= breaker.look_at_ms


def _count(breaker: Breaker, event: Failed, rules: BreakerRules, now_ms: int) -> Breaker:
    if breaker.excuses(event.began_at_ms):
        return breaker
    since_ms = now_ms - rules.window_s * 1000
    others = tuple(one for one in breaker.failures if one.at_ms > since_ms and one.key_hash != event.key_hash)
    counted = replace(breaker, failures=(*others, Failure(event.key_hash, now_ms)))
    if len(counted.failures) < rules.keys:
        return counted
    wait_ms = rules.probe_after_s * 1000
    return replace(
        counted,
        phase=BreakerPhase.OPEN,
        opened_at_ms=now_ms,
        wait_ms=wait_ms,
        probe_at_ms=now_ms + wait_ms,
        routes=event.routes,
    )


def _forget(breaker: Breaker, _event: Succeeded, _rules: BreakerRules, _now_ms: int) -> Breaker:
    return replace(breaker, failures=()) if breaker.failures else breaker


def _send(breaker: Breaker, event: Send, _rules: BreakerRules, now_ms: int) -> Breaker:
    if not may_probe(breaker, now_ms):
        return breaker
    return replace(breaker, phase=BreakerPhase.PROBING, probe=Probe(event.key, event.until_ms))


def _close(breaker: Breaker, _event: BreakerEvent, _rules: BreakerRules, now_ms: int) -> Breaker:
    return replace(
        breaker,
        phase=BreakerPhase.CLOSED,
        failures=(),
        closed_at_ms=now_ms,
        wait_ms=0,
        probe_at_ms=0,
        probe=None,
    )


def _wait_longer(breaker: Breaker, _event: Failed, rules: BreakerRules, now_ms: int) -> Breaker:
    wait_ms = min(breaker.wait_ms * 2, rules.probe_after_max_s * 1000)
    return replace(breaker, phase=BreakerPhase.OPEN, probe=None, wait_ms=wait_ms, probe_at_ms=now_ms + wait_ms)


def _send_another(breaker: Breaker, _event: Missed, _rules: BreakerRules, now_ms: int) -> Breaker:
    return replace(breaker, phase=BreakerPhase.OPEN, probe=None, probe_at_ms=now_ms)


_Handler = Callable[[Breaker, Any, BreakerRules, int], Breaker]


def _of_the_probe(handler: _Handler) -> _Handler:
    """Let only the probe's key speak: what began before the breaker opened says nothing about now."""

    def handle(breaker: Breaker, event: Any, rules: BreakerRules, now_ms: int) -> Breaker:
        is_probe = breaker.probe is not None and breaker.probe.key == event.key
        return handler(breaker, event, rules, now_ms) if is_probe else breaker

    return handle


_HANDLERS: Final[Mapping[tuple[BreakerPhase, type[BreakerEvent]], _Handler]] = {
    (BreakerPhase.CLOSED, Failed): _count,
    (BreakerPhase.CLOSED, Succeeded): _forget,
    (BreakerPhase.OPEN, Send): _send,
    (BreakerPhase.OPEN, Close): _close,
    (BreakerPhase.PROBING, Succeeded): _of_the_probe(_close),
    (BreakerPhase.PROBING, Failed): _of_the_probe(_wait_longer),
    (BreakerPhase.PROBING, Missed): _of_the_probe(_send_another),
    (BreakerPhase.PROBING, Send): _send,
    (BreakerPhase.PROBING, Close): _close,
}
