"""Change one key: load, let the core decide, write what must stand first, compare-and-set.

What a decision asks the world to do afterwards is `apply`'s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, assert_never

from keyturn.adapters.table import Item
from keyturn.core import commands as ask
from keyturn.core.actions import GoOnWith, Record, RecordAttempt, RecordDeadLetter, RecordOperation
from keyturn.core.draining import DrainingExecution
from keyturn.core.log_entry import LogEntry, cut_slice
from keyturn.core.naming import key_hash
from keyturn.core.positions import Position
from keyturn.core.protocol import Transition, transition
from keyturn.core.rollout import Rollout
from keyturn.core.route import Route
from keyturn.core.state import KeyState, Run, Slice, passed, to_run
from keyturn.errors import Conflict, LogIncomplete
from keyturn.shell.draining import HandOver
from keyturn.shell.heirs import Heirs
from keyturn.shell.platform import Platform

_CONFLICTS_MAX: Final = 12
"""Times that a change is decided anew because somebody else changed the key; then the caller gives it back."""

CommandFor = Callable[[KeyState], ask.Command | None]
"""Makes the command that fits a key's state as it stands, or None when there is nothing to ask of it."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The state that stands after a command, and what the protocol said."""

    state: KeyState
    transition: Transition
    has_changed: bool


class Freed(StrEnum):
    """What becomes of a slot that a change frees."""

    HANDED_ON = "handed_on"
    LOOKED_FOR = "looked_for"
    """The watchdog is woken to fill it: so does who was just handed one, or a chain of keys that can't start would
    never end."""
    LEFT = "left"
    """Whoever makes the change fills free slots afterwards."""


