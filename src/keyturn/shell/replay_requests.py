"""What people ask of replays: plan one, apply the plan, call it off. The work itself is the replayer's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from keyturn.core.commands import Operator
from keyturn.core.naming import key_problem
from keyturn.core.positions import Position, position
from keyturn.core.replay_job import Act, JobState, ReplayJob, Source, choose_source
from keyturn.core.replay_plan import END, Fate, Outcome, PlannedKey, Selection
from keyturn.core.state import START
from keyturn.errors import CannotOperate
from keyturn.shell import asked
from keyturn.shell.asked import Request
from keyturn.shell.platform import Platform

KEYS_MAX: Final = 20_000
"""Named in one request: more than that would come near Lambda's 6 MB."""

RATE_MAX: Final = 1_000

_FIRST_EPOCH: Final = 1
"""The default of StreamEpoch, which rises with each stream that takes another's place."""

_POSITION_CHARACTERS_MAX: Final = len(position(0, "0"))


def plan(platform: Platform, request: Request, operator: Operator) -> dict[str, Any]:
    """Have a replay planned.

    If the whole table must be read for it and that isn't accepted, the answer is `scan`, its size, and nothing is done.
    """
    keys = _keys(request)
    selection = _selection(request, len(keys))
    source = _source(platform, selection)
    if source is Source.SCAN and not request.get("accepts_scan"):
        items, size = platform.replays.table.size()
        return {"scan": {"items": items, "bytes": size}}
    now_ms = platform.clock()
    job = ReplayJob(
        id=f"{datetime.fromtimestamp(now_ms / 1000, UTC):%Y%m%d-%H%M%S}-{platform.process.token()[:4]}",
        state=JobState.PLANNING,
        source=source,
        selection=selection,
        asked=Act(operator.by, operator.reason, now_ms),
        is_new_generation=bool(request.get("is_new_generation")),
        rate=_rate(request),
        is_searching=source is not Source.KEYS,
        found=len(keys),
        executions=1,
        updated_at_ms=now_ms,
    )
    platform.replays.write_keys(
        job, [PlannedKey(key, Fate.FOUND, selection.from_position, selection.to_position) for key in keys]
    )
    return _started(platform, platform.replays.create(job))


def apply_plan(platform: Platform, request: Request, operator: Operator) -> dict[str, Any]:
    """Have a plan applied, or go on with one: its work was interrupted, or it left keys that were parked.

    Raises CannotOperate for any other.
    """
    job = _load(platform, request)
    if job.state is JobState.PLANNED:
        act = Act(operator.by, operator.reason, platform.clock())
        return _begun(platform, replace(job.begun(JobState.APPLYING), applied=act))
    if _is_interrupted(platform, job, JobState.APPLYING):
        return _begun(platform, job)
    if job.state is JobState.DONE and job.counts.get(Fate.PARKED):
        return _begun(platform, job.begun(JobState.APPLYING))
    if _is_interrupted(platform, job, JobState.PLANNING):
        _begun(platform, job)
        raise CannotOperate(
            f"the planning of replay {job.id} was interrupted; it goes on now: apply it when it is planned"
        )
    raise CannotOperate(f"replay {job.id} {_WHY_NOT[job.state](job)}")


def cancel(platform: Platform, request: Request, operator: Operator) -> dict[str, Any]:
    """Call a replay off: runs that are under way end, no other one begins. Raises CannotOperate when it is over."""
    job = _load(platform, request)
    act = Act(operator.by, operator.reason, platform.clock())
    if job.state in {JobState.PLANNING, JobState.PLANNED}:
        saved = platform.replays.save(replace(job.begun(JobState.CANCELLED), cancelled=act))
        return told(saved)
    if job.state is JobState.APPLYING:
        cancelling = replace(job.begun(JobState.CANCELLING), cancelled=act)
        if platform.workflows.is_replaying(job.execution_name):
            return told(platform.replays.save(cancelling))
        return _begun(platform, cancelling)
    if _is_interrupted(platform, job, JobState.CANCELLING):
        return _begun(platform, job)
    raise CannotOperate(f"replay {job.id} {_WHY_NOT[job.state](job)}")


def told(job: ReplayJob) -> dict[str, Any]:
    """Tell which replay it is and how far it is."""
    return {"id": job.id, "state": job.state.value, "source": job.source.value}


def _begun(platform: Platform, job: ReplayJob) -> dict[str, Any]:
    """Write the job, then start the execution that works on it: of two who ask at once, one finds it changed."""
    saved = platform.replays.save(replace(job, executions=job.executions + 1, updated_at_ms=platform.clock()))
    return _started(platform, saved)


