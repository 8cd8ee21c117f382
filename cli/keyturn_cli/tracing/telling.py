"""Makes an event's story of what tables and logs hold of it. Each moment is one that an item or a line names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from keyturn.adapters.open_items import id_of
from keyturn.core.commands import Evidence
from keyturn.core.positions import Position
from keyturn.core.state import KeyState, Phase
from keyturn_cli.looking import key_items
from keyturn_cli.looking.fates import is_finished, run_of
from keyturn_cli.tracing.gaps import AWAITS_START, gaps_between
from keyturn_cli.tracing.reading_times import from_rfc3339
from keyturn_cli.tracing.standing import standing, waits_now
from keyturn_cli.tracing.stops import Stop
from keyturn_cli.tracing.story import SUCCEEDED, Attempt, Gap, Line, Moment, Step, Story, Subject, What

Item = Mapping[str, Any]

_EVIDENCE: Final = frozenset(Evidence)
_STEP_TROUBLES: Final = {"step failed": "failed", "step failed for good": "failed for good", "step refused": "refused"}
_ENDS_PARKING: Final = frozenset({"resume", "resume-fresh", "skip"})
_REPLAYS: Final = frozenset({"rewind", "cancel-replay"})


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a CloudEvent says of itself, without its data."""

    id: str = ""
    source: str = ""
    time: str = ""
    flow_id: str = ""
    """What its flow id is, or would be as an event; empty if nothing identifies it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Everything that is kept of one event. The state was read first: what the others lack was not there yet."""

    position: Position
    event: Item
    envelope: Envelope
    state: KeyState
    attempts: Sequence[key_items.Attempt] = ()
    steps: Sequence[key_items.Step] = ()
    duplicates: Sequence[key_items.Duplicate] = ()
    operations: Sequence[key_items.Operation] = ()
    dead_letter: key_items.DeadLetter | None = None
    earlier_ended_ms: int | None = None
    """When the run of the key's events before this one's run ended."""
    stops: Sequence[Stop] = ()
    """When its route started no runs."""
    now_ms: int = 0
    """When it was read; 0 if that isn't known."""
    lines: Sequence[Line] = ()
    notes: Sequence[str] = ()


def tell(found: Material) -> Story:
    """Tell the story of an event that is in its key's log."""
    steps = tuple(sorted(map(_step, found.steps), key=lambda step: (step.began_ms, step.name)))
    attempts = _attempts(found, steps)
    moments = _in_order(_moments(found, attempts, steps))
    moments += _now(found, moments)
    stops = _that_mattered(found, moments)
    moments = _in_order([*moments, *_of_stops(stops, moments)])
    event, envelope = found.event, found.envelope
    return Story(
        subject=Subject(
            key=found.state.key,
            position=found.position,
            flow_id=event["flow_id"],
            id=envelope.id,
            source=envelope.source,
            type=event["type"],
        ),
        standing=standing(found.state, found.position, _given_up(found, moments)),
        moments=tuple(moments),
        gaps=_gaps(found, moments, stops),
        attempts=attempts,
        steps=steps,
        lines=tuple(sorted(found.lines, key=lambda line: line.at_ms)),
        notes=(*found.notes, *_notes(found, moments)),
    )


def _now(found: Material, moments: Sequence[Moment]) -> list[Moment]:
    """The end of the story of an event that isn't finished; none if a clock that is ahead has written a later one."""
    is_open = found.now_ms > moments[-1].at_ms and not is_finished(found.state, found.position)
    return [Moment(found.now_ms, What.NOW, "now", "clock")] if is_open else []


def _in_order(moments: Iterable[Moment]) -> list[Moment]:
    return sorted(moments, key=lambda moment: moment.order)


def _gaps(found: Material, moments: Sequence[Moment], stops: Sequence[Stop] = ()) -> tuple[Gap, ...]:
    now = waits_now(found.state, found.position)
    return gaps_between(moments, is_behind=_is_behind(found), stops=stops, waits_now=now)


def _that_mattered(found: Material, moments: Sequence[Moment]) -> list[Stop]:
    """The stops of its route in which the event's turn had come."""
    waits = [gap for gap in _gaps(found, moments) if gap.wait in AWAITS_START]
    return [stop for stop in found.stops if any(stop.touches(gap.begins_ms, gap.ends_ms) for gap in waits)]


