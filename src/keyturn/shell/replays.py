"""Replays of single keys: rewind one, or call its replay off. Both may be repeated; the second time changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from keyturn.core import commands as ask
from keyturn.core.commands import Operator
from keyturn.core.positions import predecessor
from keyturn.core.state import KeyState, Phase, Span
from keyturn.errors import CannotOperate
from keyturn.shell.apply import apply_unless_refused
from keyturn.shell.change import Applied, Change
from keyturn.shell.operate import operate
from keyturn.shell.platform import Platform


@dataclass(frozen=True, slots=True)
class AsPlanned:
    """What a key must still be like for a rewind that was planned earlier."""

    version: int
    """Of its state then: a rewind that was applied stands in a later one."""
    generation: int
    hold_at_ms: int

    @classmethod
    def of(cls, state: KeyState) -> Self:
        """Take a key as it is."""
        return cls(state.version, state.generation, state.hold.at_ms if state.hold else 0)


def rewind_key(
    platform: Platform,
    key: str,
    spans: Sequence[Span],
    operator: Operator,
    *,
    replay: str,
    is_new_generation: bool = False,
    planned: AsPlanned | None = None,
) -> Applied:
    """Run finished events of a key again, in order; what is new queues behind them.

    `replay` names this rewind: the same one is applied once, however often it is asked for. Without `planned` the key
    is taken as it is. Raises CannotOperate when it is parked, replaying, or not as it was planned for, and
    LogIncomplete when the log has lost the first of the events.
    """

    def command_for(change: Change, state: KeyState) -> ask.Command | None:
        if is_rewound(platform, state, replay, planned.version if planned else 0):
            return None
        if state.phase is Phase.PARKED:
            raise CannotOperate(f"key {key!r} is parked: resume or skip it first")
        expected = planned or AsPlanned.of(state)
        first = spans[0]
        is_noted = state.run is not None
        following = None if is_noted else change.next_between(predecessor(first.first), first.last, lambda: False)
        return ask.Rewind(
            operator,
            id=replay,
            spans=tuple(spans),
            planned_generation=expected.generation,
            planned_hold_at_ms=expected.hold_at_ms,
            is_new_generation=is_new_generation,
            next=following,
        )

    return operate(platform, key, command_for)


def cancel_key(platform: Platform, key: str, replay: str, operator: Operator) -> Applied:
    """Run no more of a key's replay; a run that is under way ends first. Changes nothing when it is through."""
    change = Change(platform, key)

    def command_for(state: KeyState) -> ask.Command | None:
        if state.replay is None or not _is_under_way(state, replay):
            return None
        returns = state.is_replaying and state.run is None
        resume_at = state.replay.resume_at
        following = change.next_between(resume_at, state.tail, lambda: False) if returns else None
        return ask.CancelReplay(operator, replay, following)

    return apply_unless_refused(change, command_for)


def is_rewound(platform: Platform, state: KeyState, replay: str, since_version: int) -> bool:
    """Whether this very rewind was applied before, after `since_version` of the key: a call's answer may be lost."""
    if state.last_replay in {"", replay}:
        return state.last_replay == replay
    return platform.outcomes.has_rewound(state.key, replay, since_version)


def _is_under_way(state: KeyState, replay: str) -> bool:
    return state.replay is not None and state.replay.id == replay
