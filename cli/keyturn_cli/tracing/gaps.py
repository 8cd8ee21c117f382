"""Names the time between an event's moments: they cover it from the first to the last, without overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from keyturn_cli.tracing.stops import Stop
from keyturn_cli.tracing.story import SUCCEEDED, Gap, Moment, Wait, What

_BEGINS_WORK: Final = frozenset({What.ATTEMPT_BEGAN, What.STEP_BEGAN, What.STEP_FAILED})
_ENDS_WORK: Final = frozenset({What.DONE, What.DEAD_LETTERED, What.QUARANTINED})
_ENDS_QUEUE: Final = frozenset({What.ADMITTED, What.QUARANTINED})
AWAITS_START: Final = frozenset({Wait.SLOT, Wait.RETRY, Wait.UNSTARTED, Wait.HELD})
"""The event's turn has come: what no run of its route may start in is a hold's."""
_STEP_MOMENTS: Final = frozenset({What.STEP_BEGAN, What.STEP_ENDED, What.STEP_FAILED})


def gaps_between(
    moments: Sequence[Moment],
    *,
    is_behind: bool = False,
    stops: Sequence[Stop] = (),
    waits_now: tuple[Wait, str] = (Wait.AFTER, ""),
) -> tuple[Gap, ...]:
    """Name the gaps between sorted moments; neighbours that went into the same are one.

    `is_behind` says that a run of earlier events of the key comes first, and is not over. In `stops` the event's route
    started no runs; their edges are among the moments. `waits_now` is what the time up to What.NOW goes into.
    """
    walk = _Walk(is_behind)
    found: list[Gap] = []
    for place, moment in enumerate(moments[:-1]):
        ahead = moments[place + 1 :]
        walk.pass_by(moment, ahead)
        if ahead[0].at_ms > moment.at_ms:
            is_open = ahead[0].what is What.NOW
            wait, detail = waits_now if is_open else walk.wait(ahead)
            held_by = [stop.how for stop in stops if stop.covers(moment.at_ms, ahead[0].at_ms)]
            if wait in AWAITS_START and held_by:
                wait, detail = Wait.HELD, ", ".join(held_by)
            _append(found, Gap(moment.at_ms, ahead[0].at_ms, wait, detail, is_open))
    return tuple(found)


def _append(found: list[Gap], gap: Gap) -> None:
    last = found[-1] if found else None
    if last is None or last.wait is not gap.wait:
        found.append(gap)
        return
    details = dict.fromkeys(part for part in f"{last.detail}, {gap.detail}".split(", ") if part)
    found[-1] = Gap(last.begins_ms, gap.ends_ms, gap.wait, ", ".join(details), gap.is_open)


@dataclass(slots=True)
class _Walk:
    """What the event is doing, as its moments pass by."""

    is_behind: bool
    waits: Wait = Wait.STREAM
    """What it waits for while no attempt is under way."""
    is_held: bool = False
    fence: int = 0
    """Of the attempt under way; 0 if none is."""
    passed_fence: int = 0
    """Of the last attempt that began: what an older one does yet is a zombie's."""
    open: list[str] = field(default_factory=list)
    """Steps under way."""
    failed: list[str] = field(default_factory=list)
    """Steps that failed, and weren't done since."""
    has_begun: bool = False
    """Whether anything is known of the attempt's steps."""

    def _detail(self, wait: Wait, ahead: Sequence[Moment]) -> str:
        names = {Wait.STEP: self.open, Wait.STEP_RETRY: self.failed, Wait.TRY: [ahead[0].name]}.get(wait, [])
        return ", ".join(names)

    def pass_by(self, moment: Moment, ahead: Sequence[Moment]) -> None:
        if moment.what in _BEGINS_WORK and moment.fence > self.passed_fence:
            self.fence = self.passed_fence = moment.fence
            self.open, self.failed, self.has_begun = [], [], False
        if moment.what is What.OPERATION:
            self._operate(moment.name)
        elif moment.what in _STEP_MOMENTS:
            self._step(moment)
        elif moment.what is What.ATTEMPT_ENDED and moment.fence == self.fence:
            self._rest(Wait.RETRY)
        elif moment.what in _ENDS_WORK:
            self._rest(Wait.AFTER)
        elif self.fence == 0:
            self._wait_on(moment.what, ahead)

    def _step(self, moment: Moment) -> None:
        if moment.fence != self.fence:
            return
        self.has_begun = True
        for names in (self.open, self.failed):
            if moment.name in names:
                names.remove(moment.name)
        if moment.what is not What.STEP_ENDED:
            (self.open if moment.what is What.STEP_BEGAN else self.failed).append(moment.name)

    def _rest(self, waits: Wait) -> None:
        self.fence, self.open, self.failed, self.waits = 0, [], [], waits

    def _wait_on(self, what: What, ahead: Sequence[Moment]) -> None:
        match what:
            case What.PUT:
                self.waits = Wait.QUEUE
            case What.ADMITTED if self.waits in {Wait.STREAM, Wait.QUEUE}:
                is_earlier_first = any(later.what is What.EARLIER_DONE for later in ahead)
                self.waits = Wait.EARLIER if is_earlier_first or self.is_behind else Wait.SLOT
            case What.EARLIER_DONE if self.waits is Wait.EARLIER:
                self.waits = Wait.SLOT
            case What.PARKED:
                self.waits = Wait.PARKED

    def _operate(self, command: str) -> None:
        if command in {"hold", "release"}:
            self.is_held = command == "hold"
        is_resumed = self.waits is Wait.PARKED and command.startswith("resume")
        is_rewound = self.waits is Wait.AFTER and command == "rewind"
        if self.fence == 0 and (is_resumed or is_rewound):
            self.waits = Wait.SLOT

    def wait(self, ahead: Sequence[Moment]) -> tuple[Wait, str]:
        """What the time until the next moment goes into, and its detail."""
        wait = self._wait(ahead)
        return wait, self._detail(wait, ahead)

    def _wait(self, ahead: Sequence[Moment]) -> Wait:
        if self.fence:
            return self._inside(ahead)
        if self.is_held and self.waits in {Wait.SLOT, Wait.RETRY}:
            return Wait.HELD
        is_unknown = (self.waits is Wait.SLOT and not _is_start_known(ahead)) or (
            self.waits is Wait.QUEUE and not any(later.what in _ENDS_QUEUE for later in ahead)
        )
        return Wait.UNSTARTED if is_unknown else self.waits

    def _inside(self, ahead: Sequence[Moment]) -> Wait:
        """What the time inside an attempt goes into: to steps that are known, or to what lies between."""
        if self.open:
            return Wait.STEP
        following = next((later for later in ahead if later.fence == self.fence), None)
        if following is None or following.what in _STEP_MOMENTS:
            return self._before_step(ahead[0]) if self.has_begun else Wait.START
        is_success = following.what is What.DONE or following.name == SUCCEEDED
        if not self.has_begun:
            return Wait.STORED if is_success else Wait.NO_RESULT
        return Wait.ENDING if is_success or self.failed else Wait.NO_RESULT

    def _before_step(self, following: Moment) -> Wait:
        if self.failed:
            return Wait.STEP_RETRY
        is_failing = following.what is What.STEP_FAILED and following.fence == self.fence
        return Wait.TRY if is_failing else Wait.BETWEEN


def _is_start_known(ahead: Sequence[Moment]) -> bool:
    """Whether the next attempt's beginning is written down, not only what its steps did."""
    following = next((later for later in ahead if later.what in _BEGINS_WORK), None)
    return following is None or following.what is What.ATTEMPT_BEGAN