def _started(platform: Platform, job: ReplayJob) -> dict[str, Any]:
    platform.workflows.start_replay(job.execution_name, job.id)
    return told(job)


def _is_interrupted(platform: Platform, job: ReplayJob, state: JobState) -> bool:
    return job.state is state and not platform.workflows.is_replaying(job.execution_name)


def _source(platform: Platform, selection: Selection) -> Source:
    is_first, now_ms = platform.settings.stream_epoch <= _FIRST_EPOCH, platform.clock()
    source = choose_source(
        selection,
        now_ms,
        stream_since_ms=platform.stream_reader.keeps_since_ms(is_first=is_first) if selection.from_ms else now_ms,
        log_retention_ms=platform.settings.event_retention_s * 1000,
        has_archive=platform.archive.is_on,
    )
    if source is None:
        raise CannotOperate(
            "events of that time have left the log and the stream, and this stack has no archive: choose a later --from"
        )
    if source is Source.ARCHIVE:
        _refuse_before_archive(platform, selection.from_ms)
    return source


def _refuse_before_archive(platform: Platform, from_ms: int) -> None:
    """Refuse a time before the archive begins: a plan without its events would look like a whole one."""
    begins_ms = platform.archive.begins_ms()
    if begins_ms is None or from_ms < begins_ms:
        begins = "is empty" if begins_ms is None else f"begins at {_moment(begins_ms)}"
        raise CannotOperate(
            f"events of that time have left the log and the stream, and the archive {begins}: choose a later --from"
        )


def _load(platform: Platform, request: Request) -> ReplayJob:
    job_id = asked.text(request, "id")
    job = platform.replays.load(job_id) if job_id else None
    if job is None:
        raise CannotOperate(f"there is no replay {job_id!r}: keyturn replay list names them")
    return job


def _keys(request: Request) -> Sequence[str]:
    keys = request.get("keys") or []
    if not isinstance(keys, list) or any(key_problem(key) for key in keys):
        raise CannotOperate("a key is empty, too long or no text")
    if len(keys) > KEYS_MAX:
        raise CannotOperate(f"{len(keys)} keys are named, one replay takes {KEYS_MAX}: make several plans")
    return list(dict.fromkeys(keys))


def _selection(request: Request, named_keys: int) -> Selection:
    selection = Selection(
        named_keys=named_keys,
        from_position=_position(request, "from_position", START),
        to_position=_position(request, "to_position", END),
        from_ms=asked.whole(request, "from_ms"),
        to_ms=asked.whole(request, "to_ms"),
        type=asked.text(request, "type"),
        flow_id=asked.text(request, "flow_id"),
        route=asked.text(request, "route"),
        outcome=_outcome(request),
    )
    has_positions = selection.from_position != START or selection.to_position != END
    if has_positions and named_keys != 1:
        raise CannotOperate("positions are those of one key: name it, and no other")
    if selection == Selection():
        raise CannotOperate("nothing is selected: name keys, a time, a type, a route, a flow id or an outcome")
    return selection


def _position(request: Request, name: str, default: Position) -> Position:
    """Read a position, or the beginning of one: positions are compared as text."""
    value = asked.text(request, name, default)
    if len(value) > _POSITION_CHARACTERS_MAX:
        raise CannotOperate(f"{name} has {len(value)} characters, a position {_POSITION_CHARACTERS_MAX} at most")
    return Position(value)


def _outcome(request: Request) -> Outcome:
    name = asked.text(request, "outcome", Outcome.ANY)
    try:
        return Outcome(name)
    except ValueError:
        raise CannotOperate(f"there is no outcome {name!r}: one of {', '.join(Outcome)}") from None


def _rate(request: Request) -> int:
    rate = asked.whole(request, "rate", 10)
    if not 1 <= rate <= RATE_MAX:
        raise CannotOperate(f"the rate is {rate}: it must be 1 to {RATE_MAX} keys a second")
    return rate


def _applied_already(job: ReplayJob) -> str:
    return f"was applied already by {_told_act(job.applied)}"


def _cancelled_already(job: ReplayJob) -> str:
    return f"was cancelled by {_told_act(job.cancelled)}"


_WHY_NOT: Final[Mapping[JobState, Callable[[ReplayJob], str]]] = {
    JobState.PLANNING: lambda _: "is still being planned",
    JobState.PLANNED: lambda _: "is planned only",
    JobState.APPLYING: _applied_already,
    JobState.DONE: _applied_already,
    JobState.CANCELLING: _cancelled_already,
    JobState.CANCELLED: _cancelled_already,
}


def _told_act(act: Act | None) -> str:
    if act is None:
        return "somebody"
    return f"{act.by} at {_moment(act.at_ms)}: {act.reason}"


def _moment(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
