"""Walk a state machine's definition (Amazon States Language, JSONPath)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

State = Mapping[str, Any]
Scope = Mapping[str, Any]
"""An object with StartAt and States: the definition, a Parallel's branch or a Map's item processor."""

FALLIBLE: Final = frozenset({"Task", "Parallel", "Map"})
"""State types that can fail and therefore can have Catch and Retry."""

SEQUENCER: Final = "SequencerFunctionArn"
"""The substitution under which every workflow knows the sequencer."""

_PLAIN: Final = re.compile(r"\$\{(\w+)\}")
_RELEASED: Final = re.compile(r"States\.Format\('\$\{(\w+)\}\{\}', \$\.run\.qualifier\)")
"""A function's version by its run's release; the function itself where the run has none."""


@dataclass(frozen=True, slots=True)
class Place:
    """One state with its way from the top, such as `Work > Inventory`."""

    path: tuple[str, ...]
    state: State
    scope: Scope

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def is_nested(self) -> bool:
        """Whether the state lies in a branch or an iteration."""
        return len(self.path) > 1

    def __str__(self) -> str:
        return f'state "{" > ".join(self.path)}"'


def places(scope: Scope, above: tuple[str, ...] = ()) -> Iterator[Place]:
    """Yield every state, outer ones first."""
    for name, state in scope["States"].items():
        path = (*above, name)
        yield Place(path, state, scope)
        for inner in inner_scopes(state):
            yield from places(inner, path)


def inner_scopes(state: State) -> tuple[Scope, ...]:
    """The branches of a Parallel or the iteration of a Map; nothing for other states."""
    if state["Type"] == "Parallel":
        return tuple(state["Branches"])
    if state["Type"] == "Map":
        return (state["ItemProcessor"],)
    return ()


def followers(state: State) -> tuple[str, ...]:
    """Names of the states that may come next, Catch targets included."""
    catchers = [catcher["Next"] for catcher in state.get("Catch", ())]
    choices = [choice["Next"] for choice in state.get("Choices", ())]
    named = [state[field] for field in ("Next", "Default") if field in state]
    return tuple(dict.fromkeys([*named, *choices, *catchers]))


def function_of(state: State) -> str | None:
    """The substitution that names a Task's function, such as `InventoryFunctionArn`; None if it names none."""
    if state["Type"] != "Task":
        return None
    parameters = state.get("Parameters", {})
    for field, pattern in (("FunctionName", _PLAIN), ("FunctionName.$", _RELEASED)):
        if found := pattern.fullmatch(str(parameters.get(field, ""))):
            return found[1]
    return None


def is_sequencer(state: State) -> bool:
    """Whether a state calls the sequencer: a run's round ends there."""
    return function_of(state) == SEQUENCER


def drains(definition: Scope) -> bool:
    """Whether something follows the sequencer: the next round, for the key's next run."""
    return any(is_sequencer(state) and followers(state) for state in definition["States"].values())


def takes_release(state: State) -> bool:
    """Whether a Task runs the version of its function that its run's release has."""
    return bool(_RELEASED.fullmatch(str(state.get("Parameters", {}).get("FunctionName.$", ""))))
