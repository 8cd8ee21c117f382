"""Reports to circuit breakers how attempts ended, and sends their probes.

A success costs nothing while nothing fails: it is written only when this process has seen, within the last second, that
failures are counted or that the breaker isn't closed.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from keyturn.adapters import telemetry
from keyturn.adapters.controls import Moved, Standing
from keyturn.adapters.wake import Subject
from keyturn.core.breaker import (
    Breaker,
    BreakerEvent,
    BreakerPhase,
    BreakerRules,
    Close,
    Failed,
    Missed,
    Send,
    Succeeded,
    after,
    may_probe,
)
from keyturn.core.commands import Ending, Outcome
from keyturn.core.naming import key_hash
from keyturn.core.route import Route
from keyturn.core.state import KeyState, Phase, Queue, Run
from keyturn.errors import StoreError
from keyturn.shell.apply import claim
from keyturn.shell.platform import Platform
from keyturn.shell.releasing import begin, wake_ramps
from keyturn.shell.side_by_side import leave
from keyturn.shell.waking import wake_at

_TRIES_MAX: Final = 12
_LATE_MS: Final = 1_000
"""So much later than it must the watchdog is woken: its clock may be behind, and too early is in vain."""
_CANDIDATES_MAX: Final = 10
"""Held keys that are looked at for one that may start now, each time that a probe may go."""


def judged(platform: Platform, route: Route, state: KeyState, ending: Ending) -> Ending:
    """Report how a running key's attempt ended to its route's breaker.

    Return the ending, excused where the downstream is to blame or the release that was rolled back.
    """
    standing, run = platform.controls.recent(), state.run
    if ending.outcome is Outcome.FAILED and standing.rollout.has_rolled_back(state.release):
        ending = replace(ending, outcome=Outcome.ROLLED_BACK)
    rules = route.breaker
    if rules is None or run is None:
        return ending
    breaker, event = standing.breaker(rules.name), _event(platform, rules, state.key, run, ending)
    if not isinstance(event, Failed):
        if breaker.wants_news:
            report(platform, rules, event)
        return ending
    if standing.rollout.is_canary(state.release) and not breaker.is_holding:
        return ending  # the canary's own count tells; a bad release must not stop the good one's keys
    is_excused = report(platform, rules, event).excuses(run.started_at_ms)
    return replace(ending, outcome=Outcome.UNAVAILABLE) if is_excused else ending


def _event(platform: Platform, rules: BreakerRules, key: str, run: Run, ending: Ending) -> BreakerEvent:
    if ending.outcome is Outcome.SUCCEEDED:
        return Succeeded(key)
    if ending.outcome is not Outcome.FAILED or ending.permanent:
        return Missed(key)
    return Failed(key, key_hash(key), run.started_at_ms, platform.routes.with_breaker(rules.name))


def report(platform: Platform, rules: BreakerRules, event: BreakerEvent) -> Breaker:
    """Tell a breaker of an event; return what stands afterwards. Raises StoreError when it kept moving on."""
    before = platform.controls.breaker(rules.name)
    for attempt in range(_TRIES_MAX):
        now = after(before, event, rules, platform.clock())
        if now is before:
            return before
        released = _released(platform, now) if before.is_holding and not now.is_holding else ()
        begin(platform, released)
        try:
            saved = platform.controls.save_breaker(now)
        except Moved as moved:
            before = moved.standing
            platform.process.rest(0.01 * 2 ** min(attempt, 5))
            continue
        _announce(platform, before, saved)
        wake_ramps(platform, released)
        return saved
    raise StoreError(f"breaker {rules.name!r} was changed by others {_TRIES_MAX} times in a row; try again")


def close(platform: Platform, rules: BreakerRules) -> Breaker:
    """Close a breaker because a person says so."""
    return report(platform, rules, Close())


def look_at_all(platform: Platform) -> None:
    """Look at each breaker, as a pass of the watchdog does, and count those that hold their routes."""
    standing = platform.controls.read()
    for breaker in standing.breakers:
        try:
            _look_at(platform, breaker)
        except StoreError as error:
            leave(error)
    if platform.routes.breakers:
        telemetry.count("OpenBreakers", sum(breaker.is_holding for breaker in standing.breakers))


def _look_at(platform: Platform, breaker: Breaker) -> None:
    if platform.routes.breaker(breaker.name) is None:
        _forget(platform, breaker)
    elif breaker.is_holding:
        _let_go(platform, breaker)
        probe(platform, breaker.name)


def probe(platform: Platform, name: str) -> None:
    """Let one held key go past an open breaker, if its time has come."""
    rules, standing = platform.routes.breaker(name), platform.controls.read()
    breaker, now_ms = standing.breaker(name), platform.clock()
    if rules is None or not may_probe(breaker, now_ms):
        return
    if breaker.phase is BreakerPhase.PROBING:
        telemetry.logger().warning("probe lost", extra={"breaker": name})
    for key, route in _candidates(platform, standing, breaker):
        until_ms = platform.clock() + route.run_timeout_s * 1000 + platform.settings.rules.clock_margin_ms
        sent = report(platform, rules, Send(key, until_ms))
        if sent.probe is None or (sent.probe.key, sent.probe.until_ms) != (key, until_ms):
            return  # somebody else sent one, or the breaker is closed
        if claim(platform, key, has_slot=True, is_probe=True).state.phase is Phase.RUNNING:
            return
        report(platform, rules, Missed(key))


def _candidates(platform: Platform, standing: Standing, breaker: Breaker) -> Iterator[tuple[str, Route]]:
    """Yield keys that a breaker holds, and nothing else does, the oldest first: only of those does it hear.

    One that can't be read holds up no other.
    """
    names = [name for name in platform.routes.with_breaker(breaker.name) if not standing.is_held_by_person(name)]
    waiting = sorted(
        (entry.at_ms, entry.key) for name in names for entry in platform.index.oldest(Queue.HELD, _CANDIDATES_MAX, name)
    )
    states, unreadable = platform.keys.load_readable(key for _, key in waiting[:_CANDIDATES_MAX])
    for error in unreadable:
        leave(error)
    for state in states:
        route = platform.routes.named(state.held_route) if state.held_route in names else None
        if route is not None and platform.clock() >= state.not_before_ms:
            yield state.key, route


def _released(platform: Platform, breaker: Breaker) -> tuple[str, ...]:
    """Name the routes whose keys a breaker holds: those that have it, and those that had it when it opened."""
    return tuple(dict.fromkeys((*platform.routes.with_breaker(breaker.name), *breaker.routes)))


def _let_go(platform: Platform, breaker: Breaker) -> None:
    """A deploy took an open breaker from some of its routes: what it held of those goes on."""
    having = platform.routes.with_breaker(breaker.name)
    gone = tuple(route for route in breaker.routes if route not in having)
    if not gone:
        return
    begin(platform, gone)
    try:
        platform.controls.save_breaker(
            replace(breaker, routes=tuple(route for route in breaker.routes if route in having))
        )
    except Moved:
        return  # the next pass finds it as it was
    wake_ramps(platform, gone)


def _forget(platform: Platform, breaker: Breaker) -> None:
    """A deploy took a breaker away: whatever it held goes on."""
    if breaker.is_holding:
        begin(platform, breaker.routes)
        wake_ramps(platform, breaker.routes)
    platform.controls.forget_breaker(breaker)


def _announce(platform: Platform, before: Breaker, now: Breaker) -> None:
    """Say what became of a breaker, and have the watchdog look at it when it next must."""
    fields = {"breaker": now.name, "phase": now.phase, "keys": len(now.failures)}
    if not (before.is_holding or now.is_holding):
        return
    if not before.is_holding:
        telemetry.count("BreakerOpened")
        telemetry.count("OpenBreakers")
        telemetry.logger().warning("breaker opened: its routes start no runs", extra=fields)
    elif not now.is_holding:
        telemetry.count("BreakerClosed")
        telemetry.logger().warning("breaker closed: its routes go on", extra=fields)
    elif now.phase is BreakerPhase.PROBING:
        telemetry.logger().warning("breaker sends a probe", extra=fields)
    else:
        wait = {"wait_ms": max(0, now.probe_at_ms - platform.clock())}
        telemetry.logger().warning("breaker stays open: its probe did not succeed", extra=fields | wait)
    if now.is_holding:
        wake_at(platform, now.name, now.look_at_ms + _LATE_MS, Subject.BREAKER)
