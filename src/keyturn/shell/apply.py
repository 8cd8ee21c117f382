"""The one way to change a key: decide and write (see `change`), then carry out what the decision asks for."""

from dataclasses import replace
from functools import partial
from typing import Final, assert_never

from keyturn.adapters import telemetry
from keyturn.core import commands as ask
from keyturn.core.actions import (
    Action,
    CountAttempt,
    DivertPending,
    Emit,
    GoOnWith,
    HandOn,
    SeekSlot,
    StartRun,
    WakeAt,
)
from keyturn.core.log_entry import execution_input
from keyturn.core.positions import Position
from keyturn.core.route import Kind, Route
from keyturn.core.state import KeyState, Phase, Run, to_run
from keyturn.errors import CannotStart, LogIncomplete, StoreError, Throttled
from keyturn.limits import EXECUTION_INPUT_BYTES_MAX
from keyturn.shell.canaries import count_attempt
from keyturn.shell.change import Applied, Change, CommandFor, Freed, log_is_short
from keyturn.shell.heirs import HANDS_MAX
from keyturn.shell.platform import Platform
from keyturn.shell.side_by_side import leave
from keyturn.shell.waking import wake_at

_DIVERTED_AT_ONCE: Final = 100

_START_AGAIN_MS: Final = 5_000
"""When the watchdog starts a claimed run again whose start was throttled, should nobody have done so before."""

_LOOK_AGAIN_MS: Final = 2_000
"""When the watchdog looks for a slot that nobody took: longer than the count of runs in flight may be old."""


def apply(change: Change, command_for: CommandFor, state: KeyState | None = None) -> Applied:
    """Apply the command that `command_for` makes of the key's state, or nothing when it makes none.

    `state` spares the first load. Raises Conflict when the key kept moving on, and Throttled or StoreError when AWS
    failed; nothing is half done then that a repetition, a redelivery or the watchdog would not complete.
    """
    applied = change.decide(command_for, state)
    _carry_all_out(change, applied)
    return applied


def apply_unless_refused(change: Change, command_for: CommandFor) -> Applied:
    """Apply a command as `apply` does; one that is refused does nothing at all.

    A refusal else starts a claimed run again that nobody began. That isn't for operators and replays: their functions
    have no right to start workflows, and somebody who has comes by.
    """
    applied = change.decide(command_for, None)
    if applied.transition.refusal is None:
        _carry_all_out(change, applied)
    return applied


def _carry_all_out(change: Change, applied: Applied) -> None:
    for action in applied.transition.actions:
        _carry_out(change, action, applied.state)


def claim(
    platform: Platform,
    key: str,
    *,
    has_slot: bool,
    freed: Freed = Freed.HANDED_ON,
    state: KeyState | None = None,
    is_probe: bool = False,
) -> Applied:
    """Start what a waiting key has to run, if it may start now; a probe may though its route is held.

    `state` spares the first load.
    """
    change = Change(platform, key, freed, is_probe)
    return apply(change, partial(_claim_command, change, has_slot), state)


def _claim_command(change: Change, has_slot: bool, state: KeyState) -> ask.Command | None:
    if state.phase is not Phase.WAITING:
        return None
    if state.run is not None:
        following: ask.Next | None = change.again(state.run, has_slot=has_slot)
    else:
        try:
            following = change.next_of(state, lambda: has_slot)
        except LogIncomplete as error:
            return ask.Park(str(error))
    return ask.Claim(following) if following else None


def start_again(platform: Platform, state: KeyState) -> None:
    """Start the claimed run of a key once more, if no worker has begun it."""
    change = Change(platform, state.key)
    apply(change, lambda found: ask.Admit(found.tail, 0, platform.clock(), None, is_redelivery=True), state)


