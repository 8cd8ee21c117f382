"""How one run is shown: lines for people, a document for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from keyturn.core.route import Kind
from keyturn.core.state import Phase
from keyturn_cli.looking.explanation import reason
from keyturn_cli.looking.key_items import Attempt
from keyturn_cli.looking.parts import attempt_document, attempt_line, step_document
from keyturn_cli.looking.runs import RunStory
from keyturn_cli.looking.times import as_json, clock, lasting
from keyturn_cli.looking.wording import aligned, command, counted, one_line, quoted
from keyturn_cli.screen import Line


def run_lines(story: RunStory, *, results: bool) -> Iterator[Line]:
    """The page of a run."""
    key = story.state.key
    yield Line(f"Run of key {quoted(key)}: {_standing(story)}", "bold")
    yield Line(f"  {_what(story)}")
    rows = [
        [clock(event.arrived_at_ms), one_line(event.type), f"flow {event.flow_id}", event.position]
        for event in story.events
    ]
    yield from (Line(f"  {row}") for row in aligned(rows))
    yield Line()
    yield Line("Attempts" if story.attempts else "Attempts: none is recorded", "bold")
    for attempt in story.attempts:
        style = "red" if attempt.outcome not in {"", "succeeded"} else ""
        yield Line(f"  {clock(attempt.started_at_ms)}  {attempt_line(attempt, story.now_ms)}", style)
        if attempt.execution_name:
            inside = f", inside {attempt.ran_in}" if attempt.ran_in else ""
            yield Line(f"      execution {attempt.execution_name}{inside}{_status(story, attempt)}")
    if story.kind is Kind.EXPRESS:
        yield Line(
            "  an Express execution has no history to ask for: what is recorded stands here, the rest in its logs"
        )
    yield from _step_lines(story, results=results)
    yield Line()
    yield Line(f"The key as a whole: {command('key', key)}")


def _status(story: RunStory, attempt: Attempt) -> str:
    status = story.statuses.get(attempt.execution_name, "")
    if status == "SUCCEEDED" and attempt.outcome not in {"", "succeeded"}:
        return ": SUCCEEDED, since it reported the failure itself"
    return f": {status}" if status else ""


def _standing(story: RunStory) -> str:
    if not story.is_current:
        return "it is over" if story.events[-1].position <= story.state.cursor else "it is not under way"
    if story.state.phase is Phase.PARKED:
        return f"it failed, and the key is parked: {reason(story.state, story.now_ms)}"
    if story.state.phase is Phase.RUNNING:
        return f"under way: {reason(story.state, story.now_ms)}"
    return f"it failed, and will be tried again: {reason(story.state, story.now_ms)}"


def _what(story: RunStory) -> str:
    workflow = f"workflow {story.workflow} ({story.kind.value})" if story.kind else "of an unknown workflow"
    route = f"route {story.route}" if story.route else "no route of this checkout takes it"
    return f"{counted(len(story.events), 'event')}, {route}, {workflow}"


def _step_lines(story: RunStory, *, results: bool) -> Iterator[Line]:
    yield Line()
    yield Line("Steps" if story.steps else "Steps: no result is stored", "bold")
    if story.steps:
        yield from (Line(f"  {row}") for row in aligned(_step_rows(story, results=results)))


def _step_rows(story: RunStory, *, results: bool) -> Sequence[list[str]]:
    return [
        [
            clock(step.began_at_ms),
            step.name,
            lasting(step.ended_at_ms - step.began_at_ms),
            f"attempt {step.attempt} (fence {step.fence})",
            f"generation {step.generation}",
            f"event {_number(story, step.position)}" if len(story.events) > 1 else "",
            one_line(json.dumps(step.result, ensure_ascii=False)) if results else "",
        ]
        for step in story.steps
    ]


def _number(story: RunStory, position: str) -> str:
    number = next((at for at, event in enumerate(story.events, start=1) if event.position == position), 0)
    return f"{number} of {len(story.events)}"


def run_document(story: RunStory, *, results: bool) -> dict[str, Any]:
    """The same, for programs."""
    return {
        "key": story.state.key,
        "is_current": story.is_current,
        "phase": story.state.phase.value,
        "standing": _standing(story),
        "route": story.route or None,
        "workflow": story.workflow or None,
        "kind": story.kind.value if story.kind else None,
        "events": [
            {
                "position": event.position,
                "type": event.type,
                "flow_id": event.flow_id,
                **as_json("arrived_at", event.arrived_at_ms),
            }
            for event in story.events
        ],
        "attempts": [
            attempt_document(attempt) | {"execution_status": story.statuses.get(attempt.execution_name)}
            for attempt in story.attempts
        ],
        "steps": [{"position": step.position, **step_document(step, results=results)} for step in story.steps],
    }
