"""A replay in words: what its plan says, and how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from keyturn.core.prices import PriceList
from keyturn.core.replay_estimate import Estimate, estimate
from keyturn.core.replay_job import Act, JobState, ReplayJob, Source
from keyturn.core.replay_plan import END, Fate, Outcome, PlannedKey, Selection
from keyturn.core.state import START
from keyturn_cli.moments import clock_text

SHOWN_KEYS_MAX: Final = 20

_FOUND_BY: Final = {
    Source.KEYS: "its keys were named",
    Source.DEAD_LETTERS: "the dead letters",
    Source.STREAM: "the stream, read again from that time",
    Source.SCAN: "a scan of the whole table",
    Source.ARCHIVE: "the archive",
}
_UNDER_WAY: Final = frozenset({Fate.FOUND, Fate.PLANNED, Fate.APPLIED, Fate.NOTHING})
_AMISS: Final = (Fate.REFUSED, Fate.PARKED)


def as_json(job: ReplayJob, keys: Sequence[PlannedKey], max_in_flight_runs: int, prices: PriceList) -> dict[str, Any]:
    """Everything, for programs."""
    foreseen = foreseen_of(job, max_in_flight_runs, prices)
    return {
        "id": job.id,
        "state": job.state.value,
        "source": job.source.value,
        "selection": {name: value for name, value in asdict(job.selection).items() if value not in {"", 0, END}},
        "is_new_generation": job.is_new_generation,
        "rate": job.rate,
        "asked": asdict(job.asked),
        "applied": asdict(job.applied) if job.applied else None,
        "cancelled": asdict(job.cancelled) if job.cancelled else None,
        "plan": asdict(job.tally),
        "estimate": {
            "dollars": round(foreseen.total, 6),
            "seconds": round(foreseen.takes_s, 1),
            "prices": {"region": prices.region, "read_on": prices.read_on.isoformat()},
        },
        "keys": dict(progress_of(job)),
        "amiss": [
            {"key": one.key, "fate": one.fate.value, "why": one.why, "rewinds_left": rewinds_left(one)} for one in keys
        ],
    }


def foreseen_of(job: ReplayJob, max_in_flight_runs: int, prices: PriceList) -> Estimate:
    """What the plan will come to."""
    return estimate(job.tally, prices, rate=job.rate, max_in_flight_runs=max_in_flight_runs)


def progress_of(job: ReplayJob) -> Mapping[Fate, int]:
    """Keys by how far they are: of the last whole pass, or of the first one so far."""
    return job.counts or job.passing


def keys_over(job: ReplayJob) -> int:
    """Keys with which nothing more is done by itself: done, called off, refused, or parked."""
    return sum(count for fate, count in progress_of(job).items() if fate not in _UNDER_WAY)


def latest_act(job: ReplayJob) -> Act:
    """What was asked of it last: to call it off, to apply it, or to plan it."""
    return job.cancelled or job.applied or job.asked


def plan_lines(job: ReplayJob, max_in_flight_runs: int, prices: PriceList) -> Iterator[str]:
    """The plan, a line for each thing to know before it is applied."""
    tally, foreseen = job.tally, foreseen_of(job, max_in_flight_runs, prices)
    yield f"Replay {job.id}, {job.state}: {selected(job.selection)}"
    yield f"  found by     {_FOUND_BY[job.source]}{f' ({job.searched:,} looked at)' if job.searched else ''}"
    yield f"  events       {tally.events:,} of {tally.keys:,} keys, {tally.spans:,} spans, about {tally.runs:,} runs"
    kind = "all steps are done again" if job.is_new_generation else "finished steps are not done again"
    yield f"  steps        {tally.steps_to_run:,} would run, {tally.steps_to_skip:,} would be skipped: {kind}"
    yield "               counted by the workflows' definitions; a Map's steps by what they were last time"
    yield f"  transitions  {tally.transitions:,} of Standard workflows; {tally.express_runs:,} Express runs"
    yield (
        f"  cost         about ${foreseen.total:,.2f}: Step Functions {foreseen.step_functions:,.2f}, Lambda"
        f" {foreseen.lambda_:,.2f}, DynamoDB {foreseen.dynamodb:,.2f}"
    )
    yield f"               by the prices of {prices.region} on {prices.read_on}, without free tiers"
    yield f"  time         about {duration(foreseen.takes_s)}, by {_held_up_by(job, foreseen, max_in_flight_runs)}"
    yield "  meanwhile    events that arrive for these keys queue behind their key's replay"
    yield from _in_the_way(job)


def _held_up_by(job: ReplayJob, foreseen: Estimate, max_in_flight_runs: int) -> str:
    longest = foreseen.takes_s
    if longest == foreseen.by_rate_s:
        return f"the rate of {job.rate} keys a second"
    if longest == foreseen.by_slots_s:
        return f"the {max_in_flight_runs} runs that may be in flight at once"
    return f"the {job.tally.longest_runs:,} runs of its longest key"


def _in_the_way(job: ReplayJob) -> Iterator[str]:
    tally = job.tally
    told = (
        (tally.unfinished, "selected events aren't finished: they run anyway, and aren't in the plan"),
        (tally.parked, "keys are parked and would be refused: resume or skip them first"),
        (tally.replaying, "keys have a replay under way and would be refused: wait for it, or cancel it"),
        (tally.refused, "keys are refused: no route takes their events any more, or they can't be read"),
        (tally.held, "keys are held: their replay begins when they are released"),
        (tally.restored, "events had left the log and were put back into it"),
    )
    yield from (f"  note         {count:,} {what}" for count, what in told if count)


def selected(selection: Selection) -> str:
    """A selection in words."""
    told = [
        f"{selection.named_keys:,} named key{'s' if selection.named_keys > 1 else ''}" if selection.named_keys else "",
        f"from position {selection.from_position}" if selection.from_position != START else "",
        f"to position {selection.to_position}" if selection.to_position != END else "",
        f"arrived since {clock_text(selection.from_ms)}" if selection.from_ms else "",
        f"arrived until {clock_text(selection.to_ms)}" if selection.to_ms else "",
        f"type {selection.type}" if selection.type else "",
        f"route {selection.route}" if selection.route else "",
        f"flow id {selection.flow_id}" if selection.flow_id else "",
        selection.outcome.value if selection.outcome is not Outcome.ANY else "",
    ]
    return ", ".join(part for part in told if part)


def progress_line(job: ReplayJob) -> str:
    """How far it is, in one line."""
    if job.state is JobState.PLANNING:
        where = f"looked at {job.searched:,}, " if job.searched else ""
        return f"planning: {where}{job.found:,} keys found, {job.tally.keys:,} with events to replay"
    counts = progress_of(job)
    told = [f"{count:,} {fate}" for fate in Fate if fate is not Fate.NOTHING and (count := counts.get(fate))]
    return f"{job.state}: {', '.join(told) or 'no key yet'} of {job.tally.keys:,} keys"


def act_lines(job: ReplayJob) -> Iterator[str]:
    """Who did what, when and why."""
    for what, act in (("planned", job.asked), ("applied", job.applied), ("cancelled", job.cancelled)):
        if act is not None:
            yield f"  {what:<12} {_act(act)}"


def _act(act: Act) -> str:
    return f"{clock_text(act.at_ms)} by {act.by}{f': {act.reason}' if act.reason else ''}"


def amiss_lines(job: ReplayJob, keys: Sequence[PlannedKey]) -> Iterator[str]:
    """Keys that did not, or would not, go through, with why."""
    for one in keys[:SHOWN_KEYS_MAX]:
        yield f"  {one.fate:<12} {one.key!r}: {one.why}"
    if len(keys) > SHOWN_KEYS_MAX:
        yield f"  and {len(keys) - SHOWN_KEYS_MAX:,} more: --output json lists all"
    cut_short = sum(rewinds_left(one) > 0 for one in keys)
    if cut_short and job.state is JobState.DONE:
        yield (
            f"  {cut_short:,} of the parked have more spans than one rewind takes: resume or skip them, then keyturn"
            f" replay apply {job.id} does the rest of them"
        )


def rewinds_left(planned: PlannedKey) -> int:
    """How many rewinds of a parked key are to come yet: none of them begins by itself."""
    return planned.chunks - planned.chunk - 1 if planned.fate is Fate.PARKED else 0


def held_line(routes: Sequence[str]) -> str:
    """Which routes of a replay's events are held, so that it stands still until they are released."""
    of = "it" if len(routes) == 1 else "them"
    return f"  held         {', '.join(routes)}: nothing of {of} runs until released; keyturn status says by what"


def is_amiss(planned: PlannedKey) -> bool:
    """Whether a person should look at what became of a key."""
    return planned.fate in _AMISS or bool(planned.fate is Fate.PLANNED and planned.why)


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7_200 else f"{seconds / 3_600:,.1f} h"