def divert(platform: Platform, key: str) -> None:
    """Dead-letter what queues behind a run that failed for good, piece by piece until nothing is left."""
    while True:
        state = platform.keys.load(key)
        if state.parked is None or not state.parked.diverts or not state.has_pending:
            return
        cursor, through = to_run(state) or (state.cursor, state.tail)
        entries = platform.log.read_behind(key, cursor, through, _DIVERTED_AT_ONCE)
        if not entries:
            raise log_is_short(key, cursor, through)
        reason = f"behind a run that failed: {state.parked.reason}"
        for entry in entries:
            route = platform.routes.for_type(entry.type)
            name = route.name if route else ""
            platform.outcomes.record_dead_letter(
                key, entry, name, reason, platform.clock(), since_ms=state.parked.at_ms
            )
        apply(Change(platform, key), _divert_command(state.cursor, entries[-1].position, len(entries)), state)


def hand_on(change: Change) -> None:
    """Give a freed slot to one of the keys that wait longest; what isn't taken is left to the watchdog, soon.

    What is wrong with those keys is none of the caller's business: its own run has ended well.
    """
    platform = change.platform
    now_ms = platform.clock()
    try:
        slots = platform.capacity.hand_on(now_ms)
        if slots is None or (slots > 0 and _are_taken(change, slots)):
            return
    except Throttled as error:
        leave(error)
    wake_at(platform, "", now_ms + _LOOK_AGAIN_MS)


def _are_taken(change: Change, slots: int) -> bool:
    """Offer slots to keys that wait; tell whether all were taken. Those that nobody waits for are given back.

    Others aren't: they were offered to keys that other hands took, and each hand that came in vain would pay a write.
    """
    offered = 0
    for key in change.heirs:
        offered += 1
        slots -= _takes_slot(change, key)
        if slots == 0:
            return True
    if offered < HANDS_MAX:
        change.platform.capacity.give_back_unwanted(slots)
    return False


def _takes_slot(change: Change, key: str) -> bool:
    """Offer a slot to a waiting key; tell whether it took it. One that can't be read, say, holds up no other."""
    is_noted = key == change.heirs.first
    try:
        applied = (
            _inherit(change, key) if is_noted else claim(change.platform, key, has_slot=True, freed=Freed.LOOKED_FOR)
        )
    except Throttled:
        raise  # so would be the next one
    except StoreError as error:
        leave(error)
        return False
    has_been_claimed = applied.has_changed and applied.state.phase is Phase.RUNNING
    return has_been_claimed or (is_noted and bool(change.hand_over.answer))


def _inherit(change: Change, heir: str) -> Applied:
    """Claim what a waiting key has to run, for the execution that has ended a run of another one if that can go on."""
    claiming = Change(change.platform, heir, Freed.LOOKED_FOR, hand_over=change.hand_over)

    def command_for(found: KeyState) -> ask.Command | None:
        command = _rejoin_or_claim(claiming, found)
        if isinstance(command, ask.Claim):
            return replace(command, execution=claiming.may_go_on_with(command.next))
        return command

    return apply(claiming, command_for)


def _rejoin_or_claim(claiming: Change, found: KeyState) -> ask.Command | None:
    """Ask for a run that was claimed for the execution, or claim what waits, for nobody.

    It may have been claimed a moment ago by this very change: the SDK sends a write again whose answer was lost, and
    that is refused if somebody else has changed the key since.
    """
    execution = claiming.hand_over.to
    if found.phase is Phase.RUNNING and execution is not None:
        return ask.Rejoin(execution)
    return _claim_command(claiming, True, found)


def take_up(change: Change, fence: int, state: KeyState) -> None:
    """Hand over what the execution that asks should have got when it reported its attempt of `fence` before.

    The call that was to bring it died, or its answer was lost: the key to which it offered its slot is noted in the
    `state` of its own. That key's run is bound to it and nobody else would ever do it. If it still waits, it is claimed
    for nobody: should this call be a late one, the execution has gone on long since and would never hear of it. That
    keeps out a claim of the call before too, if it is still under way.
    """
    noted, execution = state.handed_on, change.hand_over.to
    if noted is None or noted.fence != fence or execution is None or change.hand_over.answer:
        return
    claiming = Change(change.platform, noted.key, Freed.LOOKED_FOR, hand_over=change.hand_over)
    try:
        apply(claiming, partial(_rejoin_or_claim, claiming))
    except Throttled:
        raise
    except StoreError as error:
        leave(error)


