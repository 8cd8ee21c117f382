"""How releases are told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from keyturn.adapters.rollouts import ReleaseRecord
from keyturn.core.rollout import WHOLE, Canary, Health, Rollout
from keyturn_cli.looking.times import as_json, moment, since
from keyturn_cli.looking.wording import aligned, one_line
from keyturn_cli.screen import Line

_DONE = {"Publish": "published", "Canary": "tried", "Promote": "promoted", "RollBack": "rolled back"}


def state_of(rollout: Rollout, number: int) -> str:
    """What a release is now."""
    if rollout.canary is not None and rollout.canary.number == number:
        return f"canary, {percent(rollout.canary.share)} of the keys"
    if rollout.has_rolled_back(number):
        return "rolled back"
    if number == rollout.stable:
        return "stable"
    return "earlier" if number in rollout.stables else "published"


def percent(share: int) -> str:
    """A share, as people write it."""
    return f"{share * 100 / WHOLE:g} %"


def health_text(health: Health) -> str:
    """How a canary does."""
    return f"{health.failed:,} of {health.ended:,} attempts failed" if health.ended else "no attempt ended yet"


def rollout_rows(rollout: Rollout, health: Health | None, now_ms: int) -> Iterator[list[str]]:
    """The releases that keys take now."""
    if rollout.stable:
        yield [f"release {rollout.stable}", "stable", f"since {moment(rollout.stable_since_ms, now_ms)}", ""]
    canary = rollout.canary
    if canary is not None:
        began = f"since {moment(canary.since_ms, now_ms)}"
        yield [f"release {canary.number}", state_of(rollout, canary.number), began, health_text(health or Health())]
    for recovery in rollout.recoveries:
        yield [f"release {recovery.number}", "rolled back", since(recovery.at_ms, now_ms), "its parked keys go on"]


def rollout_document(rollout: Rollout, health: Health | None) -> Mapping[str, Any]:
    """The same, for programs."""
    return {"stable": rollout.stable or None, "canary": _canary_document(rollout.canary, health)}


def _canary_document(canary: Canary | None, health: Health | None) -> Mapping[str, Any] | None:
    if canary is None:
        return None
    counts = health or Health()
    return {
        "number": canary.number,
        "share_percent": canary.share * 100 / WHOLE,
        **as_json("since", canary.since_ms),
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "rules": asdict(canary.rules),
    }


def list_lines(
    rollout: Rollout, records: Sequence[ReleaseRecord], health: Health | None, now_ms: int
) -> Iterator[Line]:
    """One line a release, with what was done last."""
    if not records:
        yield Line("No release is published: runs take what was deployed last.")
        return
    rows = [_row(rollout, record, health, now_ms) for record in records]
    yield from (Line(row) for row in aligned(rows))
    for number in {rollout.stable, rollout.canary.number if rollout.canary else rollout.stable}:
        if number and all(number != record.number for record in records):
            yield Line(f"Release {number}, {state_of(rollout, number)}, is older than these.")


def _row(rollout: Rollout, record: ReleaseRecord, health: Health | None, now_ms: int) -> list[str]:
    last = record.story[-1]
    is_canary = rollout.is_canary(record.number)
    return [
        str(record.number),
        state_of(rollout, record.number),
        f"{_DONE.get(last['done'], last['done'])} {moment(last['at_ms'], now_ms)}",
        f"by {one_line(last['by'])}: {one_line(last['reason'])}",
        health_text(health or Health()) if is_canary else "",
    ]


def list_document(rollout: Rollout, records: Sequence[ReleaseRecord], health: Health | None) -> Mapping[str, Any]:
    """The same, for programs, with every version."""
    return {
        **rollout_document(rollout, health),
        "releases": [asdict(record) | {"state": state_of(rollout, record.number)} for record in records],
    }
