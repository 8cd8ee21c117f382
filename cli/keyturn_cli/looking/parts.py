"""How attempts, steps and what people did are told, on every page that shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from keyturn.core.commands import Evidence
from keyturn_cli.looking.explanation import Advice
from keyturn_cli.looking.key_items import Attempt, Operation, Step
from keyturn_cli.looking.times import as_json, clock, lasting, since
from keyturn_cli.looking.wording import aligned, one_line
from keyturn_cli.screen import Line

EVIDENCE: Final[Mapping[str, str]] = {
    Evidence.NEVER_STARTED: "never started, no worker of it began before its deadline",
    Evidence.ENDED_WITHOUT_FINISH: "its execution ended without reporting",
    Evidence.HUNG: "hung, it passed its deadline without reporting",
    Evidence.HEARTBEAT_LOST: "its heartbeats ceased, it passed its deadline without reporting",
}
"""What the watchdog found, where that is the reason."""


def attempt_line(attempt: Attempt, now_ms: int) -> str:
    """One attempt: "attempt 2 (fence 3) failed after 1.2 s: payment: ... "."""
    name = f"attempt {attempt.number} (fence {attempt.fence})"
    if not attempt.outcome:
        return f"{name} under way, began {since(attempt.started_at_ms, now_ms)}"
    took = lasting(attempt.ended_at_ms - attempt.started_at_ms)
    reason = EVIDENCE.get(attempt.reason, one_line(attempt.reason))
    why = f": {reason}" if reason else ""
    return f"{name} {attempt.outcome.replace('_', ' ')} after {took}{why}"


def step_lines(steps: Sequence[Step], *, results: bool) -> Iterator[str]:
    """The stored results of an event: those of one attempt in a line; each with its content if asked for."""
    if results:
        rows = [
            [
                step.name,
                f"attempt {step.attempt}",
                f"generation {step.generation}",
                lasting(step.ended_at_ms - step.began_at_ms),
                one_line(json.dumps(step.result, ensure_ascii=False)),
            ]
            for step in steps
        ]
        yield from aligned(rows) if rows else []
        return
    for (fence, attempt, generation), group in groupby(
        sorted(steps, key=lambda step: (step.fence, step.attempt, step.generation, step.began_at_ms)),
        key=lambda step: (step.fence, step.attempt, step.generation),
    ):
        told = ", ".join(f"{step.name} {lasting(step.ended_at_ms - step.began_at_ms)}" for step in group)
        again = f", generation {generation}" if generation else ""
        yield f"done by attempt {attempt} (fence {fence}{again}): {told}"


def operation_rows(operations: Iterable[Operation]) -> list[list[str]]:
    """What people did, a row each."""
    return [
        [clock(one.at_ms), one.command, f"by {one_line(one.by)}", one_line(one.reason), one.replay]
        for one in operations
    ]


def advice_lines(advice: Sequence[Advice]) -> list[Line]:
    """What can be done, with the command for it."""
    rows = aligned([[one.what, one.command] for one in advice]) if advice else []
    return [Line(f"  {row}") for row in rows]


def attempt_document(attempt: Attempt) -> dict[str, Any]:
    """An attempt for programs."""
    return {
        "attempt": attempt.number,
        "fence": attempt.fence,
        "outcome": attempt.outcome or None,
        "reason": attempt.reason,
        "first": attempt.first,
        "last": attempt.last,
        "events": attempt.count,
        "route": attempt.route,
        "generation": attempt.generation,
        "execution_name": attempt.execution_name,
        "execution_id": attempt.execution_id,
        "ran_in": attempt.ran_in or None,
        **as_json("started_at", attempt.started_at_ms),
        **as_json("ended_at", attempt.ended_at_ms),
    }


def step_document(step: Step, *, results: bool) -> dict[str, Any]:
    """A step's result for programs; its content only if asked for."""
    return {
        "step": step.name,
        "generation": step.generation,
        "attempt": step.attempt,
        "fence": step.fence,
        "took_ms": step.ended_at_ms - step.began_at_ms,
        **as_json("began_at", step.began_at_ms),
        **as_json("ended_at", step.ended_at_ms),
        **({"result": step.result} if results else {}),
    }
