"""The canary: an event through the stream, a workflow and back, with the time that each part of the way took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

from keyturn.adapters.controls import Controls
from keyturn.adapters.keys import STATE, decode_state, partition
from keyturn.adapters.steps import result_place
from keyturn.adapters.table import Item
from keyturn.core.canary import CANARY, CANARY_KEY, canary_event
from keyturn.core.positions import Position, position
from keyturn.core.route_hold import RouteHold
from keyturn.core.state import Hold, KeyState, Phase, WaitsFor
from keyturn_cli.doctor.examination import Examination
from keyturn_cli.doctor.finding import Finding, failed, not_checked, ok, seconds, warning
from keyturn_cli.looking.times import moment
from keyturn_cli.looking.wording import command, one_line
from keyturn_cli.store import Store

_LOOK_EVERY_S: Final = 0.1
_NAME: Final = "canary"


@dataclass(frozen=True, slots=True)
class Seen:
    """When the canary was seen where, in epoch milliseconds; 0 where it hasn't been seen yet.

    Times of the stack's own clocks where it notes them, else this machine's when it looked.
    """

    put_ms: int
    admitted_ms: int = 0
    began_ms: int = 0
    ended_ms: int = 0
    done_ms: int = 0

    @property
    def split(self) -> str:
        """The way in its parts."""
        legs = (
            ("put to admitted", self.put_ms, self.admitted_ms),
            ("to its step", self.admitted_ms, self.began_ms),
            ("step", self.began_ms, self.ended_ms),
            ("to done", self.ended_ms, self.done_ms),
        )
        # clocks of two machines may differ by more than such a short part takes
        return ", ".join(f"{name} {seconds(max(0, end - begin))}" for name, begin, end in legs)


@dataclass(frozen=True, slots=True)
class _Look:
    """What the state table has of it at one moment."""

    state: KeyState
    event: Item | None
    step: Item | None


def check_canary(examined: Examination) -> Iterator[Finding]:
    """Put one event under the reserved key and follow it; one that would only wait for a release isn't put."""
    if not examined.options.is_with_canary:
        yield not_checked(_NAME, "--no-canary: no event was sent")
        return
    held = _held(examined, _state(examined))
    if held is not None:
        yield held
        return
    put_ms = examined.clock()
    put = examined.client("kinesis").put_record(
        StreamName=examined.target.outputs.stream_name, Data=canary_event(uuid4().hex), PartitionKey=CANARY_KEY
    )
    place = position(examined.settings.stream_epoch, put["SequenceNumber"])
    yield _follow(examined, place, Seen(put_ms))


def _state(examined: Examination) -> KeyState:
    item = examined.table.get(partition(CANARY_KEY), STATE)
    return decode_state(CANARY_KEY, item) if item else KeyState(CANARY_KEY)


def _held(examined: Examination, state: KeyState) -> Finding | None:
    """Who keeps the canary from running: by a hold of its key, of its route, or of everything. None if nobody does."""
    standing = Controls(examined.table, 0).read()
    holds: tuple[tuple[str, str, Hold | RouteHold | None], ...] = (
        ("its key is", command("release", CANARY_KEY), state.hold),
        ("its route is", f"keyturn release --route {CANARY.name}", _in_force(standing.hold_of(CANARY.name))),
        ("everything is", "keyturn release --everything", _in_force(standing.hold_of(""))),
    )
    for what, how, hold in holds:
        if hold is not None:
            since = moment(hold.at_ms, examined.clock())
            told = f"it can't run: {what} held by {one_line(hold.by)} since {since}: {one_line(hold.reason)}"
            return warning(_NAME, told, f"release to test: {how} --reason WHY, then keyturn doctor again")
    return None


def _in_force(hold: RouteHold | None) -> RouteHold | None:
    return hold if hold is not None and hold.is_held else None


