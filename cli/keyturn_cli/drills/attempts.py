"""Whether a key took as many attempts as it should have, whatever else failed on a busy machine."""

from __future__ import annotations

from collections import Counter

from keyturn_cli.facts import Facts
from keyturn_cli.report import Check

_SUCCEEDED = "succeeded"


def attempts_add_up(facts: Facts, events: int) -> Check:
    """One attempt for each event of a key, and one for each that is recorded as failed, given up or never begun."""
    failed = Counter(attempt.key for attempt in facts.attempts if attempt.outcome != _SUCCEEDED)
    wrong = [
        f"key {key!r} took {state.fence} attempts for {events} events, of which {failed[key]} failed"
        for key, state in facts.states.items()
        if state.fence != events + failed[key]
    ]
    fences = sum(state.fence for state in facts.states.values())
    proof = f"{fences} attempts for {events * len(facts.states)} events, {failed.total()} of them failed"
    return Check("no run is started twice", not wrong, tuple(wrong) or (proof,))
