"""How one key is shown: lines for people, a document for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from keyturn.core.state import KeyState, Phase
from keyturn_cli.looking.explanation import explain, pending, since_ms
from keyturn_cli.looking.fates import Fate
from keyturn_cli.looking.key_items import Event
from keyturn_cli.looking.parts import (
    advice_lines,
    attempt_document,
    attempt_line,
    operation_rows,
    step_document,
    step_lines,
)
from keyturn_cli.looking.story import EventStory, KeyStory
from keyturn_cli.looking.times import as_json, clock, moment
from keyturn_cli.looking.wording import aligned, argument, command, counted, one_line, quoted
from keyturn_cli.screen import Line

PHASE_STYLES: Final = {Phase.PARKED: "bold red", Phase.WAITING: "bold yellow", Phase.RUNNING: "bold green"}
_FATE_STYLES: Final = {Fate.PARKED: "red", Fate.DEAD_LETTERED: "red", Fate.RUNNING: "green", Fate.RETRYING: "yellow"}


def key_lines(story: KeyStory, *, results: bool) -> Iterator[Line]:
    """The page of a key."""
    state, told = story.state, explain(story.state, story.now_ms)
    yield Line(f"Key {quoted(state.key)} {told.headline}", PHASE_STYLES.get(state.phase, "bold"))
    yield from (Line(f"  {note}") for note in told.notes)
    if told.advice:
        yield Line()
        yield Line("What you can do", "bold")
        yield from advice_lines(told.advice)
    yield Line()
    yield Line("State", "bold")
    yield from (Line(f"  {row}") for row in aligned(list(_state_rows(state, story.now_ms))))
    yield from _log_lines(story, results=results)
    yield from _duplicate_lines(story)
    if story.operations:
        yield Line()
        yield Line("What people did", "bold")
        yield from (Line(f"  {row}") for row in aligned(operation_rows(story.operations)))


def _state_rows(state: KeyState, now_ms: int) -> Iterator[list[str]]:
    yield ["cursor", state.cursor or "before its first event"]
    yield ["tail", state.tail or "no event yet"]
    missing = f", {state.missing:,} of them missing from the log" if state.missing else ""
    done = f"{state.finished:,} of {counted(state.admitted, 'event')} finished{missing}"
    yield ["events", f"{done}, {pending(state):,} pending"]
    run = state.run
    if run is not None:
        yield ["run", f"{counted(run.slice.count, 'event')} from {run.slice.first}"]
        yield ["", f"route {run.slice.route}, workflow {run.workflow} ({run.kind.value}), attempt {run.attempt}"]
        yield ["execution", run.execution_name]
        yield ["began", moment(run.started_at_ms, now_ms)]
    if run is not None and state.phase is Phase.RUNNING:
        yield ["deadline", moment(run.deadline_ms, now_ms) + _extended(run.heartbeat_at_ms, now_ms)]
    if state.not_before_ms > now_ms:
        yield ["not before", moment(state.not_before_ms, now_ms)]
    yield ["fence", f"{state.fence}, generation {state.generation}, version {state.version}"]
    if state.release:
        yield ["release", f"{state.release}, until it is idle"]


def _extended(heartbeat_at_ms: int, now_ms: int) -> str:
    return f", last extended by a heartbeat at {moment(heartbeat_at_ms, now_ms)}" if heartbeat_at_ms else ""


def _log_lines(story: KeyStory, *, results: bool) -> Iterator[Line]:
    yield Line()
    if not story.events:
        yield Line(f"Log: no events{_why_empty(story)}", "bold")
        return
    yield Line(f"Log: {counted(len(story.events), 'event')}, oldest first", "bold")
    rows = aligned([_event_row(told.event, told.fate) for told in story.events])
    for told, row in zip(story.events, rows, strict=True):
        yield Line(f"  {row}", _FATE_STYLES.get(told.fate, ""))
        yield from (Line(f"      {line}") for line in _what_happened(told, story.now_ms, results=results))
    key, told_of = story.state.key, _worth_telling(story)
    if story.older:
        yield Line(f"  older events: {command('key', key, f'--before {story.older}')}")
    yield Line(f"  the story of one: {command('trace', told_of.flow_id, f'--key {argument(key)}')}")


def _worth_telling(story: KeyStory) -> Event:
    """The event that the key's run begins with, where that is shown: what the key stands at. Else the last one."""
    run = story.state.run
    here = (told.event for told in story.events if run is not None and told.event.position == run.slice.first)
    return next(here, story.events[-1].event)


