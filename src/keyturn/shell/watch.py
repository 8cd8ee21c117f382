"""The watchdog's work: whatever is overdue in the index is mended, by the same transitions as everything else.

It looks at three queues: runs past their deadline, keys whose time to go on has come, and keys that wait for a slot
while one is free. It never scans the table, and never lists executions.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from keyturn.adapters import telemetry
from keyturn.core import commands as ask
from keyturn.core.commands import Evidence
from keyturn.core.state import KeyState, Phase, Queue, Run, WaitsFor
from keyturn.errors import StoreError
from keyturn.shell.apply import apply, claim, divert, log_fields, start_again, wake_at
from keyturn.shell.change import Change
from keyturn.shell.platform import Platform
from keyturn.shell.time_budget import HasTime

_THREADS: Final = 8
_OVERDUE_A_BUCKET_MAX: Final = 200
"""Overdue keys of one bucket that a pass takes on; the next pass takes the rest, the most overdue first."""


def watch(platform: Platform, has_time: HasTime) -> dict[str, int]:
    """Make one pass over the index; return how many keys were looked at, by queue."""
    now_ms = platform.clock()
    expired = [entry.key for entry in platform.index.overdue(Queue.RUNNING, now_ms, _OVERDUE_A_BUCKET_MAX)]
    ready = [entry.key for entry in platform.index.overdue(Queue.RETRY, now_ms, _OVERDUE_A_BUCKET_MAX)]
    _each(platform, expired, expire, has_time)
    _each(platform, ready, wake, has_time)
    filled = fill_slots(platform, has_time)
    _measure(platform)
    return {"expired": len(expired), "ready": len(ready), "filled": filled}


def wake(platform: Platform, key: str) -> None:
    """Let a key go on whose time has come, or whose claimed run nobody began; woken too early, it is woken again."""
    state = platform.keys.load(key)
    if state.is_unstarted:
        start_again(platform, state)
    elif state.parked is not None and state.parked.diverts:
        divert(platform, key)
    elif state.phase is Phase.WAITING and state.waits_for is WaitsFor.TIME:
        if platform.clock() < state.not_before_ms:
            wake_at(platform, key, state.not_before_ms)
        else:
            claim(platform, key, has_slot=platform.capacity.take(1, platform.clock()) == 1)


def fill_slots(platform: Platform, has_time: HasTime) -> int:
    """Give free slots to the keys that wait longest; return to how many."""
    now_ms = platform.clock()
    load = platform.capacity.load(now_ms)
    wanted = min(load.waiting, platform.settings.max_in_flight_runs)
    free = platform.capacity.take(wanted, now_ms)
    if free == 0:
        return 0
    keys = [entry.key for entry in platform.index.some_waiting(free)][:free]
    _each(platform, keys, _claim, has_time)
    return len(keys)


def expire(platform: Platform, key: str) -> None:
    """Give an attempt up that is past its deadline: stop what still runs of it, let the protocol decide the rest."""
    state = platform.keys.load(key)
    run = state.run
    if state.phase is not Phase.RUNNING or run is None or platform.clock() < run.deadline_ms:
        return
    is_running = platform.executions.is_running(run)
    if is_running:
        platform.executions.stop(run, "past its run's deadline")
    _expire(platform, state, run, _evidence(run, is_running=is_running))


def ended_without_finish(platform: Platform, execution_name: str, key: str) -> None:
    """Take up that an execution failed, timed out or was aborted: its run may not have finished."""
    state = platform.keys.load(key)
    if state.phase is Phase.RUNNING and state.run is not None and state.run.execution_name == execution_name:
        _expire(platform, state, state.run, Evidence.ENDED_WITHOUT_FINISH)


def _evidence(run: Run, *, is_running: bool) -> Evidence:
    if run.execution_id is None and not is_running:
        return Evidence.NEVER_STARTED
    return Evidence.HUNG


def _expire(platform: Platform, found: KeyState, run: Run, evidence: Evidence) -> None:
    change = Change(platform, found.key)
    applied = apply(change, partial(_expire_command, change, found.fence, evidence), found)
    if applied.transition.refusal is None:
        route = platform.routes.named_or_missing(run.slice.route)
        telemetry.logger().warning(
            "attempt given up",
            extra=log_fields(found, run, route) | {"evidence": evidence},
        )


def _expire_command(change: Change, fence: int, evidence: Evidence, state: KeyState) -> ask.Command | None:
    if state.run is None or state.fence != fence or state.phase is not Phase.RUNNING:
        return None
    route = change.platform.routes.named_or_missing(state.run.slice.route)
    following = change.next_after(state, state.run.slice, lambda: False)
    return ask.Expire(fence, evidence, route, following)


def _claim(platform: Platform, key: str) -> None:
    claim(platform, key, has_slot=True)


def _each(platform: Platform, keys: Sequence[str], mend: Callable[[Platform, str], None], has_time: HasTime) -> None:
    """Mend keys side by side while there is time; what fails or is left stays in the index for the next pass."""

    def mend_one(key: str) -> None:
        if not has_time():
            return
        try:
            mend(platform, key)
        except StoreError as error:
            telemetry.logger().warning("left for the next pass", extra={"reason": str(error)})

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(mend_one, keys))


def _measure(platform: Platform) -> None:
    now_ms = platform.clock()
    for queue, name in ((Queue.RUNNING, "Running"), (Queue.WAITING, "WaitingKeys"), (Queue.PARKED, "ParkedKeys")):
        telemetry.count(name, platform.index.count(queue))
    heads = {entry.key for queue in Queue for entry in platform.index.heads(queue)}
    since = [state.pending_since_ms for state in platform.keys.load_many(heads).values() if state.pending_since_ms]
    telemetry.seconds("OldestUnfinishedAge", max(0, now_ms - min(since, default=now_ms)) / 1000)
