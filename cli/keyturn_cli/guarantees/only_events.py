"""Only events: what isn't to be processed has no effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from keyturn_cli.guarantees.history import Effect, History, Violation, short


class OnlyEvents:
    """No worker ever saw a duplicate, a record in quarantine, or something that nobody sent.

    Allowed:    1a 1b             with 2 in quarantine, and 3 recorded as a duplicate of 1
    Forbidden:  1a 1b 2a          2 was put into quarantine and processed
                1a 1b 3a 3b       3 was recorded as a duplicate and processed
                1a 1b 9a          9 is nowhere in the stream (told only if nobody else puts into it)
    """

    promise: ClassVar = "duplicates and bad records not processed"

    def check(self, history: History) -> Iterator[Violation]:
        """Yield every effect that should not be."""
        known = {sent.place for sent in history.sent} if history.is_whole else None
        for effect in history.effects:
            if effect.place in history.duplicates:
                yield self._violation(effect, "which was recorded as a duplicate")
            elif effect.place in history.quarantined:
                yield self._violation(effect, "which is in quarantine")
            elif known is not None and effect.place not in known:
                yield self._violation(effect, "which nobody sent")

    def proof(self, history: History) -> str:
        """Say what was compared."""
        return (
            f"{len(history.duplicates):,} duplicates and {len(history.quarantined):,} quarantined records had no effect"
        )

    def _violation(self, effect: Effect, why: str) -> Violation:
        what = f"{effect.step} took effect for event {effect.event_id} at {short(effect.place.position)}, {why}"
        return Violation(self.promise, effect.place.key, what)