def _follow(examined: Examination, place: Position, seen: Seen) -> Finding:
    until_ms = seen.put_ms + int(examined.options.limit_s * 1000)
    while True:
        look = _look(examined, place)
        state, now_ms = look.state, examined.clock()
        seen = _note(seen, place, look, now_ms)
        if seen.done_ms and look.step is None:
            return failed(
                _NAME,
                f"it was given up, {_story(examined, place)}",
                "look at the log of canary, then keyturn deadletter discard",
            )
        if seen.done_ms:
            return ok(_NAME, f"through in {seconds(seen.done_ms - seen.put_ms)}: {seen.split}")
        held = _held(examined, state) if state.waits_for is WaitsFor.RELEASE else None
        if held is not None:
            return held
        if now_ms >= until_ms:
            return _stuck(examined, place, state, seen)
        examined.sleep(_LOOK_EVERY_S)


def _look(examined: Examination, place: Position) -> _Look:
    pk = partition(CANARY_KEY)
    places = [(pk, STATE), (pk, f"event#{place}"), (pk, result_place(place, 0, "canary"))]
    found = examined.table.get_many(places)
    item, event, step = (found.get(at) for at in places)
    return _Look(decode_state(CANARY_KEY, item) if item else KeyState(CANARY_KEY), event, step)


def _note(seen: Seen, place: Position, look: _Look, now_ms: int) -> Seen:
    if not seen.admitted_ms and look.state.tail >= place:
        seen = replace(seen, admitted_ms=int((look.event or {}).get("admitted_at_ms", now_ms)))
    if not seen.began_ms and look.step is not None:
        seen = replace(seen, began_ms=int(look.step["began_at_ms"]), ended_ms=int(look.step["ended_at_ms"]))
    if look.state.cursor >= place:
        seen = replace(seen, done_ms=now_ms)
    return seen


def _stuck(examined: Examination, place: Position, state: KeyState, seen: Seen) -> Finding:
    limit = f"after {examined.options.limit_s:.0f} s"
    if state.tail < place:
        return failed(_NAME, *_not_admitted(examined, place, limit))
    if state.phase is Phase.PARKED:
        reason = state.parked.reason if state.parked else ""
        return failed(_NAME, f"its key is parked: {reason}", f'keyturn skip "{CANARY_KEY}" --reason "old canary"')
    if state.phase is Phase.WAITING:
        return failed(_NAME, *_waiting(state, limit))
    if state.run is not None and state.run.execution_id is None:
        return failed(
            _NAME,
            f"{limit} its execution has not begun its step",
            f"look at execution {state.run.execution_name}, at the log of canary, and at Lambda's concurrency",
        )
    if not seen.ended_ms:
        return failed(_NAME, f"{limit} its step is not done", "look at the log of canary")
    return failed(_NAME, f"{limit} its step is done, its run is not finished", "look at the log of sequencer")


def _not_admitted(examined: Examination, place: Position, limit: str) -> tuple[str, str]:
    rejected = next((found for found in _quarantined(examined, place)), "")
    if rejected:
        return f"it went to quarantine: {rejected}", "the deployed library is older than this command: deploy again"
    if examined.target.is_local:
        return f"{limit} nobody has read it from the stream", "is the event source alive? keyturn down && keyturn up"
    return (
        f"{limit} nobody has read it from the stream",
        "see the finding on the stream's mapping, the dispatcher's log and the alarm stream-behind",
    )


def _quarantined(examined: Examination, place: Position) -> Iterator[str]:
    for found in Store.of(examined.target).quarantined(examined.clock()):
        if (found.place.key, found.place.position) == (CANARY_KEY, place):
            yield found.reason


def _waiting(state: KeyState, limit: str) -> tuple[str, str]:
    match state.waits_for:
        case WaitsFor.RELEASE:
            told = f"{limit} it waits for a release, though nobody holds it any more"
            return told, "look at the watchdog's log: it moves what was released on"
        case WaitsFor.TIME:
            return f"{limit} an attempt at it failed, and it waits for the next one", "look at the log of canary"
        case _:
            return (
                f"{limit} it waits for a slot",
                "raise MaxInFlightRuns, or give it more time: --limit; if slots are free, look at the watchdog's log",
            )


def _story(examined: Examination, place: Position) -> str:
    attempts = Store.of(examined.target).attempts([CANARY_KEY])
    return (
        f"with {len(attempts)} attempts on record at {place}; the last said: {attempts[-1].reason if attempts else '-'}"
    )
