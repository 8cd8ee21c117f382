"""Which phase takes which command, and what decides it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from keyturn.core import commands as ask
from keyturn.core.protocol.attempts import bind, expire, extend, finish, give_up, rejoin
from keyturn.core.protocol.decision import Refusal, Rules, Transition, refuse
from keyturn.core.protocol.operations import cancel_replay, hold, release, resume, rewind, skip
from keyturn.core.protocol.queueing import admit, claim, divert, park_waiting, postpone, retime
from keyturn.core.state import KeyState, Phase

_ALWAYS: Final = frozenset({ask.Admit, ask.Hold, ask.Release})

ACCEPTS: Final[Mapping[Phase, frozenset[type[ask.Command]]]] = {
    Phase.IDLE: _ALWAYS | {ask.Rewind, ask.Postpone},
    Phase.WAITING: _ALWAYS | {ask.Rewind, ask.CancelReplay, ask.Postpone, ask.Claim, ask.Park, ask.Retime},
    Phase.RUNNING: _ALWAYS
    | {ask.Rewind, ask.CancelReplay, ask.Bind, ask.Extend, ask.Finish, ask.Expire, ask.GiveUp, ask.Retime}
    | {ask.Rejoin},
    Phase.PARKED: _ALWAYS | {ask.CancelReplay, ask.Postpone, ask.Divert, ask.Resume, ask.Skip},
}

_Handler = Callable[[KeyState, Any, int, Rules], Transition]

_HANDLERS: Final[Mapping[type[ask.Command], _Handler]] = {
    ask.Admit: admit,
    ask.Claim: claim,
    ask.Rejoin: rejoin,
    ask.Bind: bind,
    ask.Finish: finish,
    ask.Expire: expire,
    ask.GiveUp: give_up,
    ask.Divert: divert,
    ask.Extend: extend,
    ask.Postpone: postpone,
    ask.Retime: retime,
    ask.Park: park_waiting,
    ask.Hold: hold,
    ask.Release: release,
    ask.Resume: resume,
    ask.Skip: skip,
    ask.Rewind: rewind,
    ask.CancelReplay: cancel_replay,
}


def transition(state: KeyState, command: ask.Command, now_ms: int, rules: Rules) -> Transition:
    """Decide what `command` changes in `state` at `now_ms`; see the package's text."""
    if type(command) not in ACCEPTS[state.phase]:
        return refuse(state, Refusal.WRONG_PHASE)
    return _HANDLERS[type(command)](state, command, now_ms, rules)
