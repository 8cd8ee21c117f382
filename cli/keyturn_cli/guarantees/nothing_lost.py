"""Nothing lost: every record that the stream took is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import ClassVar

from keyturn_cli.guarantees.history import History, Sent, Violation, short


class Fate(StrEnum):
    """What became of a record."""

    DONE = "done"
    DUPLICATE = "duplicate"
    QUARANTINED = "quarantined"
    DEAD_LETTER = "dead letter"
    SET_ASIDE = "set aside"
    PARKED = "parked"
    """The record at which its key is parked, or one that waits behind it."""
    LOST = "lost"


def fate(sent: Sent, history: History) -> Fate:
    """Tell what became of a record: whoever set it aside said so, else its steps must show."""
    place = sent.place
    recorded = (
        (Fate.DUPLICATE, history.duplicates),
        (Fate.QUARANTINED, history.quarantined),
        (Fate.SET_ASIDE, history.set_aside),
        (Fate.DEAD_LETTER, history.dead_letters),
    )
    for told, places in recorded:
        if place in places:
            return told
    if _is_done(sent, history):
        return Fate.DONE
    return Fate.PARKED if history.is_parked(place) else Fate.LOST


class NothingLost:
    """Every record has all its steps' effects, or it is kept somewhere and said so.

    Allowed:    1a 1b; 1 in quarantine; 1 a dead letter; 1 a duplicate of another; 1 waits at a parked key
    Forbidden:  nothing at all for 1, or 1a without 1b, and nobody set 1 aside
    """

    promise: ClassVar = "nothing lost"

    def check(self, history: History) -> Iterator[Violation]:
        """Yield every record that is not accounted for."""
        for sent in history.sent:
            if fate(sent, history) is Fate.LOST:
                done = history.steps_done.get(sent.place, set())
                missing = sorted(sent.steps - done) or ["anything that shows it was processed"]
                where = f"line {sent.line}" if sent.line else f"at {short(sent.place.position)}"
                yield Violation(
                    self.promise, sent.place.key, f"event {sent.event_id} ({where}) lacks {', '.join(missing)}"
                )

    def proof(self, history: History) -> str:
        """Say what was counted."""
        counts = Counter(fate(sent, history) for sent in history.sent)
        told = ", ".join(f"{counts[kind]:,} {kind}" for kind in Fate if counts[kind])
        return f"{len(history.sent):,} records: {told}"


def _is_done(sent: Sent, history: History) -> bool:
    if sent.steps:
        return sent.steps <= history.steps_done.get(sent.place, set())
    return sent.place.position <= history.cursors.get(sent.place.key, "")
