"""One key whole: its state, and a stretch of its log with what became of each event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keyturn.core.state import KeyState
from keyturn_cli.looking.fates import Fate, fate
from keyturn_cli.looking.key_items import (
    Attempt,
    DeadLetter,
    Duplicate,
    Event,
    KeyItems,
    Operation,
    Step,
    Stretch,
    run_attempt,
)
from keyturn_cli.looking.stack import StackReader

OPERATIONS: Final = 10
"""As many of the last ones are told."""


@dataclass(frozen=True, slots=True)
class EventStory:
    """One event, and what became of it."""

    event: Event
    fate: Fate
    attempts: tuple[Attempt, ...]
    """Those at runs whose first event this is, or whose first event is in the log before what is told."""
    steps: tuple[Step, ...]
    dead_letter: DeadLetter | None


@dataclass(frozen=True, slots=True)
class KeyStory:
    """A key's state, and a part of its log in order."""

    state: KeyState
    events: tuple[EventStory, ...]
    duplicates: tuple[Duplicate, ...]
    operations: tuple[Operation, ...]
    older: str | None
    """The position before which the log goes on; None when its beginning is told."""
    now_ms: int
    before: str = ""
    """The position before which its events were asked for, if one was said."""


def read_story(reader: StackReader, key: str, *, events: int, before: str = "") -> KeyStory:
    """Read a key with the last events before a position. Raises NotFound."""
    state, items = reader.known(key), KeyItems(reader.table, key)
    found = items.newest_events(events + 1, before)
    shown = found[-events:]
    older = shown[0].position if len(found) > len(shown) else None
    stretch = Stretch(low=older or "", **({"high": before} if before else {}))
    attempts = with_current(items.attempts(stretch), state)
    steps = items.steps(stretch)
    letters = items.dead_letters(shown)
    return KeyStory(
        state=state,
        events=tuple(
            EventStory(
                event=event,
                fate=fate(state, event.position, is_dead_lettered=_is_given_up(letters.get(event.position))),
                attempts=tuple(one for one in attempts if _begins(one, event, is_first=event is shown[0])),
                steps=tuple(step for step in steps if step.position == event.position),
                dead_letter=letters.get(event.position),
            )
            for event in shown
        ),
        duplicates=tuple(items.duplicates(stretch)),
        operations=tuple(items.operations(OPERATIONS)),
        older=older,
        now_ms=reader.clock(),
        before=before,
    )


def with_current(attempts: list[Attempt], state: KeyState) -> list[Attempt]:
    """Attempts, with the one that is under way as the last."""
    run = state.run
    if run is None or any(attempt.fence == state.fence for attempt in attempts):
        return attempts
    return [*attempts, run_attempt(run, state.fence)]


def _begins(attempt: Attempt, event: Event, *, is_first: bool) -> bool:
    return attempt.first == event.position or (is_first and attempt.first < event.position <= attempt.last)


def _is_given_up(letter: DeadLetter | None) -> bool:
    return letter is not None and not letter.is_redriven
