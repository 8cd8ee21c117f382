"""What is done with releases: publish, try, promote, roll back. Who, when and why is recorded with each change."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from keyturn.adapters import telemetry
from keyturn.adapters.controls import Moved
from keyturn.adapters.rollouts import ReleaseRecord, record_item
from keyturn.adapters.wake import Subject
from keyturn.core import rollout as core
from keyturn.core.commands import Operator
from keyturn.core.rollout import Canary, Rollout
from keyturn.errors import CannotOperate, StoreError, Unreadable
from keyturn.shell.platform import Platform
from keyturn.shell.waking import wake_at

_TRIES_MAX: Final = 12

_Decide = Callable[[Rollout], Rollout]
"""Makes the next rollout of the one that stands; raises CannotOperate when what is asked doesn't fit it."""


def begin(platform: Platform) -> int:
    """Give out the number of a release that is about to be published."""
    return _change(platform, core.begun, lambda _now: ()).last


def publish(
    platform: Platform,
    number: int,
    machines: Mapping[str, str],
    workers: Mapping[str, str],
    operator: Operator,
) -> Rollout:
    """Make a release known whose versions stand: ARNs by state machine (`WORKFLOW-KIND`) and by worker."""
    versions = {name: _version_of(arn) for name, arn in machines.items()}
    now_ms = platform.clock()
    story = [_entry("Publish", operator, now_ms)]
    worker_timeout_s = max(route.worker_timeout_s for route in platform.routes.routes)

    def decide(rollout: Rollout) -> Rollout:
        return core.published(rollout, number, versions, now_ms, worker_timeout_s=worker_timeout_s)

    record = ReleaseRecord(number, machines, workers, story)
    return _change(platform, decide, lambda _rollout: (record,))


def try_out(platform: Platform, canary: Canary, operator: Operator) -> Rollout:
    """Let a share of the keys take a release, or change the share of the one that is being tried."""
    entry = _entry("Canary", operator, canary.since_ms) | {"share": canary.share}
    return _change(
        platform, lambda rollout: core.tried(rollout, canary), lambda _rollout: _told(platform, canary.number, entry)
    )


def promote(platform: Platform, number: int | None, operator: Operator, *, is_canary_only: bool = False) -> Rollout:
    """Make a release everybody's; the canary if none is named."""
    now_ms = platform.clock()

    def decide(rollout: Rollout) -> Rollout:
        _refuse_other(rollout, number, is_canary_only=is_canary_only)
        return core.promoted(rollout, number, now_ms)

    return _change(platform, decide, lambda after: _told(platform, after.stable, _entry("Promote", operator, now_ms)))


def roll_back(platform: Platform, number: int | None, operator: Operator, *, is_canary_only: bool = False) -> Rollout:
    """Take a release back: its keys leave it at their next attempt or run, those it parked are resumed."""
    now_ms = platform.clock()

    def decide(rollout: Rollout) -> Rollout:
        _refuse_other(rollout, number, is_canary_only=is_canary_only)
        return core.rolled_back(rollout, number, now_ms)

    def records(after: Rollout) -> Sequence[ReleaseRecord]:
        return _told(platform, after.rolled_back[-1], _entry("RollBack", operator, now_ms))

    done = _change(platform, decide, records)
    wake_at(platform, str(done.rolled_back[-1]), platform.clock(), Subject.RELEASE)
    return done


def _refuse_other(rollout: Rollout, number: int | None, *, is_canary_only: bool) -> None:
    if is_canary_only and (number is None or not rollout.is_canary(number)):
        raise CannotOperate(f"release {number} is not being tried any more")


def _change(platform: Platform, decide: _Decide, records: Callable[[Rollout], Sequence[ReleaseRecord]]) -> Rollout:
    """Change the rollout by compare-and-set; the records of the releases that it is about are written with it."""
    before = platform.controls.read().rollout
    for attempt in range(_TRIES_MAX):
        after = decide(before)
        try:
            return platform.controls.save_rollout(after, [record_item(record) for record in records(after)])
        except Moved as moved:
            before = moved.standing
            platform.process.rest(0.01 * 2 ** min(attempt, 5))
    raise StoreError(f"the releases were changed by others {_TRIES_MAX} times in a row; try again")


def _told(platform: Platform, number: int, entry: Mapping[str, Any]) -> Sequence[ReleaseRecord]:
    """Return a release's record with one more entry in its story. Written with the rollout that was read before it."""
    try:
        record = platform.releases.get(number)
    except Unreadable as error:
        # Another version wrote it. What is done with the release must not wait for its story.
        telemetry.logger().warning("a release's story is left as it is", extra={"reason": str(error)})
        return ()
    return (replace(record, story=[*record.story, entry]),) if record is not None else ()


def _entry(done: str, operator: Operator, at_ms: int) -> dict[str, Any]:
    return {"done": done, "by": operator.by, "reason": operator.reason, "at_ms": at_ms}


def _version_of(arn: str) -> int:
    version = arn.rpartition(":")[2]
    if not version.isdigit():
        raise CannotOperate(f"{arn} is no version of a state machine: its ARN must end in a number")
    return int(version)
