"""One at a time: a key's runs, and the attempts at them, never overlap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import ClassVar

from keyturn_cli.guarantees.history import Effect, History, Place, Violation


class OneRunAtATime:
    """No effect of an attempt begins before every effect of the attempt before it has ended.

    Each attempt has its key's next fencing token. Brackets are an effect's time, numbers are fences.

    Allowed:    [1 ]  [2 ]           a run after the other
                [1 ]                 the steps of one attempt side by side
                [ 1]  [2 ]
    Forbidden:  [1    ]              a worker of an attempt that was given up was still at work
                   [2 ]
                [2 ]  [1 ]           it began after its successor
                [1: events 1 and 2]  where the route allows a run one event only
    """

    promise: ClassVar = "one run of a key at a time"

    def check(self, history: History) -> Iterator[Violation]:
        """Yield the first violation of each key."""
        batch_of = {sent.place: sent.batch for sent in history.sent}
        for key, effects in history.by_key.items():
            attempts: dict[int, list[Effect]] = defaultdict(list)
            for effect in effects:
                attempts[effect.fence].append(effect)
            in_turn = [attempts[fence] for fence in sorted(attempts)]
            found = next(_overlaps(in_turn, history.skew_ms), None) or next(_too_big(in_turn, batch_of), None)
            if found:
                yield Violation(self.promise, key, found)

    def proof(self, history: History) -> str:
        """Say what was compared."""
        attempts = sum(len({effect.fence for effect in effects}) for effects in history.by_key.values())
        return f"{attempts:,} attempts by their fencing tokens; no two of a key overlapped"


def _overlaps(in_turn: list[list[Effect]], skew_ms: int) -> Iterator[str]:
    for earlier, later in pairwise(in_turn):
        last = max(earlier, key=lambda effect: effect.ended_at_ms)
        first = min(later, key=lambda effect: effect.began_at_ms)
        if first.began_at_ms + skew_ms < last.ended_at_ms:
            yield (
                f"{first.step} of event {first.event_id} (fence {first.fence}) began"
                f" {last.ended_at_ms - first.began_at_ms} ms before {last.step} of event {last.event_id}"
                f" (fence {last.fence}) ended"
            )


def _too_big(in_turn: list[list[Effect]], batch_of: Mapping[Place, int]) -> Iterator[str]:
    for attempt in in_turn:
        places = {effect.place for effect in attempt}
        allowed = max((batch_of[place] for place in places if place in batch_of), default=len(places))
        if len(places) > allowed:
            yield f"one attempt (fence {attempt[0].fence}) held {len(places)} events, its route allows {allowed}"
