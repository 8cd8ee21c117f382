"""The sequencer's work: the last state of every execution reports how its run went, and the key goes on."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from keyturn.adapters import telemetry
from keyturn.adapters.keys import decode_state
from keyturn.core import commands as ask
from keyturn.core.actions import Count, Emit, HandOn, RecordAttempt
from keyturn.core.answers import Verdict, read_steps
from keyturn.core.commands import Ending, Outcome
from keyturn.core.draining import DrainingExecution
from keyturn.core.protocol import transition
from keyturn.core.run_header import RunHeader
from keyturn.core.state import KeyState, Phase
from keyturn.errors import KeyturnError, Throttled, Unreadable
from keyturn.shell.apply import apply, take_up
from keyturn.shell.breakers import judged
from keyturn.shell.change import Applied, Change
from keyturn.shell.draining import HandOver
from keyturn.shell.platform import Platform

_LATE_MS: Final = 60_000
"""Of a key whose oldest event is older each run tells its age: the alarm on it can't be set to less."""


def sequence(platform: Platform, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Finish the run that `payload` tells of; return what was made of it, and the next run if the execution goes on.

    Repeating it is harmless: the second time changes nothing, and hands the run that was claimed for this execution
    over once more, or starts one that nobody has begun once more. Raises Throttled, behind all else, where another
    key's run may have been claimed for this execution: called again, it finds out.
    """
    if not isinstance(payload, Mapping) or not {"run", "steps"} <= payload.keys():
        raise KeyturnError("the sequencer's input has no run and steps: pass them as statemachines/order.asl.json does")
    header = RunHeader.from_input(payload["run"])
    execution = DrainingExecution.from_payload(payload, header)
    verdict = _verdict(payload["steps"], execution)
    fields = telemetry.run_fields(header)
    if verdict.ending is None:
        telemetry.logger().warning("execution refused", extra=fields)
        return {"outcome": "refused"}
    change = Change(platform, header.key, hand_over=HandOver(execution))
    is_read = _tells_a_breaker(platform, header, verdict.ending)
    seen = None if is_read else _state_seen(header, verdict, payload.get("seen"))
    applied = apply(change, partial(_finish_command, change, header, verdict, verdict.ending), seen)
    refusal = applied.transition.refusal
    if refusal is None:
        _report(platform, header, verdict.ending, applied.state)
        _tell_missing(applied, fields)
    elif _may_go_on(change, verdict):
        take_up(change, header.fence, applied.state)
    outcome = _outcome(applied, verdict.ending)
    telemetry.logger().info(
        # Not the reason: a worker's message may quote its event. The attempt record keeps it.
        "run finished",
        extra=fields
        | {"outcome": outcome, "clean": verdict.ending.clean, "started_at_ms": header.started_at_ms}
        | _ran_in(header, execution),
    )
    if change.hand_over.is_in_doubt:
        raise Throttled("the key that was offered the slot could not be claimed: to be called again, to find out")
    return {"outcome": outcome, "refusal": refusal, **change.hand_over.answer}


def _verdict(steps: Any, execution: DrainingExecution | None) -> Verdict:
    """Read what the workers answered; where none is left to tell the execution's id, it may tell that itself."""
    verdict = read_steps(steps)
    if verdict.execution_id is not None or execution is None:
        return verdict
    return replace(verdict, execution_id=execution.id)


def _tells_a_breaker(platform: Platform, header: RunHeader, ending: Ending) -> bool:
    """Whether a breaker is told of this ending: before the write, so it must not be of an attempt that is over."""
    rules = platform.routes.named_or_missing(header.route).breaker
    if rules is None:
        return False
    has_failed = ending.outcome is not Outcome.SUCCEEDED
    return has_failed or platform.controls.recent().breaker(rules.name).wants_news


def _state_seen(header: RunHeader, verdict: Verdict, handed_over: Any) -> KeyState | None:
    """Return the key's state as it was written when the attempt was bound, which spares a read if it still stands.

    By the worker that bound it, or else by the sequencer that handed the run over already bound. It is only where the
    decision begins: the write is refused, with the state that stands, when the key has moved on.
    """
    told = verdict.seen if verdict.seen is not None else handed_over
    if not isinstance(told, Mapping):
        return None
    try:
        seen = decode_state(header.key, told)
    except Unreadable:
        return None
    run = seen.run if seen.phase is Phase.RUNNING and seen.fence == header.fence else None
    return seen if run is not None and run.execution_id == verdict.execution_id else None


def _tell_missing(applied: Applied, fields: Mapping[str, object]) -> None:
    missing = sum(
        one.value for one in applied.transition.actions if isinstance(one, Emit) and one.count is Count.MISSING
    )
    if missing:
        telemetry.logger().error("events missing", extra=dict(fields) | {"missing": missing})


def _finish_command(
    change: Change, header: RunHeader, verdict: Verdict, ending: Ending, state: KeyState
) -> ask.Command | None:
    platform = change.platform
    route = platform.routes.named_or_missing(header.route)
    is_ours = state.phase is Phase.RUNNING and state.fence == header.fence
    following, execution = None, change.hand_over.to
    name = execution.name if execution is not None else ""
    if is_ours and state.run is not None:
        # Before what follows is read: a breaker that this run closes holds its key's next one no more.
        ending = judged(platform, route, state, ending)
        had_turn = state.has_had_its_turn(platform.settings.slot_quantum, platform.clock())
        following = change.next_after(
            state,
            state.run.slice,
            lambda: platform.capacity.may_keep(platform.clock(), has_had_its_turn=had_turn),
        )
        execution = change.may_go_on_with(following)
    finish = ask.Finish(header.fence, verdict.execution_id, ending, route, following, name, execution)
    return replace(finish, heir=_heir(change, verdict, finish, state))


def _ran_in(header: RunHeader, execution: DrainingExecution | None) -> dict[str, str]:
    """Name the execution of a run that an earlier one's went on with: by the run's own name nobody finds it."""
    return {"ran_in": execution.name} if header.is_bound and execution is not None else {}


def _may_go_on(change: Change, verdict: Verdict) -> bool:
    """Whether the execution can go on, and its workers were told of it by the same id."""
    execution = change.hand_over.to
    return execution is not None and execution.id == verdict.execution_id


def _heir(change: Change, verdict: Verdict, finish: ask.Finish, state: KeyState) -> str:
    """Choose who is offered the slot and the execution, if they are given up: before the write, so that it is noted."""
    if not _may_go_on(change, verdict):
        return ""
    decided = transition(state, finish, change.platform.clock(), change.platform.settings.rules)
    return change.heirs.look_up() if HandOn() in decided.actions else ""


def _outcome(applied: Applied, ending: Ending) -> str:
    """Tell how the attempt was taken to have ended: one that failed is excused while its route's breaker is open."""
    records = (record for record in applied.transition.records if isinstance(record, RecordAttempt))
    return next((record.outcome for record in records), ending.outcome.value)


def _report(platform: Platform, header: RunHeader, ending: Ending, state: KeyState) -> None:
    now_ms = platform.clock()
    if ending.outcome is Outcome.SUCCEEDED:
        telemetry.duration_ms("PutToDone", now_ms - header.arrived_at_ms)
    # The watchdog sees the heads of its queues: a busy key, whose every run has a new deadline, is seldom among them.
    if state.pending_since_ms and now_ms - state.pending_since_ms > _LATE_MS:
        telemetry.oldest_unfinished(now_ms - state.pending_since_ms)
