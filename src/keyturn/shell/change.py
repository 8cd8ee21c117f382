"""Change one key: load, let the core decide, write what must stand first, compare-and-set.

What a decision asks the world to do afterwards is `apply`'s.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from keyturn.core import commands as ask
from keyturn.core.actions import Record, RecordAttempt, RecordDeadLetter
from keyturn.core.log_entry import LogEntry, cut_slice
from keyturn.core.naming import key_hash
from keyturn.core.positions import Position
from keyturn.core.protocol import Transition, transition
from keyturn.core.state import KeyState, Run
from keyturn.errors import Conflict, StoreError
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


@dataclass(slots=True)
class Change:
    """One change of one key, with the log entries that it read on the way, so that a start needn't read them again."""

    platform: Platform
    key: str
    hands_on: bool = True
    """Whether a slot that this change frees is handed on at once. Not by who was just handed one: a chain of keys that
    can't start would never end."""
    entries: dict[tuple[Position, Position], Sequence[LogEntry]] = field(default_factory=dict)

    def decide(self, command_for: CommandFor, state: KeyState | None = None) -> Applied:
        """Decide and write the command that `command_for` makes of the key's state; see `apply.apply`."""
        current = self.platform.keys.load(self.key) if state is None else state
        for attempt in range(_CONFLICTS_MAX):
            command = command_for(current)
            if command is None:
                return Applied(current, Transition(current), has_changed=False)
            decided = transition(current, command, self.platform.clock(), self.platform.settings.rules)
            try:
                standing = self._write(decided)
            except Conflict as conflict:
                time.sleep(random.uniform(0, 0.01 * 2 ** min(attempt, 5)))  # noqa: S311 - jitter
                current = conflict.standing
                continue
            return Applied(standing, decided, has_changed=decided.refusal is None)
        raise Conflict(
            f"key {key_hash(self.key)} was changed by others {_CONFLICTS_MAX} times in a row; try again", current
        )

    def next_between(self, cursor: Position, tail: Position, has_slot: Callable[[], bool]) -> ask.Next | None:
        """Read from the log what the key would run behind `cursor`; None when nothing is admitted there.

        Always from the log, never from a batch in hand: an event that was written but not admitted before a crash
        would be passed over. `has_slot` is asked only when there is something to run.
        """
        if cursor >= tail:
            return None
        routes = self.platform.routes
        found = self.platform.log.read_behind(self.key, cursor, tail, routes.batch_events_max)
        if not found:
            raise log_is_short(self.key, cursor, tail)
        cut, route = cut_slice(found, routes)
        self.entries[cut.first, cut.last] = found[: cut.count]
        return ask.Next(cut, route, has_slot())

    def again(self, run: Run, *, has_slot: bool) -> ask.Next:
        """Return what a retry runs: the run's own slice, by its route as it is now."""
        return ask.Next(run.slice, self.platform.routes.named(run.slice.route), has_slot)

    def _write(self, decided: Transition) -> KeyState:
        for record in decided.records:
            self._record(record)
        return decided.state if decided.refusal else self.platform.keys.save(decided.state)

    def _record(self, record: Record) -> None:
        match record:
            case RecordAttempt():
                self.platform.outcomes.record_attempt(self.key, record)
            case RecordDeadLetter():
                for entry in self.entries_of(record.run):
                    self.platform.outcomes.record_dead_letter(
                        self.key, entry, record.run.slice.route, record.reason, record.at_ms
                    )
            case _:
                assert_never(record)

    def entries_of(self, run: Run) -> Sequence[LogEntry]:
        """Return a run's events from the log, read once."""
        bounds = (run.slice.first, run.slice.last)
        if bounds not in self.entries:
            self.entries[bounds] = self.platform.log.read(self.key, *bounds)
        found = self.entries[bounds]
        if len(found) != run.slice.count:
            raise StoreError(
                f"key {key_hash(self.key)}: the log holds {len(found)} of the run's {run.slice.count} events"
            )
        return found


def log_is_short(key: str, cursor: Position, tail: Position) -> StoreError:
    """Say that events are gone from the log that were admitted."""
    return StoreError(
        f"key {key_hash(key)}: the log holds nothing between {cursor or 'its start'} and {tail}, though events were "
        "admitted there. Restore the table from its backup."
    )
