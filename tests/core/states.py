"""Key states in each phase, made by the protocol itself."""

from dataclasses import replace
from typing import Any

from keyturn.core import commands as ask
from keyturn.core.positions import Position, position
from keyturn.core.protocol import Rules, Transition, transition
from keyturn.core.route import Exhaustion, Kind, Route
from keyturn.core.state import KeyState, Slice, Span, violations
from tests.core.world import route

RULES = Rules(clock_margin_ms=1_000)
NOW_MS = 1_000_000
ROUTE = route()
FINE = ask.Ending(ask.Outcome.SUCCEEDED, clean=True)
FAILED = ask.Ending(ask.Outcome.FAILED, clean=True, reason="it broke")
UNCLEAN = ask.Ending(ask.Outcome.FAILED, clean=False, reason="it timed out")
HOPELESS = ask.Ending(ask.Outcome.FAILED, clean=True, permanent=True, reason="no such card")


def at(number: int) -> Position:
    """Return the position of a key's event."""
    return position(1, str(number))


def cut(first: int, last: int | None = None) -> Slice:
    """Return a slice of events."""
    last = first if last is None else last
    return Slice(at(first), at(last), last - first + 1, "sample", 1, "flow")


def following(number: int, *, has_slot: bool = True, by: Route | None = ROUTE) -> ask.Next:
    """Return what runs next."""
    return ask.Next(cut(number), by, has_slot)


def after(state: KeyState, command: ask.Command, now_ms: int = NOW_MS) -> KeyState:
    """Apply a command that must change the key."""
    done = decide(state, command, now_ms)
    assert done.refusal is None, done.refusal
    return replace(done.state, version=state.version + 1)


def decide(state: KeyState, command: ask.Command, now_ms: int = NOW_MS) -> Transition:
    """Apply a command; every state that comes out fits the model, and a refusal changes nothing."""
    done = transition(state, command, now_ms, RULES)
    assert violations(done.state) == []
    assert done.refusal is None or done.state == state
    return done


def admit(tail: int, count: int = 1, **more: Any) -> ask.Admit:
    """Admit events up to `tail`."""
    return ask.Admit(at(tail), count, 1, more.pop("next", following(1)), **more)


def idle() -> KeyState:
    """Return a key without events."""
    return KeyState("k")


def running(through: int = 1, by: Route = ROUTE) -> KeyState:
    """Return a key whose run of event 1 is claimed, with events up to `through` admitted."""
    return after(idle(), admit(through, through, next=following(1, by=by)))


def bound(through: int = 1, by: Route = ROUTE, execution_id: str = "x") -> KeyState:
    """Return a key whose run of event 1 a worker of execution x has begun."""
    return after(running(through, by), ask.Bind(1, execution_id))


def waiting_for_slot(through: int = 1) -> KeyState:
    """Return a key that got no slot."""
    return after(idle(), admit(through, through, next=following(1, has_slot=False)))


def waiting_for_time(through: int = 1) -> KeyState:
    """Return a key whose first attempt failed uncleanly: it may go on 4 s later."""
    return after(bound(through), finish(UNCLEAN))


def parked(through: int = 1, exhaustion: Exhaustion = Exhaustion.PARK) -> KeyState:
    """Return a key whose run failed for good."""
    by = route(exhaustion)
    nxt = following(2) if through > 1 else None
    return after(bound(through, by), finish(HOPELESS, by=by, next=nxt))


def finish(
    ending: ask.Ending = FINE,
    fence: int = 1,
    execution_id: str | None = "x",
    by: Route = ROUTE,
    next: ask.Next | None = None,  # noqa: A002 - the command's own word
) -> ask.Finish:
    """Report of an execution."""
    return ask.Finish(fence, execution_id, ending, by, next)


EXPRESS = route(kind=Kind.EXPRESS)
NESTED = route(kind=Kind.NESTED)
OPERATOR = ask.Operator("somebody", "because")


def held(state: KeyState) -> KeyState:
    """Return a key in a state, on hold."""
    return after(state, ask.Hold(OPERATOR))


def held_route(through: int = 1) -> KeyState:
    """Return a key that waits for its route to be released."""
    return after(idle(), admit(through, through, next=on_hold(1)))


def on_hold(number: int, name: str = "sample") -> ask.Next:
    """Return what would run next, were its route not held."""
    return ask.Next(replace(cut(number), route=name), replace(ROUTE, name=name), has_slot=False, is_held=True)


def done(events: int) -> KeyState:
    """Return an idle key that has finished some events, one by one."""
    state = idle()
    for number in range(1, events + 1):
        state = after(state, admit(number, next=following(number)))
        state = after(state, ask.Bind(number, "x"))
        state = after(state, finish(fence=number))
    return state


def spans(*pairs: tuple[int, int]) -> tuple[Span, ...]:
    """Return stretches of the log, each from one event through another."""
    return tuple(Span(at(first), at(last)) for first, last in pairs)


def rewind(
    state: KeyState,
    *pairs: tuple[int, int],
    fresh: bool = False,
    next: ask.Next | None = None,  # noqa: A002 - the command's own word
    **more: Any,
) -> ask.Rewind:
    """Ask for a replay of a key as it stands."""
    held_at_ms = state.hold.at_ms if state.hold else 0
    planned = {"planned_generation": state.generation, "planned_hold_at_ms": held_at_ms} | more
    return ask.Rewind(
        OPERATOR,
        id=planned.pop("id", "r1"),
        spans=spans(*pairs),
        is_new_generation=fresh,
        next=next or following(pairs[0][0], has_slot=planned.pop("has_slot", True)),
        **planned,
    )


def replaying(*pairs: tuple[int, int], events: int = 3, fresh: bool = False) -> KeyState:
    """Return a key whose replay of some of its finished events has claimed its first run."""
    state = done(events)
    return after(state, rewind(state, *pairs, fresh=fresh))
