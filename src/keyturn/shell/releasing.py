"""Lets the keys of a released route go on: some at first, twice as many each second."""

from collections.abc import Iterable
from typing import Final

from keyturn.adapters.wake import Subject
from keyturn.core.route_hold import RAMP_STEP_MS, Ramp
from keyturn.core.state import Queue
from keyturn.shell.apply import claim
from keyturn.shell.platform import Platform
from keyturn.shell.side_by_side import each
from keyturn.shell.time_budget import HasTime
from keyturn.shell.waking import wake_at

_ASIDE_AT_ONCE: Final = 500


def begin(platform: Platform, routes: Iterable[str]) -> None:
    """Begin the ramps of routes. Before what holds them ends: a ramp waits for that, a crash between loses nothing."""
    now_ms = platform.clock()
    for route in routes:
        platform.controls.put_ramp(Ramp(route, now_ms))


def wake_ramps(platform: Platform, routes: Iterable[str]) -> None:
    """Have the watchdog take the first batch of ramps that have begun."""
    for route in routes:
        wake_at(platform, route, platform.clock(), Subject.RAMP)


def release_all(platform: Platform, has_time: HasTime) -> int:
    """Look at each ramp, as a pass of the watchdog does; return how many keys were moved on."""
    return sum(release_some(platform, ramp.route, has_time) for ramp in platform.controls.read().ramps)


def release_some(platform: Platform, name: str, has_time: HasTime) -> int:
    """Move a batch of the keys on that wait for a route, if the next may go by now; return how many.

    However many messages ask for it, one batch goes at a time: only who writes the ramp's next step takes it.
    """
    standing = platform.controls.read()
    ramp, route = standing.ramp_of(name), platform.routes.named(name)
    now_ms = platform.clock()
    is_held = standing.holds_route(route) if route is not None else standing.is_held_by_person(name)
    if ramp is None or is_held or not ramp.may_step(now_ms):
        return 0
    keys = [entry.key for entry in platform.index.oldest(Queue.HELD, ramp.keys, name)]
    if not keys and ramp.is_over(now_ms):
        platform.controls.end_ramp(ramp)
        return 0
    stepped = ramp.stepped(now_ms) if keys else ramp.resting(now_ms)
    if not platform.controls.step_ramp(ramp, stepped):
        return 0
    _move_on(platform, keys, has_time)
    if keys or ramp.is_eager(now_ms):
        wake_at(platform, name, now_ms + RAMP_STEP_MS, Subject.RAMP)
    return len(keys)


def _move_on(platform: Platform, keys: list[str], has_time: HasTime) -> None:
    """Start as many as there are slots; the others wait for one."""
    slots = platform.capacity.take(len(keys), platform.clock())
    lucky = frozenset(keys[:slots])

    def move(platform: Platform, key: str) -> None:
        claim(platform, key, has_slot=key in lucky)

    each(platform, keys, move, has_time)
    if slots < len(keys):
        wake_at(platform, "", platform.clock() + RAMP_STEP_MS)


def put_aside(platform: Platform, has_time: HasTime) -> None:
    """Move keys of held routes out of the queue for slots: thousands of them would stand before all others.

    A claim without a slot changes no key but those.
    """
    keys = [entry.key for entry in platform.index.oldest(Queue.WAITING, _ASIDE_AT_ONCE)]
    each(platform, keys, _claim_nothing, has_time)


def _claim_nothing(platform: Platform, key: str) -> None:
    claim(platform, key, has_slot=False)
