"""Holds of routes, and the ramp on which the keys of a released route go on."""

from dataclasses import dataclass, replace
from typing import Final

from keyturn.core.clocks import is_put_off

RAMP_KEYS_FIRST: Final = 10
RAMP_KEYS_MAX: Final = 640
"""A batch doubles from the first to this; what the watchdog moves on well within its time."""

RAMP_STEP_MS: Final = 1_000
_EARLY_MS: Final = RAMP_STEP_MS // 2
"""A batch may go that much early: the wake-up message for it may be read by a clock that is a little behind."""

RAMP_LASTS_MS: Final = 5 * 60_000
"""How long a released route is looked after: functions that saw the hold a moment ago may still put keys aside. What
they saw is a second old at most, and the longest of them, the dispatcher, works for 60 s at most."""

RAMP_EAGER_MS: Final = 10_000
"""So long it is looked after each second, whether or not keys are left; then once a minute."""


@dataclass(frozen=True, slots=True)
class RouteHold:
    """A person's hold of a route, or of everything; or what is remembered of it once it was released."""

    route: str
    """Empty for everything."""
    is_held: bool
    by: str
    reason: str
    at_ms: int
    """When it was held, or released."""
    routes: tuple[str, ...] = ()
    """The routes that it stood for when it was set: a deploy may remove one whose keys are held."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """A released route whose keys go on, some more each second."""

    route: str
    since_ms: int
    keys: int = RAMP_KEYS_FIRST
    """How many keys the next batch has."""
    next_at_ms: int = 0
    """From when it may go."""

    def may_step(self, now_ms: int) -> bool:
        """Whether its next batch may go."""
        return not is_put_off(self.next_at_ms - _EARLY_MS, now_ms, RAMP_STEP_MS)

    def is_over(self, now_ms: int) -> bool:
        """Whether nobody can put a key aside any more who saw the hold."""
        return now_ms - self.since_ms >= RAMP_LASTS_MS

    def is_eager(self, now_ms: int) -> bool:
        """Whether it is worth looking again in a second though no key was left."""
        return now_ms - self.since_ms < RAMP_EAGER_MS

    def stepped(self, now_ms: int) -> "Ramp":
        """Return it with the batch taken that may go now: the next one is twice that, a second later."""
        return replace(self, keys=min(self.keys * 2, RAMP_KEYS_MAX), next_at_ms=now_ms + RAMP_STEP_MS)

    def resting(self, now_ms: int) -> "Ramp":
        """Return it after a look that found no key: should some come yet, the ramp begins anew."""
        return replace(self, keys=RAMP_KEYS_FIRST, next_at_ms=now_ms + RAMP_STEP_MS)
