"""What a workflow's definition (Amazon States Language) says of the work that one run of it makes."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Self

from keyturn.core.route import Route

_Scope = Mapping[str, Any]
"""An object with StartAt and States: the definition, a Parallel's branch or a Map's iteration."""


@dataclass(frozen=True, slots=True)
class WorkflowShape:
    """The steps of a workflow, and the states that a run enters when nothing fails."""

    steps: frozenset[str]
    """Those that the definition names."""
    has_items: bool
    """Whether a Map makes more of them, named by its items: how many, only earlier results tell."""
    states: int
    """Entered by a run, Map iterations apart; each is a transition of a Standard workflow."""
    states_per_item: int

    @classmethod
    def parse(cls, definition: str) -> Self:
        """Read a definition; where a Choice divides, its first way is taken for the usual one."""
        scope = json.loads(definition)
        payloads = [payload for state in _all_states(scope) if (payload := _payload(state))]
        states, states_per_item = _usual_states(scope)
        return cls(
            steps=frozenset(payload["step"] for payload in payloads if "step" in payload),
            has_items=any("step.$" in payload for payload in payloads),
            states=states,
            states_per_item=states_per_item,
        )

    def expected(self, stored: frozenset[str]) -> frozenset[str]:
        """Name the steps that an event's run will have, given those that have results from earlier."""
        return self.steps | stored if self.has_items else self.steps

    def transitions(self, items: int) -> int:
        """Count the states that a run with so many Map items enters."""
        return self.states + items * self.states_per_item


def fingerprint(route: Route, definition: str) -> str:
    """Name the version of a route: another one when its entry or its workflow's definition differs."""
    entry = json.dumps(asdict(route), sort_keys=True)
    return sha256(f"{entry}\n{definition}".encode()).hexdigest()


def _all_states(scope: _Scope) -> list[Mapping[str, Any]]:
    states = list(scope["States"].values())
    inner = [nested for state in states for nested in (*state.get("Branches", ()), *_iterations(state))]
    return [*states, *(found for nested in inner for found in _all_states(nested))]


def _iterations(state: Mapping[str, Any]) -> tuple[_Scope, ...]:
    return (state["ItemProcessor"],) if "ItemProcessor" in state else ()


def _payload(state: Mapping[str, Any]) -> Mapping[str, Any]:
    payload: Mapping[str, Any] = state.get("Parameters", {}).get("Payload", {}) if state["Type"] == "Task" else {}
    return payload if "step" in payload or "step.$" in payload else {}


def _usual_states(scope: _Scope) -> tuple[int, int]:
    """Count the states on the way where nothing fails: those of a run, and those of each Map item."""
    count, per_item = 0, 0
    name, seen = scope["StartAt"], set[str]()
    while name and name not in seen:
        seen.add(name)
        state = scope["States"][name]
        count += 1
        for branch in state.get("Branches", ()):
            inner, inner_items = _usual_states(branch)
            count, per_item = count + inner, per_item + inner_items
        for iteration in _iterations(state):
            per_item += _usual_states(iteration)[0]
        name = state["Choices"][0]["Next"] if state["Type"] == "Choice" else state.get("Next")
    return count, per_item