def _of_stops(stops: Iterable[Stop], moments: Sequence[Moment]) -> Iterator[Moment]:
    """Their beginnings and ends, as far as they lie within the story."""
    for stop in stops:
        yield from (one for one in stop.moments() if moments[0].at_ms < one.at_ms < moments[-1].at_ms)


def _is_behind(found: Material) -> bool:
    run = found.state.run
    return run is not None and run.slice.last < found.position and not is_finished(found.state, found.position)


def tell_of_quarantined(item: Item, envelope: Envelope, lines: Sequence[Line] = ()) -> Story:
    """Tell the story of a record that never became an event."""
    source, closed = "quarantined record", item.get("closed", {})
    told = f"{closed['how']} by {closed.get('by', '')}: {closed.get('because', '')}" if closed else ""
    moments = (
        Moment(item["arrived_at_ms"], What.PUT, "put into the stream", source),
        Moment(item["quarantined_at_ms"], What.QUARANTINED, f"quarantined: {item['reason']}", source),
        *_of_closing(closed.get("at_ms", 0), told, source),
    )
    detail = f": {item['detail']}" if item.get("detail") else ""
    place = f"Out of quarantine, {closed['how']}; it was there" if closed else "In quarantine"
    return Story(
        subject=Subject(item["key"], item["sk"].rpartition("#")[2], id=envelope.id, source=envelope.source),
        standing=f"{place} as {item['reason']}{detail}",
        moments=moments,
        gaps=gaps_between(moments),
        lines=tuple(lines),
        notes=(f"its bytes: keyturn quarantine show {id_of((item['pk'], item['sk']))}",),
    )


def _of_closing(at_ms: int, told: str, source: str) -> Iterator[Moment]:
    """What a person did with a quarantined record or a dead letter."""
    if told:
        yield Moment(at_ms, What.OPERATION, told, source, name=told.partition(" ")[0])


def _given_up(found: Material, moments: Sequence[Moment]) -> str | None:
    """Why the event is a dead letter; None if it is none, or was run again since."""
    letter = found.dead_letter
    if letter is None or letter.is_redriven:
        return None
    if any(moment.what is What.DONE and moment.at_ms > letter.at_ms for moment in moments):
        return None
    return f"{letter.reason}; {letter.closed}" if letter.closed else letter.reason


def _step(stored: key_items.Step) -> Step:
    return Step(stored.name, stored.generation, stored.fence, stored.attempt, stored.began_at_ms, stored.ended_at_ms)


def _attempts(found: Material, steps: Sequence[Step]) -> tuple[Attempt, ...]:
    """The attempts at the event, by rising fence: from records, from the run in work, from lines and from steps."""
    known = {attempt.fence: attempt for attempt in map(_recorded, found.attempts)}
    for attempt in (*_under_way(found), *_logged(found.lines), *_stepped(steps)):
        known[attempt.fence] = _joined(known[attempt.fence], attempt) if attempt.fence in known else attempt
    return tuple(_settled(found, known[fence]) for fence in sorted(known))


def _recorded(record: key_items.Attempt) -> Attempt:
    is_dead = record.reason in _EVIDENCE
    return Attempt(
        fence=record.fence,
        number=record.number,
        began_ms=record.started_at_ms,
        ended_ms=record.ended_at_ms,
        outcome=record.outcome,
        reason="" if is_dead else record.reason,
        evidence=record.reason if is_dead else "",
        generation=record.generation,
        first=record.first,
        began_by="attempt record",
        ended_by="attempt record",
    )


def _under_way(found: Material) -> Iterator[Attempt]:
    state, run = found.state, run_of(found.state, found.position)
    if run is not None and state.phase is Phase.RUNNING:
        yield Attempt(
            fence=state.fence,
            number=run.attempt,
            began_ms=run.started_at_ms,
            generation=run.generation,
            first=run.slice.first,
            began_by="key state",
        )


