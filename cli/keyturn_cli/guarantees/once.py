"""Once: no step has its effect twice for one event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

from keyturn_cli.guarantees.history import History, Violation


class EachEffectOnce:
    """An event, known by its id, has each step's effect at most once, however often it was sent, delivered or tried.

    Allowed:    1a 1b          1a 1b (and 1 sent again, dropped as duplicate)
                1a 1b 1a 1b    a replay did finished steps again: they have a generation of their own
    Forbidden:  1a 1b 1a       a retry repeated a finished step
                1a 1b 1'a 1'b  1' is 1 sent again: same id, another position
    """

    promise: ClassVar = "each effect once"

    def check(self, history: History) -> Iterator[Violation]:
        """Yield every event and step that had more than one effect."""
        counts = Counter(
            (effect.place.key, effect.event_id, effect.step, effect.generation) for effect in history.effects
        )
        for (key, event_id, step, _generation), count in counts.items():
            if count > 1:
                yield Violation(self.promise, key, f"{step} of event {event_id} took effect {count} times")

    def proof(self, history: History) -> str:
        """Say what was compared."""
        events = len({(effect.place.key, effect.event_id) for effect in history.effects})
        return f"{len(history.effects):,} effects of {events:,} events, none twice"
