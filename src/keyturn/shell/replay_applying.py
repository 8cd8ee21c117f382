"""Applying a replay: pass over the keys of its plan until none is left to wait for.

A pass rewinds the keys that are planned, at the plan's rate, and looks how far those are that were rewound before.
What became of a key is written before the job is, and counted from what is written: a piece that is done twice counts
the same.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from keyturn.adapters import telemetry
from keyturn.core.replay_job import Act, JobState, ReplayJob, pass_ended
from keyturn.core.replay_plan import Fate, PlannedKey
from keyturn.core.state import KeyState
from keyturn.errors import CannotOperate, Conflict, LogIncomplete, StoreError, Unreadable
from keyturn.shell.dead_letters import close_run_again
from keyturn.shell.platform import Platform
from keyturn.shell.replay_versions import RouteVersions
from keyturn.shell.replays import AsPlanned, cancel_key, is_rewound, rewind_key
from keyturn.shell.side_by_side import for_a_while

_KEYS_A_PIECE: Final = 100
_HANDS: Final = 8
_WORKING_MS: Final = 5_000
"""Behind that a piece begins with no other key: one that the replayer's timeout cuts off begins anew. A key's dead
letters are looked for by the day, for as many days as its events came in."""
_LEFT_ALONE: Final = frozenset({Fate.NOTHING, Fate.DONE, Fate.REFUSED, Fate.CANCELLED})


@dataclass(frozen=True, slots=True)
class Piece:
    """What a piece of work came to."""

    job: ReplayJob
    rewinds: int
    """Keys that were rewound, for the rate to count."""
    is_pass_over: bool


def apply_on(platform: Platform, versions: RouteVersions, job: ReplayJob) -> Piece:
    """Do the next piece of a job's pass: apply its plan to some keys, or call them off when it is being cancelled."""
    page = platform.replays.keys(job.id, job.cursor, _KEYS_A_PIECE)
    is_last = len(page) < _KEYS_A_PIECE
    piece = _with_so_many_rewinds(page, job.rate) if job.state is JobState.APPLYING else page
    step = _cancel if job.state is JobState.CANCELLING else _apply
    before = [planned for _, planned in piece]
    readable, _ = platform.keys.load_readable(one.key for one in before if one.fate not in _LEFT_ALONE)
    states = {state.key: state for state in readable}
    after = for_a_while(
        platform, _HANDS, lambda one: _next(platform, versions, job, step, one, states), before, _WORKING_MS
    )
    piece, before = piece[: len(after)], before[: len(after)]
    is_last = is_last and len(piece) == len(page)
    changed = [new for old, new in zip(before, after, strict=True) if new != old]
    platform.replays.write_keys(job, changed)
    passing = Counter(job.passing) + Counter(one.fate for one in after)
    on = replace(job, passing=dict(passing), cursor=piece[-1][0] if piece else job.cursor)
    rewinds = sum(old.fate is Fate.PLANNED or new.chunk > old.chunk for old, new in zip(before, after, strict=True))
    return Piece(pass_ended(on) if is_last else on, rewinds, is_last)


_Step = Callable[[Platform, RouteVersions, ReplayJob, PlannedKey, KeyState], PlannedKey]


def _with_so_many_rewinds(page: Sequence[tuple[str, PlannedKey]], rate: int) -> Sequence[tuple[str, PlannedKey]]:
    """Cut a page behind as many keys as may be rewound in a second: more would be waited for in one go."""
    due = [place for place, (_, one) in enumerate(page) if _may_be_rewound(one)]
    return page[: due[rate - 1] + 1] if len(due) > rate else page


def _may_be_rewound(planned: PlannedKey) -> bool:
    """Whether a key is due, or will be once the rewind that is under way is through."""
    has_more = planned.fate not in _LEFT_ALONE and planned.chunk + 1 < planned.chunks
    return planned.fate is Fate.PLANNED or has_more


def _next(
    platform: Platform,
    versions: RouteVersions,
    job: ReplayJob,
    step: _Step,
    planned: PlannedKey,
    states: dict[str, KeyState],
) -> PlannedKey:
    """Do what is due for one key. What may pass by itself leaves it as it is, for the next pass.

    One that can't be read holds up no other: it is refused, or waited for if something was begun with it.
    """
    if planned.fate in _LEFT_ALONE:
        return planned
    try:
        state = states.get(planned.key) or platform.keys.load(planned.key)
        return step(platform, versions, job, planned, state)
    except (CannotOperate, LogIncomplete, Conflict, Unreadable) as error:
        passes_by_itself = isinstance(error, Conflict)
        if passes_by_itself or (isinstance(error, Unreadable) and not _is_untouched(job, planned)):
            telemetry.logger().warning("left for the next pass", extra={"replay": job.id, "reason": str(error)})
            return planned
        return replace(planned, fate=Fate.REFUSED, why=f"{error}{_left(planned)}")


