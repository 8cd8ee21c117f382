"""What a person does to keys: hold, release, resume, skip. Each goes through the protocol, and is recorded with it."""

from collections.abc import Callable
from typing import Any, Final

from keyturn.core import commands as ask
from keyturn.core.commands import Operator
from keyturn.core.protocol import Refusal
from keyturn.core.state import KeyState, Phase, Slice
from keyturn.errors import CannotOperate, LogIncomplete
from keyturn.shell.apply import apply_unless_refused
from keyturn.shell.change import Applied, Change
from keyturn.shell.platform import Platform

_REFUSALS: Final = {
    Refusal.NOTHING_TO_SKIP: "nothing failed that could be skipped: resume it",
    Refusal.NO_RUN: "it has no run whose finished steps could be done again: resume it without that",
    Refusal.REPLAYING: "a replay of it is under way: wait for it, or cancel it",
    Refusal.CHANGED: "it is not as it was when this was planned: plan again",
}


def hold(platform: Platform, key: str, operator: Operator) -> Applied:
    """Let a key start no run until it is released. Raises CannotOperate when it is held already."""

    def command_for(_change: Change, state: KeyState) -> ask.Command:
        if state.hold is not None:
            raise CannotOperate(f"key {key!r} is held already, by {state.hold.by}: {state.hold.reason}")
        return ask.Hold(operator)

    return operate(platform, key, command_for)


def release(platform: Platform, key: str, operator: Operator) -> Applied:
    """Let a held key go on. Raises CannotOperate when it isn't held."""

    def command_for(_change: Change, state: KeyState) -> ask.Command:
        if state.hold is None:
            raise CannotOperate(f"key {key!r} is not held{_because_of_route(state)}")
        return ask.Release(operator)

    return operate(platform, key, command_for)


def resume(platform: Platform, key: str, operator: Operator, *, is_fresh: bool) -> Applied:
    """Try the failed run of a parked key again. Raises CannotOperate when it isn't parked."""

    def command_for(change: Change, state: KeyState) -> ask.Command:
        _refuse_not_parked(change, state)
        return ask.Resume(operator, is_fresh)

    return operate(platform, key, command_for)


def skip(platform: Platform, key: str, operator: Operator, *, parked_at_ms: int = 0) -> Applied:
    """Dead-letter what a parked key failed at, and let it go on. Raises CannotOperate when it isn't parked.

    `parked_at_ms` says since when it was parked when the caller looked, 0 if nobody did: one that was parked anew has
    failed at something else, which nobody gave up.
    """

    def command_for(change: Change, state: KeyState) -> ask.Command:
        _refuse_not_parked(change, state)
        if state.parked is not None and parked_at_ms not in {0, state.parked.at_ms}:
            raise CannotOperate(f"key {key!r} was parked anew since you looked, at something else: look again")
        failed = state.run.slice if state.run is not None else _head(change, state)
        following = change.next_after(state, failed, lambda: False) if failed is not None else None
        return ask.Skip(operator, failed, following)

    return operate(platform, key, command_for)


def operate(platform: Platform, key: str, command_for: Callable[[Change, KeyState], ask.Command | None]) -> Applied:
    """Apply what `command_for` makes of a key's state. Raises CannotOperate, in words, when the protocol refuses it."""
    change = Change(platform, key)
    applied = apply_unless_refused(change, lambda state: command_for(change, _known(state)))
    refusal = applied.transition.refusal
    if refusal is not None:
        why = _REFUSALS.get(refusal, f"the protocol refuses it ({refusal})")
        raise CannotOperate(f"key {key!r} is {applied.state.phase}: {why}")
    return applied


def _head(change: Change, state: KeyState) -> Slice | None:
    """Return what a parked key without a run would run next: None when its log has lost it."""
    try:
        following = change.next_of(state, lambda: False)
    except LogIncomplete:
        return None
    return following.slice if following is not None else None


def _known(state: KeyState) -> KeyState:
    if state.version == 0:
        raise CannotOperate(f"key {state.key!r} has never had an event in this stack")
    return state


def _refuse_not_parked(change: Change, state: KeyState) -> None:
    if state.phase is Phase.PARKED:
        return
    told = f"key {state.key!r} is {state.phase}, not parked: there is nothing to resume or skip"
    last = change.platform.outcomes.last_operation(state.key)
    if last is not None:
        ago_s = max(0, change.platform.clock() - last["at_ms"]) // 1000
        told += f". Last asked of it: {last['command']} by {last['by']}, {ago_s} s ago ({last['reason']})"
    raise CannotOperate(told)


def _because_of_route(state: KeyState) -> str:
    return f": its route {state.held_route!r} is, release that" if state.held_route else ""


def told(applied: Applied) -> dict[str, Any]:
    """Tell what stands after a command, for the caller to print."""
    state = applied.state
    return {
        "key": state.key,
        "phase": state.phase.value,
        "waits_for": state.waits_for.value if state.waits_for else None,
        "cursor": state.cursor,
        "tail": state.tail,
        "fence": state.fence,
        "generation": state.generation,
        "not_before_ms": state.not_before_ms,
        "is_held": state.hold is not None,
        "replay": state.replay.id if state.replay else None,
    }