def log_fields(state: KeyState, run: Run, route: Route) -> dict[str, object]:
    """Return what every log line about a run carries."""
    return {
        "flow_id": run.slice.flow_id,
        "key": telemetry.loggable(state.key, is_personal=route.personal_key),
        "position": run.slice.first,
        "attempt": run.attempt,
        "fence": state.fence,
        "route": run.slice.route,
        "execution": run.execution_name,
    }


def _carry_out(change: Change, action: Action, state: KeyState) -> None:
    match action:
        case StartRun():
            _start(change, state, action.run)
        case GoOnWith():
            _go_on(change, state, action)
        case WakeAt():
            wake_at(change.platform, change.key, action.at_ms)
        case HandOn():
            _free(change)
        case SeekSlot():
            wake_at(change.platform, "", change.platform.clock())
        case DivertPending():
            divert(change.platform, change.key)
        case Emit():
            telemetry.count(action.count, action.value)
        case CountAttempt():
            count_attempt(change.platform, action.release, has_succeeded=action.has_succeeded)
        case _:
            assert_never(action)


def _free(change: Change) -> None:
    match change.freed:
        case Freed.HANDED_ON:
            hand_on(change)
        case Freed.LOOKED_FOR:
            wake_at(change.platform, "", change.platform.clock())
        case Freed.LEFT:
            pass
        case _:
            assert_never(change.freed)


def _start(change: Change, state: KeyState, run: Run) -> None:
    platform = change.platform
    fields = log_fields(state, run, platform.routes.named_or_missing(run.slice.route))
    try:
        text = _checked(_input_of(change, state, run))
        platform.executions.start(run, text, platform.controls.pin(state.release, run.machine).machine)
    except (CannotStart, LogIncomplete) as error:
        telemetry.count("StartFailed")
        telemetry.logger().error("run can never start", extra=fields | {"reason": str(error)})
        apply(change, _give_up_command(change, state.fence, str(error)))
    except Throttled:
        telemetry.count("StartFailed")
        wake_at(platform, change.key, platform.clock() + _START_AGAIN_MS)
        raise
    else:
        # One line a run is told at INFO, when it ends: log bytes are a fifth of what a run costs.
        telemetry.logger().debug("run started", extra=fields)


def _go_on(change: Change, state: KeyState, asked: GoOnWith) -> None:
    """Hand a run over; raises LogIncomplete, which ends the execution: the run's next attempt parks the key then."""
    change.hand_over.give(asked.execution, state, _input_of(change, state, asked.run))
    fields = log_fields(state, asked.run, change.platform.routes.named_or_missing(asked.run.slice.route))
    telemetry.logger().debug("run started", extra=fields | {"goes_on_in": asked.execution.name})


def _input_of(change: Change, state: KeyState, run: Run) -> str:
    """Write the input of a claimed run's execution; raises LogIncomplete."""
    route = change.platform.routes.named_or_missing(run.slice.route)
    qualifier = change.platform.controls.pin(state.release, run.machine).qualifier
    return execution_input(state, run, change.entries_of(run), route, qualifier, _version_inside(change, state, run))


def _version_inside(change: Change, state: KeyState, run: Run) -> int | None:
    """Return the version of the Express machine that a nested run is done by; None for the newest."""
    if run.kind is not Kind.NESTED:
        return None
    return change.platform.controls.pin(state.release, f"{run.workflow}-{Kind.EXPRESS}").machine


def _checked(text: str) -> str:
    if len(text.encode()) > EXECUTION_INPUT_BYTES_MAX:
        raise CannotStart(f"its input has more than {EXECUTION_INPUT_BYTES_MAX} bytes")
    return text


def _give_up_command(change: Change, fence: int, reason: str) -> CommandFor:
    def command_for(state: KeyState) -> ask.Command | None:
        if state.run is None or state.fence != fence:
            return None
        route = change.platform.routes.named_or_missing(state.run.slice.route)
        following = change.next_after(state, state.run.slice, lambda: False)
        return ask.GiveUp(fence, f"cannot start: {reason}", route, following)

    return command_for


def _divert_command(cursor: Position, through: Position, count: int) -> CommandFor:
    """Divert only from the cursor that was read: whoever diverted meanwhile counted these events already."""
    return lambda state: ask.Divert(through, count) if state.cursor == cursor else None