def _logged(lines: Iterable[Line]) -> Iterator[Attempt]:
    for line in sorted(lines, key=lambda line: line.at_ms):
        if not line.fence:
            continue
        number, first, by = int(line.get("attempt") or 1), line.get("position"), f"log of {line.service}"
        if line.message == "run started":
            yield Attempt(line.fence, number, began_ms=line.at_ms, first=first, began_by=by)
        elif line.message == "run finished":
            outcome, began = line.get("outcome"), line.get("started_at_ms")
            began_ms = int(began) if began else None
            yield Attempt(
                line.fence, number, began_ms, line.at_ms, outcome=outcome, first=first, began_by=by, ended_by=by
            )


def _stepped(steps: Sequence[Step]) -> Iterator[Attempt]:
    for step in steps:
        yield Attempt(step.fence, step.attempt, generation=step.generation)


def _joined(known: Attempt, more: Attempt) -> Attempt:
    """What is known of an attempt, completed by what another source says; what was known first stands."""
    joined = known
    if known.began_ms is None:
        joined = replace(joined, began_ms=more.began_ms, began_by=more.began_by)
    if known.ended_ms is None:
        joined = replace(joined, ended_ms=more.ended_ms, ended_by=more.ended_by, outcome=more.outcome)
    return replace(joined, first=known.first or more.first, generation=known.generation or more.generation)


def _settled(found: Material, attempt: Attempt) -> Attempt:
    """Conclude how an attempt ended that left no record: a failure always leaves one, so it succeeded."""
    state = found.state
    is_open = attempt.fence > state.fence or (attempt.fence == state.fence and run_of(state, found.position))
    if attempt.outcome or is_open or not is_finished(state, found.position):
        return attempt
    return replace(attempt, outcome=SUCCEEDED)


def _moments(found: Material, attempts: Sequence[Attempt], steps: Sequence[Step]) -> Iterator[Moment]:
    yield from _of_event(found)
    yield from _of_steps(steps)
    yield from _of_lines(found.lines)
    for attempt in attempts:
        yield from _of_attempt(attempt, [step for step in steps if step.fence == attempt.fence])
    yield from _of_duplicates(found.duplicates)
    yield from _of_operations(found, attempts)
    yield from _of_parkings(found, attempts)
    yield from _of_waiting(found, attempts, steps)
    letter = found.dead_letter
    if letter:
        yield Moment(letter.at_ms, What.DEAD_LETTERED, f"given up: {letter.reason}", "dead letter")
        yield from _of_closing(letter.closed_at_ms, letter.closed, "dead letter")


def _of_event(found: Material) -> Iterator[Moment]:
    event, produced_ms = found.event, from_rfc3339(found.envelope.time)
    if produced_ms is not None and produced_ms <= event["arrived_at_ms"]:
        yield Moment(produced_ms, What.PRODUCED, "produced, by the event's own time", "event")
    yield Moment(event["arrived_at_ms"], What.PUT, "put into the stream", "event")
    if "admitted_at_ms" in event:
        yield Moment(event["admitted_at_ms"], What.ADMITTED, "admitted to its key's log", "event")


def _of_steps(steps: Sequence[Step]) -> Iterator[Moment]:
    for step in steps:
        generation = f", generation {step.generation}" if step.generation else ""
        told = f"step {step.name}, attempt {step.attempt}{generation}"
        yield Moment(step.began_ms, What.STEP_BEGAN, f"{told}: began", "step result", step.fence, step.name)
        yield Moment(step.ended_ms, What.STEP_ENDED, f"{told}: done", "step result", step.fence, step.name)


def _of_lines(lines: Iterable[Line]) -> Iterator[Moment]:
    for line in lines:
        if line.message in _STEP_TROUBLES:
            why = line.get("error") or line.get("permission")
            told = f"step {line.get('step')}, attempt {line.get('attempt')}: {_STEP_TROUBLES[line.message]}, {why}"
            source = f"log of {line.service}"
            yield Moment(line.at_ms, What.STEP_FAILED, told, source, line.fence, line.get("step"))


