"""The replayer's work: whatever is due for one replay, a slice of it at a time.

The replay workflow calls it until it says that it is through. All that it knows stands in the job: a slice that dies is
begun again by the workflow's retry, and what it had done by then is found done.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from keyturn.adapters import telemetry
from keyturn.core.clocks import is_put_off
from keyturn.core.replay_job import ACTIVE, JobState, ReplayJob, pause_s
from keyturn.errors import JobChanged, KeyturnError, Throttled
from keyturn.limits import LAMBDA_S_MAX
from keyturn.shell.platform import Platform
from keyturn.shell.replay_applying import apply_on
from keyturn.shell.replay_planning import plan_on
from keyturn.shell.replay_versions import RouteVersions
from keyturn.shell.time_budget import HasTime

TURNS_MAX: Final = 1_500
"""Slices of one execution: about ten events of its history each, of which there may be 25,000 (Step Functions Developer
Guide, "Service quotas"). Then another execution takes over."""

_ID_CHARACTERS_MAX: Final = 64

_THROTTLED_PAUSE_S: Final = 5


@dataclass(slots=True)
class _Slice:
    """One slice of work on a job, by the one who has it until `busy_until_ms`."""

    platform: Platform
    has_time: HasTime
    versions: RouteVersions
    busy_until_ms: int

    def take(self, job: ReplayJob) -> ReplayJob:
        """Make sure that nobody else is at work on the job. Raises JobChanged when somebody was quicker."""
        return self.save(replace(job, busy_until_ms=self.busy_until_ms))

    def work_on(self, job: ReplayJob) -> tuple[ReplayJob, int]:
        """Work until the time is up or there is something to wait for; return the job and how long to wait."""
        pause = 0
        while job.state in ACTIVE and not pause and self.has_time() and self.has(job):
            try:
                job, pause = self._piece(job)
            except JobChanged:
                job = self.reloaded(job)  # an operator's word: it may have been cancelled
        return job, max(1, pause)

    def _piece(self, job: ReplayJob) -> tuple[ReplayJob, int]:
        if job.state is JobState.PLANNING:
            return self.save(plan_on(self.platform, self.versions, job)), 0
        began_ms = self.platform.clock()
        piece = apply_on(self.platform, self.versions, job)
        saved = self.save(piece.job)
        if piece.rewinds:
            took_s = (self.platform.clock() - began_ms) / 1000
            self.platform.process.sleep(max(0.0, piece.rewinds / job.rate - took_s))
        return saved, pause_s(saved) if piece.is_pass_over else 0

    def has(self, job: ReplayJob) -> bool:
        """Whether the job is still this slice's."""
        return job.busy_until_ms == self.busy_until_ms

    def reloaded(self, job: ReplayJob) -> ReplayJob:
        """Read the job as it stands now."""
        return self.platform.replays.load(job.id) or job

    def save(self, job: ReplayJob) -> ReplayJob:
        """Write the job, with the time."""
        return self.platform.replays.save(replace(job, updated_at_ms=self.platform.clock()))


def work_on_replay(
    platform: Platform,
    request: Mapping[str, Any],
    has_time: HasTime,
    remaining_ms: int,
) -> dict[str, Any]:
    """Do a slice of the work on the replay `id`; answer whether it is through, else how long to wait before the next.

    `remaining_ms` is how long the invocation may take at most.
    """
    job_id, turn = _asked(request)
    telemetry.logger().append_keys(replay=job_id)
    job = platform.replays.load(job_id)
    if job is None or job.state not in ACTIVE:
        return _answer(job_id, turn, is_through=True)
    now_ms = platform.clock()
    if is_put_off(job.busy_until_ms, now_ms, LAMBDA_S_MAX * 1_000):
        return _answer(job_id, turn, wait_s=1 + (job.busy_until_ms - now_ms) // 1000)
    part = _Slice(
        platform,
        has_time,
        RouteVersions(platform),
        now_ms + remaining_ms + platform.settings.clock_margin_ms,
    )
    try:
        after, wait_s = part.work_on(part.take(job))
    except JobChanged:
        return _answer(job_id, turn)
    except Throttled as error:
        telemetry.logger().warning("throttled; goes on later", extra={"reason": str(error)})
        after, wait_s = part.reloaded(job), _THROTTLED_PAUSE_S
    return _released(part, after, turn, wait_s)


def _asked(request: Mapping[str, Any]) -> tuple[str, int]:
    """Return which replay it is and the number of this slice. Raises KeyturnError for a call by hand."""
    job_id, turn = (request.get("id"), request.get("turn")) if isinstance(request, Mapping) else (None, None)
    if not isinstance(job_id, str) or not 1 <= len(job_id) <= _ID_CHARACTERS_MAX or not isinstance(turn, int):
        raise KeyturnError("the replayer's input has no id and turn: apply a replay by `keyturn replay apply`")
    return job_id, turn + 1


def _released(part: _Slice, job: ReplayJob, turn: int, wait_s: int) -> dict[str, Any]:
    """Let the job go; hand it over to another execution when this one's history grows long."""
    is_through = job.state not in ACTIVE
    hands_over = not is_through and turn >= TURNS_MAX
    if part.has(job):
        job = _let_go(part, replace(job, executions=job.executions + hands_over))
    if hands_over:
        part.platform.workflows.start_replay(job.execution_name, job.id)
    telemetry.logger().info("slice of a replay done", extra={"state": job.state, "revision": job.revision})
    return _answer(job.id, turn, wait_s=wait_s, is_through=is_through or hands_over)


def _let_go(part: _Slice, job: ReplayJob) -> ReplayJob:
    """Say that nobody is at work on the job any more; should that fail, others wait until this slice is surely over."""
    try:
        return part.save(replace(job, busy_until_ms=0))
    except JobChanged:
        return job


def _answer(job_id: str, turn: int, *, wait_s: int = 1, is_through: bool = False) -> dict[str, Any]:
    return {"id": job_id, "turn": turn, "wait_s": wait_s, "is_through": is_through}
