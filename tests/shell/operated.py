"""A world with operators: they hold, release, resume, skip, rewind and cancel, as people do."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from keyturn.core import commands as ask
from keyturn.core.event import Event
from keyturn.core.positions import Position, predecessor
from keyturn.core.state import KeyState, Phase, Span, WaitsFor
from keyturn.core.step_context import StepContext
from keyturn.shell.apply import apply
from keyturn.shell.change import Applied, Change
from keyturn.shell.operator_requests import answer
from tests.shell.step_functions import Execution
from tests.shell.world import Effect, World, rests

OPERATOR = ask.Operator("somebody", "because")


class OperatedWorld(World):
    """Knows what was planned to be run again, and holds the guarantees for that too."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """Start without plans."""
        super().__init__(*arguments, **settings)
        self.plans: dict[str, tuple[str, tuple[Position, ...], bool]] = {}
        """Key, positions and whether finished steps are done again, by the replay's id."""
        self.is_repaired = False
        """Whether what failed succeeds from now on, as when a provider is back."""

    def _function(self, execution: Execution, began_at_ms: int) -> Callable[[Event, StepContext], Any]:
        function = super()._function(execution, began_at_ms)
        return lambda event, step: function(replace(event, data={}) if self.is_repaired else event, step)

    # What operators do

    def operate(self, command: str, key: str, **more: Any) -> Any:
        """Ask the operator function; None when it died."""
        request = {"command": command, "key": key, "by": "somebody", "reason": "because", **more}
        return self._call(lambda: answer(self.platform, request))

    def rewind(self, key: str, places: Sequence[str], *, fresh: bool = False, replay: str = "") -> Applied | None:
        """Run finished events again; None when the function died or the log could not be read."""
        name = replay or f"r{len(self.plans)}"
        positions = tuple(Position(place) for place in sorted(places))
        self.plans[name] = (key, positions, fresh)
        spans = tuple(Span(place, place) for place in positions)
        change = Change(self.platform, key)

        def command_for(state: KeyState) -> ask.Command:
            begins = state.run is None
            following = change.next_between(predecessor(spans[0].first), spans[0].last, lambda: False)
            hold_at_ms = state.hold.at_ms if state.hold else 0
            return ask.Rewind(OPERATOR, name, spans, state.generation, hold_at_ms, fresh, following if begins else None)

        applied: Applied | None = self._call(lambda: apply(change, command_for))
        return applied

    def cancel(self, key: str, replay: str) -> Applied | None:
        """Cancel a replay; None when the function died."""
        change = Change(self.platform, key)

        def command_for(state: KeyState) -> ask.Command:
            following = None
            if state.is_replaying and state.replay is not None and state.run is None:
                following = change.next_between(state.replay.resume_at, state.tail, lambda: False)
            return ask.CancelReplay(OPERATOR, replay, following)

        applied: Applied | None = self._call(lambda: apply(change, command_for))
        return applied

    def something(self, chance: random.Random) -> Callable[[], object]:
        """Choose something that an operator may do to some key, whether it fits or not."""
        states = self.key_states()
        key = chance.choice(sorted(states))
        what = chance.choice(["hold-key", "release-key", "release-key", "resume", "skip", "rewind", "rewind", "cancel"])
        is_fresh = chance.random() < 0.5
        if what == "cancel" and self.plans:
            replay = chance.choice(sorted(self.plans))
            return lambda: self.cancel(self.plans[replay][0], replay)
        if what in {"rewind", "cancel"}:
            finished = [(key, Position(p)) for other, p in self.ids if other == key and p <= states[key].cursor]
            in_log = sorted(place for _, place in self.platform.log.present(finished))
            places = chance.sample(in_log, min(len(in_log), chance.randrange(1, 4)))
            return lambda: self.rewind(key, places, fresh=is_fresh) if places else None
        return lambda: self.operate(what, key, is_fresh=is_fresh)

    def relieve(self, chance: random.Random | None = None) -> None:
        """Release and resume whatever is held or parked, until every key is idle."""
        for _ in range(20):
            for key, state in self.key_states().items():
                if state.hold is not None:
                    self.operate("release-key", key)
                if state.phase is Phase.PARKED:
                    self.operate("skip" if chance and chance.random() < 0.5 else "resume", key)
            self.settle(chance)
            if all(state.phase is Phase.IDLE for state in self.key_states().values()):
                return
        raise AssertionError(f"keys never drained: {list(self.key_states().values())}")

    # What came of it

    def is_settled(self) -> bool:
        """Whether nothing goes on by itself any more: what waits for its own release rests."""
        states = self.key_states().values()
        return not self.live() and all(rests(state) or waits_for_person(state) for state in states)

    def operations(self, key: str) -> list[str]:
        """Return what was done to a key, in order."""
        return [item["command"] for item in self.items(f"key#{key}", "operation#")]

    def accepted(self, key: str) -> list[str]:
        """Return the replays that were begun for a key, in order."""
        items = self.items(f"key#{key}", "operation#")
        return [item["replay"] for item in items if item["command"] == "Rewind"]

    def _check_order(self, key: str) -> None:
        """Allowed besides: back to an event of a replay, as many times as there were replays, and on from there."""
        effects = sorted((e for e in self.effects if e.key == key), key=lambda effect: effect.fence)
        planned = {place for name in self.accepted(key) for place in self.plans[name][1]}
        steps_back = 0
        for earlier, later in pairwise(effects):
            if later.run < earlier.run:
                steps_back += 1
                assert later.run in planned, f"{key}: {later} came after {earlier}"
        assert steps_back <= len(self.accepted(key)), f"{key}: {steps_back} steps back"
        self._check_no_overlap(effects)

    @staticmethod
    def _check_no_overlap(effects: list[Effect]) -> None:
        for at, later in enumerate(effects):
            for earlier in effects[:at]:
                is_same = earlier.fence == later.fence
                assert is_same or earlier.ended_by_ms <= later.began_at_ms, f"{earlier} overlaps {later}"

    def _check_once(self) -> None:
        """An effect has a name for its first turn, and another for each time that it was asked to be done afresh."""
        for key in {key for key, _ in self.ids}:
            resumed = self.operations(key).count("ResumeFresh")
            afresh = [self.plans[name][1] for name in self.accepted(key) if self.plans[name][2]]
            names: dict[tuple[str, str], set[str]] = {}
            for effect in self.effects:
                if effect.key == key:
                    names.setdefault((effect.position, effect.step), set()).add(effect.idempotency_key)
            for (place, _), found in names.items():
                asked = 1 + resumed + sum(place in places for places in afresh)
                assert len(found) <= asked, f"{key}: {place} done under {found}"


def waits_for_person(state: KeyState) -> bool:
    """Whether a key waits to be released."""
    return state.waits_for is WaitsFor.RELEASE and state.hold is not None