def _of_attempt(attempt: Attempt, steps: Sequence[Step]) -> Iterator[Moment]:
    name, fence = f"attempt {attempt.number}, fence {attempt.fence}", attempt.fence
    if attempt.began_ms is not None:
        yield Moment(attempt.began_ms, What.ATTEMPT_BEGAN, f"{name}: began", attempt.began_by, fence)
    if attempt.ended_ms is not None:
        why = f", {attempt.why}" if attempt.why else ""
        told = f"{name}: {attempt.outcome.replace('_', ' ')}{why}"
        yield Moment(attempt.ended_ms, What.ATTEMPT_ENDED, told, attempt.ended_by, fence, attempt.outcome)
        if attempt.outcome == SUCCEEDED:
            yield Moment(attempt.ended_ms, What.DONE, "done", attempt.ended_by, fence)
    elif attempt.outcome == SUCCEEDED and steps:
        ended_ms = max(step.ended_ms for step in steps)
        yield Moment(ended_ms, What.DONE, "done, as far as its last step tells", "step result", fence)


def _of_duplicates(duplicates: Sequence[key_items.Duplicate]) -> Iterator[Moment]:
    for one in duplicates:
        yield Moment(one.recorded_at_ms, What.DUPLICATE, "came again and was dropped as a duplicate", "duplicate")


def _of_operations(found: Material, attempts: Sequence[Attempt]) -> Iterator[Moment]:
    for one in found.operations:
        if _concerns(one, found, attempts):
            replay = f", replay {one.replay}" if one.replay else ""
            told = f"{one.command}{replay} by {one.by}: {one.reason}"
            yield Moment(one.at_ms, What.OPERATION, told, "operation", name=one.command)


def _concerns(operation: key_items.Operation, found: Material, attempts: Sequence[Attempt]) -> bool:
    """Whether what a person did to the key had to do with the event: while it was unfinished, or to run it again."""
    if operation.at_ms < found.event["arrived_at_ms"]:
        return False
    if operation.command in _REPLAYS and operation.position > found.position:
        return False
    is_before_an_attempt = any(attempt.fence > operation.fence for attempt in attempts)
    failed = {attempt.fence for attempt in attempts if attempt.outcome not in {"", SUCCEEDED}}
    is_of_an_attempt = operation.fence in failed and operation.command in _ENDS_PARKING
    return is_before_an_attempt or is_of_an_attempt or not is_finished(found.state, found.position)


def _of_parkings(found: Material, attempts: Sequence[Attempt]) -> Iterator[Moment]:
    parked, is_own = found.state.parked, run_of(found.state, found.position) is not None
    is_waiting = parked is not None and not is_finished(found.state, found.position)
    if parked is not None and is_waiting and parked.at_ms >= found.event["arrived_at_ms"]:
        yield Moment(
            parked.at_ms, What.PARKED, f"{'' if is_own else 'its key is '}parked: {parked.reason}", "key state"
        )
    ended = {operation.fence for operation in found.operations if operation.command in _ENDS_PARKING}
    for attempt in attempts:
        if attempt.fence in ended and attempt.ended_ms is not None and attempt.outcome != SUCCEEDED:
            yield Moment(attempt.ended_ms, What.PARKED, f"parked: {attempt.why}", attempt.ended_by)


def _of_waiting(found: Material, attempts: Sequence[Attempt], steps: Sequence[Step]) -> Iterator[Moment]:
    """When the key's earlier events were done, if this one was admitted before that."""
    began = [attempt.began_ms for attempt in attempts if attempt.began_ms is not None]
    first_ms = min([*began, *(step.began_ms for step in steps)], default=None)
    ended_ms, admitted_ms = found.earlier_ended_ms, found.event.get("admitted_at_ms")
    if first_ms is not None and ended_ms is not None and admitted_ms is not None and admitted_ms < ended_ms <= first_ms:
        yield Moment(ended_ms, What.EARLIER_DONE, "the key's earlier event was done", "its own records")


def _notes(found: Material, moments: Sequence[Moment]) -> Iterator[str]:
    if found.envelope.time and not any(moment.what is What.PRODUCED for moment in moments):
        yield f"the event's own time, {found.envelope.time}, is no time before it was put: it is left out"
    if "admitted_at_ms" not in found.event:
        yield "its time of admission isn't stored: it was admitted by an earlier version"
