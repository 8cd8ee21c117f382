"""Says what was found, to somebody who sees Keyturn for the first time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from keyturn_cli.guarantees import GUARANTEES, Fate, History, fate
from keyturn_cli.screen import Screen

_VIOLATIONS_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Check:
    """A promise that was checked: the proof if it holds, else what breaks it."""

    title: str
    holds: bool
    lines: tuple[str, ...]


def run_checks(history: History) -> list[Check]:
    """Check every guarantee."""
    checks: list[Check] = []
    for guarantee in GUARANTEES:
        broken = [str(violation) for violation in guarantee.check(history)]
        checks.append(Check(guarantee.promise, not broken, tuple(broken) or (guarantee.proof(history),)))
    return checks


def print_checks(screen: Screen, checks: list[Check]) -> None:
    """Print each check with its proof, or with the first things that break it."""
    width = max(len(check.title) for check in checks)
    for check in checks:
        screen.line(f"  {'ok    ' if check.holds else 'BROKEN'}  {check.title:<{width}}  {check.lines[0]}")
        for line in check.lines[1:_VIOLATIONS_SHOWN_MAX]:
            screen.line(f"  {'':<{width + 8}}{line}")
        if len(check.lines) > _VIOLATIONS_SHOWN_MAX:
            screen.line(f"  {'':<{width + 8}}and {len(check.lines) - _VIOLATIONS_SHOWN_MAX:,} more")


def what_wants_a_person(history: History) -> str | None:
    """Say what was kept instead of being processed: nothing is lost, and yet it isn't done."""
    fates = Counter(fate(sent, history) for sent in history.sent)
    kept = (Fate.QUARANTINED, Fate.DEAD_LETTER, Fate.SET_ASIDE, Fate.PARKED)
    told = ", ".join(f"{fates[kind]:,} {kind}" for kind in kept if fates[kind])
    return f"  Not processed, but kept for somebody to look at: {told}. What to do: keyturn status" if told else None


def what_no_check_saw(history: History) -> str | None:
    """Say of how many done events the effects aren't known: only the sample's workers write them into a ledger."""
    others = history.duplicates | history.quarantined.keys() | history.dead_letters | history.set_aside
    unseen = sum(
        not sent.steps and sent.event_id is not None and sent.place not in others and not history.is_parked(sent.place)
        for sent in history.sent
    )
    if not unseen:
        return None
    return (
        f"  Of {unseen:,} events the effects weren't checked: only the sample's workers write theirs into the ledger"
        " that is looked at.\n  What yours did: keyturn trace ID --key KEY"
    )
