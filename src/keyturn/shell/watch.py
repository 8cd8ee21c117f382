"""The watchdog's work: whatever is overdue in the index is mended, by the same transitions as everything else.

It looks at three queues: runs past their deadline, keys whose time to go on has come, and keys that wait for a slot
while one is free. It never scans the table, and never lists executions.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from keyturn.adapters import telemetry
from keyturn.adapters.table import chunks
from keyturn.core import commands as ask
from keyturn.core.commands import Evidence, Retime
from keyturn.core.naming import key_hash
from keyturn.core.route import Route
from keyturn.core.state import KeyState, Phase, Queue, Run, WaitsFor, queue_name
from keyturn.errors import StoreError, Throttled
from keyturn.shell.apply import apply, claim, divert, log_fields, start_again
from keyturn.shell.breakers import judged, look_at_all
from keyturn.shell.canaries import look_at_canary
from keyturn.shell.change import Change, Freed
from keyturn.shell.platform import Platform
from keyturn.shell.recovering import recover_all
from keyturn.shell.releasing import put_aside, release_all
from keyturn.shell.side_by_side import each, leave
from keyturn.shell.time_budget import HasTime
from keyturn.shell.waking import wake_at

_OVERDUE_A_BUCKET_MAX: Final = 2_000
"""Overdue keys of one bucket that a pass takes on, the most overdue first; a pass ends by its time before that."""

_LOADED_AT_ONCE: Final = 100
"""Key states that one BatchGetItem reads."""

_LOOK_AGAIN_MS: Final = 1_000
"""When slots are looked for again that keys of held routes were offered in vain."""

_AHEAD_A_BUCKET_MAX: Final = 20
"""Keys of one bucket whose times lie too far ahead that a pass corrects: a clock that is wrong is an exception."""


def watch(platform: Platform, has_time: HasTime) -> dict[str, int]:
    """Make one pass over the index; return how many keys were looked at, by queue."""
    now_ms = platform.clock()
    expired = [entry.key for entry in platform.index.overdue(Queue.RUNNING, now_ms, _OVERDUE_A_BUCKET_MAX)]
    ready = [entry.key for entry in platform.index.overdue(Queue.RETRY, now_ms, _OVERDUE_A_BUCKET_MAX)]
    _in_pieces(platform, expired, _expire_each, has_time)
    _in_pieces(platform, ready, _go_on, has_time)
    retimed = retime(platform, has_time)
    look_at_all(platform)
    released = release_all(platform, has_time)
    look_at_canary(platform)
    recovered = recover_all(platform, has_time)
    filled = fill_slots(platform, has_time)
    _measure(platform)
    done = {"expired": len(expired), "ready": len(ready), "filled": filled, "retimed": retimed}
    done |= {"released": released, "recovered": recovered}
    platform.passes.record("watchdog", now_ms, platform.clock(), done)
    return done


def _in_pieces(
    platform: Platform,
    keys: Sequence[str],
    mend: Callable[[Platform, Sequence[KeyState], HasTime], None],
    has_time: HasTime,
) -> None:
    """Load keys as many at a time as one read takes, and mend those, while there is time."""
    for piece in chunks(keys, _LOADED_AT_ONCE):
        if not has_time():
            return
        try:
            states, unreadable = platform.keys.load_readable(piece)
            mend(platform, states, has_time)
        except StoreError as error:
            leave(error)
            continue
        for left in unreadable:
            leave(left)


def _expire_each(platform: Platform, states: Sequence[KeyState], has_time: HasTime) -> None:
    each(platform, states, expire, has_time)


def _go_on(platform: Platform, states: Sequence[KeyState], has_time: HasTime) -> None:
    """Let keys go on whose time has come; free slots are dealt out to them at once."""
    now_ms = platform.clock()
    due = [state for state in states if state.waits_for is WaitsFor.TIME and state.not_before_ms <= now_ms]
    slots = platform.capacity.take(len(due), now_ms)
    each(platform, due[:slots], partial(_claim_loaded, has_slot=True), has_time)
    each(platform, due[slots:], partial(_claim_loaded, has_slot=False), has_time)
    each(platform, [state for state in states if state not in due], _wake_loaded, has_time)


def _claim_loaded(platform: Platform, state: KeyState, *, has_slot: bool) -> None:
    claim(platform, state.key, has_slot=has_slot, freed=Freed.LEFT, state=state)


def wake(platform: Platform, key: str) -> None:
    """Let a key go on whose time has come, or whose claimed run nobody began; woken too early, it is woken again."""
    _wake_loaded(platform, platform.keys.load(key))


def _wake_loaded(platform: Platform, state: KeyState) -> None:
    if state.is_unstarted:
        start_again(platform, state)
    elif state.parked is not None and state.parked.diverts:
        divert(platform, state.key)
    elif state.phase is Phase.WAITING and state.waits_for is WaitsFor.TIME:
        if platform.clock() < state.not_before_ms:
            wake_at(platform, state.key, state.not_before_ms)
        else:
            has_slot = platform.capacity.take(1, platform.clock()) == 1
            claim(platform, state.key, has_slot=has_slot, state=state)


def fill_slots(platform: Platform, has_time: HasTime) -> int:
    """Give free slots to the keys that wait longest; return to how many."""
    now_ms = platform.clock()
    offered = platform.capacity.offer(now_ms)
    if offered == 0:
        return 0
    found = [entry.key for entry in platform.index.some_waiting(offered)][:offered]
    keys = found[: platform.capacity.take_offered(len(found), offered, now_ms)]
    aside: list[str] = []

    def start(platform: Platform, key: str) -> None:
        if claim(platform, key, has_slot=True).state.waits_for is WaitsFor.RELEASE:
            aside.append(key)

    each(platform, keys, start, has_time)
    if aside:
        put_aside(platform, has_time)
        wake_at(platform, "", platform.clock() + _LOOK_AGAIN_MS)
    return len(keys) - len(aside)


def expire(platform: Platform, state: KeyState) -> None:
    """Give an attempt up that is past its deadline: stop what still runs of it, let the protocol decide the rest."""
    run = state.run
    if state.phase is not Phase.RUNNING or run is None or platform.clock() < run.deadline_ms:
        return
    _expire(Change(platform, state.key, Freed.LEFT), state, _evidence(run, exists=_stop(platform, run)))


def _stop(platform: Platform, run: Run) -> bool:
    """Stop a run's execution; tell whether there was one.

    Where some worker has begun, the fence is what ends the attempt, and its execution ends by its own timeout: a
    throttled stop keeps nobody waiting then.
    """
    try:
        return platform.executions.stop(run, "past its run's deadline")
    except Throttled:
        if run.execution_id is None:
            raise
        return True


def ended_without_finish(platform: Platform, execution_name: str, key: str) -> None:
    """Take up that an execution failed, timed out or was aborted: its run may not have finished.

    If it has, the sequencer may have died twice between claiming the next run and starting it: that is started again.
    """
    state = platform.keys.load(key)
    if state.phase is Phase.RUNNING and state.run is not None and state.run.execution_name == execution_name:
        _expire(Change(platform, key), state, Evidence.ENDED_WITHOUT_FINISH)
    elif state.is_unstarted:
        start_again(platform, state)


def _evidence(run: Run, *, exists: bool) -> Evidence:
    if run.heartbeat_at_ms:
        return Evidence.HEARTBEAT_LOST
    has_begun = run.execution_id is not None
    may_have_run = exists and run.kind.has_history
    return Evidence.HUNG if has_begun or may_have_run else Evidence.NEVER_STARTED


def _expire(change: Change, found: KeyState, evidence: Evidence) -> None:
    applied = apply(change, partial(_expire_command, change, found.fence, evidence), found)
    if applied.transition.refusal is None and found.run is not None:
        route = change.platform.routes.named_or_missing(found.run.slice.route)
        telemetry.logger().warning(
            "attempt given up",
            extra=log_fields(found, found.run, route) | {"evidence": evidence},
        )


def _expire_command(change: Change, fence: int, evidence: Evidence, state: KeyState) -> ask.Command | None:
    if state.run is None or state.fence != fence or state.phase is not Phase.RUNNING:
        return None
    route = change.platform.routes.named_or_missing(state.run.slice.route)
    following = change.next_after(state, state.run.slice, lambda: False)
    found = ask.ending_of(evidence).outcome
    judged_as = judged(change.platform, route, state, ask.ending_of(evidence)).outcome
    return ask.Expire(fence, evidence, route, following, excuse=judged_as if judged_as is not found else None)


def retime(platform: Platform, has_time: HasTime) -> int:
    """Correct times that no right clock can have set: their keys would be stuck for as long as that clock was ahead.

    Returns how many keys had one.
    """
    routes, rules = platform.routes.routes, platform.settings.rules
    now_ms, slack_ms = platform.clock(), rules.clock_margin_ms + platform.settings.index_rounding_ms
    run_s = max(_longest_run_s(route) for route in routes)
    wait_s = max(max(route.backoff.max_s, route.worker_timeout_s) for route in routes)
    ahead = {
        entry.key: latest_ms
        for queue, latest_ms in (
            (Queue.RUNNING, now_ms + run_s * 1000 + slack_ms),
            (Queue.RETRY, now_ms + int(wait_s * 1000) + slack_ms),
            (Queue.WAITING, now_ms + slack_ms),
        )
        for entry in platform.index.beyond(queue, latest_ms, _AHEAD_A_BUCKET_MAX)
    }
    each(platform, list(ahead), lambda _platform, key: _retime(platform, key, ahead[key]), has_time)
    return len(ahead)


def _retime(platform: Platform, key: str, latest_ms: int) -> None:
    applied = apply(Change(platform, key), lambda _state: Retime(latest_ms))
    if applied.has_changed:
        telemetry.count("ClocksCorrected")
        telemetry.logger().warning("a time far ahead was corrected", extra={"key_hash": key_hash(key)})


def _longest_run_s(route: Route) -> int:
    """Tell how far ahead a deadline may lie: a worker's heartbeat, late in its Lambda's time, starts the run's anew."""
    return route.run_timeout_s + route.worker_timeout_s


def _measure(platform: Platform) -> None:
    now_ms = platform.clock()
    for queue, name in ((Queue.RUNNING, "Running"), (Queue.WAITING, "WaitingKeys"), (Queue.PARKED, "ParkedKeys")):
        telemetry.count(name, platform.index.count(queue))
    held = [queue_name(Queue.HELD, route) for route in platform.controls.recent().routes]
    heads = {entry.key for family in (*Queue, *held) for entry in platform.index.heads(family)}
    states, _ = platform.keys.load_readable(heads)
    since = [state.pending_since_ms for state in states if state.pending_since_ms]
    telemetry.oldest_unfinished(now_ms - min(since, default=now_ms))