def _is_untouched(job: ReplayJob, planned: PlannedKey) -> bool:
    """Whether a key can be refused whatever its state is: nothing was begun with it, and nobody calls it off."""
    return planned.fate is Fate.PLANNED and job.state is JobState.APPLYING


def _apply(
    platform: Platform, versions: RouteVersions, job: ReplayJob, planned: PlannedKey, state: KeyState
) -> PlannedKey:
    if planned.fate is Fate.PLANNED:
        return _rewind(platform, versions, job, planned, state)
    is_under_way = state.replay is not None and state.replay.id == rewind_name(job, planned)
    if is_under_way and state.parked is not None:
        return replace(planned, fate=Fate.PARKED, why=state.parked.reason)
    if is_under_way:
        return replace(planned, fate=Fate.APPLIED, why="")
    _close_dead_letters(platform, job, planned)
    if planned.chunk + 1 == planned.chunks:
        return replace(planned, fate=Fate.DONE, why="")
    return _rewind(platform, versions, job, replace(planned, chunk=planned.chunk + 1), state)


def _close_dead_letters(platform: Platform, job: ReplayJob, planned: PlannedKey) -> None:
    """Close the dead letters of what one of a key's rewinds, which is through, has run again."""
    spans = platform.replays.spans(job.id, planned, planned.chunk)
    close_run_again(platform, planned.key, spans, rewind_name(job, planned), _act(job.applied))


def _rewind(
    platform: Platform, versions: RouteVersions, job: ReplayJob, planned: PlannedKey, state: KeyState
) -> PlannedKey:
    name = rewind_name(job, planned)
    if not (versions.are_as_planned(planned) or is_rewound(platform, state, name, planned.version)):
        raise CannotOperate("the route of its events was changed since it was planned: plan again")
    rewind_key(
        platform,
        planned.key,
        platform.replays.spans(job.id, planned, planned.chunk),
        _act(job.applied).operator,
        replay=name,
        is_new_generation=job.is_new_generation,
        planned=AsPlanned(
            planned.version,
            planned.generation + planned.chunk * job.is_new_generation,
            planned.hold_at_ms,
        ),
    )
    return replace(planned, fate=Fate.APPLIED, why="")


def _cancel(
    platform: Platform, _versions: RouteVersions, job: ReplayJob, planned: PlannedKey, state: KeyState
) -> PlannedKey:
    # Whoever rewound it last, for the first time or once more, may have died before that was written.
    planned = _as_far_as_it_is(job, planned, state)
    name = rewind_name(job, planned)
    is_over = planned.fate is Fate.APPLIED and (state.replay is None or state.replay.id != name)
    # Whoever called it off may have died before that was written: then not all of it ran.
    is_through = is_over and not platform.outcomes.has_called_off(planned.key, name, planned.version)
    if is_through:
        _close_dead_letters(platform, job, planned)
    if is_through and planned.chunk + 1 == planned.chunks:
        return replace(planned, fate=Fate.DONE)
    cancel_key(platform, planned.key, name, _act(job.cancelled).operator)
    return replace(planned, fate=Fate.CANCELLED, why="")


def _as_far_as_it_is(job: ReplayJob, planned: PlannedKey, state: KeyState) -> PlannedKey:
    """Return a key with the next of its rewinds if that is under way."""
    further = replace(planned, chunk=planned.chunk + 1)
    is_further = state.replay is not None and state.replay.id == rewind_name(job, further)
    return further if is_further else planned


def rewind_name(job: ReplayJob, planned: PlannedKey) -> str:
    """Name the rewind of a key that is due or under way, as its state and its operation record carry it."""
    return f"{job.id}:{planned.chunk}"


def _left(planned: PlannedKey) -> str:
    return f" (after {planned.chunk} of its {planned.chunks} rewinds)" if planned.chunk else ""


def _act(act: Act | None) -> Act:
    if act is None:
        raise StoreError("the replay says not who asked for it")
    return act