@dataclass(slots=True)
class Change:
    """One change of one key, with the log entries that it read on the way, so that a start needn't read them again."""

    platform: Platform
    key: str
    freed: Freed = Freed.HANDED_ON
    is_probe: bool = False
    """Whether it goes past a hold of its route, for a circuit breaker that wants to know."""
    entries: dict[tuple[Position, Position], Sequence[LogEntry]] = field(default_factory=dict)
    hand_over: HandOver = field(default_factory=lambda: HandOver(None))
    """Takes the run that the change claims, where an execution asks for the change that can go on with it."""
    heirs: Heirs = field(init=False)
    """Who is offered the slot that the change frees."""

    def __post_init__(self) -> None:
        self.heirs = Heirs(self.platform)

    def decide(self, command_for: CommandFor, state: KeyState | None = None) -> Applied:
        """Decide and write the command that `command_for` makes of the key's state; see `apply.apply`."""
        current = self.platform.keys.load(self.key) if state is None else state
        for attempt in range(_CONFLICTS_MAX):
            command = command_for(current)
            if command is None:
                return Applied(current, Transition(current), has_changed=False)
            began_ms = self.platform.clock()
            decided = transition(current, command, began_ms, self.platform.settings.rules)
            try:
                standing = self._write(decided)
            except Conflict as conflict:
                self.hand_over.is_in_doubt = False
                self.platform.process.rest(0.01 * 2 ** min(attempt, 5))
                current = conflict.standing
                continue
            return self._settled(Applied(standing, decided, has_changed=decided.refusal is None), began_ms)
        raise Conflict(
            f"key {key_hash(self.key)} was changed by others {_CONFLICTS_MAX} times in a row; try again", current
        )

    def _settled(self, applied: Applied, began_ms: int) -> Applied:
        """Keep the next attempt back by as long as the write that ended this one took, if that was long.

        `not_before_ms` was counted from the decision; until the write landed, a worker could still begin.
        """
        margin_ms = self.platform.settings.rules.clock_margin_ms
        took_ms = self.platform.clock() - began_ms
        ended = any(
            isinstance(record, RecordAttempt) and record.outcome != ask.Outcome.SUCCEEDED
            for record in applied.transition.records
        )
        state = applied.state
        if not ended or took_ms <= margin_ms // 2 or state.not_before_ms <= began_ms:
            return applied
        postpone = ask.Postpone(state.fence, state.not_before_ms + took_ms)
        later = self.decide(lambda found: postpone if found.fence == postpone.fence else None, state)
        actions = (*applied.transition.actions, *later.transition.actions)
        return Applied(later.state, replace(applied.transition, actions=actions), has_changed=True)

    def next_of(self, state: KeyState, has_slot: Callable[[], bool], before: str = "") -> ask.Next | None:
        """Read from the log what a key without a run would run next; None when nothing is pending."""
        bounds = to_run(state)
        return self.next_between(*bounds, has_slot, before) if bounds else None

    def next_after(self, state: KeyState, done: Slice, has_slot: Callable[[], bool]) -> ask.Next | None:
        """Read from the log what the key would run once `done` has passed; None when nothing is pending then.

        None too when the log lacks it: what is done must be finished all the same, and the claim of what follows will
        park the key with that reason.
        """
        try:
            return self.next_of(passed(state, done.last, done.count), has_slot, done.route)
        except LogIncomplete:
            return None

    def next_between(
        self, cursor: Position, tail: Position, has_slot: Callable[[], bool], before: str = ""
    ) -> ask.Next | None:
        """Read from the log what the key would run behind `cursor`; None when nothing is admitted there.

        Always from the log, never from a batch in hand: an event that was written but not admitted before a crash
        would be passed over. `has_slot` is asked only when there is something to run. `before` is the route of the run
        before, which is mostly the next one's too.
        """
        if cursor >= tail:
            return None
        found = self._read_behind(cursor, tail, self.platform.routes.named(before))
        if not found:
            raise log_is_short(self.key, cursor, tail)
        cut, route = cut_slice(found, self.platform.routes)
        self.entries[cut.first, cut.last] = found[: cut.count]
        is_held = self._is_held(route)
        return ask.Next(cut, route, not is_held and has_slot(), is_held=is_held, rollout=self._rollout())

    def _read_behind(self, cursor: Position, tail: Position, before: Route | None) -> Sequence[LogEntry]:
        """Read as many events as the next run may take, hardly more: each is billed by its size."""
        log, routes = self.platform.log, self.platform.routes
        if before is None:
            return log.read_behind(self.key, cursor, tail, routes.batch_events_max)
        found = log.read_behind(self.key, cursor, tail, before.batch.events)
        if len(found) < before.batch.events or found[-1].position >= tail:
            return found  # nothing is behind the tail, and DynamoDB refuses to look there
        route = routes.for_type(found[0].type)
        if route is None or route.batch.events <= len(found):
            return found
        return [*found, *log.read_behind(self.key, found[-1].position, tail, route.batch.events - len(found))]

    def may_go_on_with(self, following: ask.Next | None) -> DrainingExecution | None:
        """Return the execution that asks for this change if it has room for what follows; None if it can't go on."""
        if following is None or not following.has_slot or self.hand_over.to is None:
            return None
        entries = self._found(following.slice)
        return self.hand_over.takes(entries) if len(entries) == following.slice.count else None

    def again(self, run: Run, *, has_slot: bool) -> ask.Next:
        """Return what a retry runs: the run's own slice, by its route as it is now."""
        route = self.platform.routes.named(run.slice.route)
        return ask.Next(run.slice, route, has_slot, is_held=self._is_held(route), rollout=self._rollout())

    def _rollout(self) -> Rollout:
        return self.platform.controls.recent().rollout

    def _is_held(self, route: Route | None) -> bool:
        return not self.is_probe and self.platform.controls.holds(route)

    def _write(self, decided: Transition) -> KeyState:
        if decided.refusal:
            return decided.state
        items = [item for record in decided.records for item in self._items(record, decided.state.version + 1)]
        self.hand_over.is_in_doubt = any(isinstance(action, GoOnWith) for action in decided.actions)
        return self.platform.keys.save(decided.state, items)

    def _items(self, record: Record, version: int) -> list[Item]:
        outcomes = self.platform.outcomes
        match record:
            case RecordAttempt():
                return [outcomes.attempt(self.key, record)]
            case RecordOperation():
                return [outcomes.operation(self.key, record, version)]
            case RecordDeadLetter():
                route, reason = record.slice.route, record.reason
                return [
                    outcomes.dead_letter(self.key, entry, route, reason, record.at_ms)
                    for entry in self._found(record.slice)
                ]
            case _:
                assert_never(record)

    def _found(self, cut: Slice) -> Sequence[LogEntry]:
        """Return what the log has of a slice, read once."""
        bounds = (cut.first, cut.last)
        if bounds not in self.entries:
            self.entries[bounds] = self.platform.log.read(self.key, *bounds)
        return self.entries[bounds]

    def entries_of(self, run: Run) -> Sequence[LogEntry]:
        """Return a run's events from the log, read once."""
        found = self._found(run.slice)
        if len(found) != run.slice.count:
            raise LogIncomplete(
                f"key {key_hash(self.key)}: the log holds {len(found)} of the run's {run.slice.count} events"
            )
        return found


def log_is_short(key: str, cursor: Position, tail: Position) -> LogIncomplete:
    """Say that events are gone from the log that were admitted."""
    return LogIncomplete(
        f"key {key_hash(key)}: the log holds nothing between {cursor or 'its start'} and {tail}, though events were "
        "admitted there. Restore the table from its backup."
    )
