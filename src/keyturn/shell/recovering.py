"""Resumes the keys that a release parked which was rolled back: some each second, for it was the release's fault.

What it dead-lettered by its routes' policies stays in the dead letters, for a person to redrive.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from keyturn.adapters import telemetry
from keyturn.adapters.controls import Moved
from keyturn.adapters.index import Entry
from keyturn.adapters.table import chunks
from keyturn.adapters.wake import Subject
from keyturn.core import commands as ask
from keyturn.core.clocks import is_put_off
from keyturn.core.commands import Operator
from keyturn.core.rollout import Recovery, recovered, stepped
from keyturn.core.state import KeyState, Queue
from keyturn.shell.apply import apply
from keyturn.shell.change import Change
from keyturn.shell.platform import Platform
from keyturn.shell.side_by_side import each
from keyturn.shell.time_budget import HasTime
from keyturn.shell.waking import wake_at

_RESUMED_AT_ONCE: Final = 20
_STEP_MS: Final = 1_000
_EARLY_MS: Final = _STEP_MS // 2
"""Keys may be resumed that much early: the wake-up for them may be read by a clock that is a little behind."""

_LASTS_MS: Final = 5 * 60_000
"""So long after a release was rolled back, a function that hadn't seen it may still park a key on it: what it saw is a
second old at most, and the longest of them works for 60 s at most."""

_CLOCKS_MS: Final = 60_000
"""Parked keys are looked at from so long before the release had its first key: clocks differ."""

_LOOKED_AT_MAX: Final = 2_000
"""Parked keys that are looked at each time; those of other releases stand among them. Where they fill it, the next time
begins behind them."""


def recover_all(platform: Platform, has_time: HasTime) -> int:
    """Look at each release that was rolled back, as a pass of the watchdog does; return how many keys were resumed."""
    return sum(_recover(platform, one, has_time) for one in platform.controls.read().rollout.recoveries)


def recover(platform: Platform, number: int, has_time: HasTime) -> None:
    """Resume some keys of one release, as a wake-up message asks."""
    for recovery in platform.controls.read().rollout.recoveries:
        if recovery.number == number:
            _recover(platform, recovery, has_time)


def _recover(platform: Platform, recovery: Recovery, has_time: HasTime) -> int:
    """Resume the next keys, if they may go by now. However many ask for it, who writes the next step first does it."""
    now_ms = platform.clock()
    if is_put_off(recovery.next_at_ms - _EARLY_MS, now_ms, _STEP_MS):
        return 0
    entries = _parked_since(platform, recovery)
    found = list(islice(_parked_by(platform, recovery, entries), _RESUMED_AT_ONCE))
    is_cut = not found and len(entries) == _LOOKED_AT_MAX
    is_over = not found and not is_cut and now_ms - recovery.at_ms >= _LASTS_MS
    rollout = platform.controls.recent().rollout
    if recovery not in rollout.recoveries:
        return 0
    since_ms = entries[-1].at_ms + _CLOCKS_MS if is_cut else recovery.since_ms
    after = recovered(rollout, recovery) if is_over else stepped(rollout, recovery, since_ms, now_ms + _STEP_MS)
    try:
        platform.controls.save_rollout(after, ())
    except Moved:
        return 0
    operator = Operator("keyturn", f"release {recovery.number} was rolled back")
    each(platform, found, lambda platform, state: _resume(platform, state, operator), has_time)
    if found:
        telemetry.logger().info("keys of a release resumed", extra={"release": recovery.number, "keys": len(found)})
    if found or is_cut:
        wake_at(platform, str(recovery.number), now_ms + _STEP_MS, Subject.RELEASE)
    return len(found)


def _parked_since(platform: Platform, recovery: Recovery) -> list[Entry]:
    """Return the next parked keys that may be a release's, the oldest first."""
    since = Entry(max(0, recovery.since_ms - _CLOCKS_MS), "", "")
    return list(islice(platform.index.in_order(Queue.PARKED, since), _LOOKED_AT_MAX))


def _parked_by(platform: Platform, recovery: Recovery, entries: Sequence[Entry]) -> Iterator[KeyState]:
    """Yield those of some parked keys that a release parked."""
    for piece in chunks(entries, 100):
        states, _ = platform.keys.load_readable([entry.key for entry in piece])
        yield from (state for state in states if _is_parked_by(state, recovery))


def _is_parked_by(state: KeyState, recovery: Recovery) -> bool:
    """Whether a release parked a key at a run that can be tried again.

    Not one whose run was given up: what came behind it was given up too, and its order is a person's to restore.
    """
    return state.parked is not None and state.release == recovery.number and state.run is not None


def _resume(platform: Platform, state: KeyState, operator: Operator) -> None:
    release = state.release

    def command_for(found: KeyState) -> ask.Command | None:
        is_still = found.parked is not None and found.release == release
        return ask.Resume(operator) if is_still else None

    apply(Change(platform, state.key), command_for, state)