def _why_empty(story: KeyStory) -> str:
    if story.before:
        return " before that position"
    return " any more, their time to live has ended" if story.state.admitted else ""


def _event_row(event: Event, fate: Fate) -> list[str]:
    return [clock(event.arrived_at_ms), one_line(event.type), fate.value, f"flow {event.flow_id}", event.position]


def _what_happened(told: EventStory, now_ms: int, *, results: bool) -> Iterator[str]:
    yield from (attempt_line(attempt, now_ms) for attempt in told.attempts)
    yield from step_lines(told.steps, results=results)
    letter = told.dead_letter
    if letter is not None:
        since_then = f"; {one_line(letter.closed)}" if letter.closed else ""
        yield f"dead-lettered {clock(letter.at_ms)}: {one_line(letter.reason)}{since_then}"


def _duplicate_lines(story: KeyStory) -> Iterator[Line]:
    if story.duplicates:
        yield Line()
        yield Line("Dropped as duplicates", "bold")
        yield from (
            Line(f"  {clock(one.recorded_at_ms)}  {one.position} has the source and id of {one.of}")
            for one in story.duplicates
        )


def key_document(story: KeyStory, *, results: bool) -> dict[str, Any]:
    """The same, for programs."""
    told = explain(story.state, story.now_ms)
    return {
        **state_document(story.state, story.now_ms),
        "explanation": f"{quoted(story.state.key)} {told.headline}",
        "notes": list(told.notes),
        "advice": [asdict(one) for one in told.advice],
        "log": [_event_document(one, results=results) for one in story.events],
        "before": story.older,
        "duplicates": [
            {"position": one.position, "of": one.of, **as_json("recorded_at", one.recorded_at_ms)}
            for one in story.duplicates
        ],
        "operations": [
            {
                "command": one.command,
                "by": one.by,
                "reason": one.reason,
                "fence": one.fence,
                "position": one.position or None,
                "replay": one.replay or None,
                **as_json("at", one.at_ms),
            }
            for one in story.operations
        ],
    }


def state_document(state: KeyState, now_ms: int) -> dict[str, Any]:
    """A key's state for programs."""
    run, parked, hold, replay = state.run, state.parked, state.hold, state.replay
    return {
        "key": state.key,
        "phase": state.phase.value,
        **as_json("since", since_ms(state)),
        "waits_for": state.waits_for.value if state.waits_for else None,
        "cursor": state.cursor or None,
        "tail": state.tail or None,
        "admitted": state.admitted,
        "finished": state.finished,
        "pending": pending(state),
        **as_json("pending_since", state.pending_since_ms),
        **as_json("not_before", state.not_before_ms if state.not_before_ms > now_ms else None),
        "fence": state.fence,
        "release": state.release or None,
        "generation": state.generation,
        "version": state.version,
        "held_route": state.held_route or None,
        "parked": parked and {"reason": parked.reason, "diverts": parked.diverts, **as_json("at", parked.at_ms)},
        "hold": hold and {"by": hold.by, "reason": hold.reason, **as_json("at", hold.at_ms)},
        "replay": replay
        and {
            "id": replay.id,
            "generation": replay.generation,
            "is_noted": replay.is_noted,
            "spans": [asdict(span) for span in replay.spans],
            "resume_at": replay.resume_at or None,
            **as_json("at", replay.at_ms),
        },
        "run": run
        and {
            "first": run.slice.first,
            "last": run.slice.last,
            "events": run.slice.count,
            "route": run.slice.route,
            "flow_id": run.slice.flow_id,
            "workflow": run.workflow,
            "kind": run.kind.value,
            "attempt": run.attempt,
            "generation": run.generation,
            "execution_name": run.execution_name,
            "execution_id": run.execution_id,
            **as_json("started_at", run.started_at_ms),
            **as_json("deadline", run.deadline_ms),
            **as_json("heartbeat_at", run.heartbeat_at_ms),
        },
    }


def _event_document(told: EventStory, *, results: bool) -> dict[str, Any]:
    event, letter = told.event, told.dead_letter
    return {
        "position": event.position,
        "type": event.type,
        "flow_id": event.flow_id,
        **as_json("arrived_at", event.arrived_at_ms),
        "fate": told.fate.value,
        "attempts": [attempt_document(one) for one in told.attempts],
        "steps": [step_document(one, results=results) for one in told.steps],
        "dead_letter": letter
        and {
            "route": letter.route,
            "reason": letter.reason,
            "closed": letter.closed or None,
            **as_json("at", letter.at_ms),
        },
    }
