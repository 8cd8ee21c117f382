"""Step results: what a worker did for one event, stored once, the first writer's."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from keyturn.adapters.keys import STATE, decode_state, partition
from keyturn.adapters.table import Item, Table, reading
from keyturn.core.positions import Position
from keyturn.core.state import KeyState

STEP: Final = "step#"


@dataclass(frozen=True, slots=True)
class StepResult:
    """A stored result with the attempt that made it."""

    position: Position
    step: str
    result: Any
    fence: int
    attempt: int
    execution_id: str
    began_at_ms: int
    ended_at_ms: int


@dataclass(frozen=True, slots=True)
class StepStore:
    """Reads and writes step results."""

    table: Table
    retention_s: int

    def load(
        self, key: str, generations: Iterable[int], step: str, positions: Collection[Position]
    ) -> tuple[KeyState, dict[Position, Any]]:
        """Read a key's state and the step's stored results in one strongly consistent read.

        Where several of the generations have a result, the last of them counts: give them in rising order.
        """
        places = {
            (partition(key), _place(position, generation, step)): position
            for generation in generations
            for position in positions
        }
        state_place = (partition(key), STATE)
        found = self.table.get_many([state_place, *places])
        state = decode_state(key, found[state_place]) if state_place in found else KeyState(key)
        results = {position: _result_in(found[place]) for place, position in places.items() if place in found}
        return state, results

    def store(self, key: str, generation: int, result: StepResult) -> Any:
        """Store a result unless one is there; return the one that stands."""
        standing = self.table.put_once(
            {
                "pk": partition(key),
                "sk": _place(result.position, generation, result.step),
                "result": json.dumps(result.result, separators=(",", ":"), ensure_ascii=False),
                "fence": result.fence,
                "attempt": result.attempt,
                "execution_id": result.execution_id,
                "began_at_ms": result.began_at_ms,
                "ended_at_ms": result.ended_at_ms,
                "expires_at": result.ended_at_ms // 1000 + self.retention_s,
            }
        )
        return result.result if standing is None else _result_in(standing)


def _result_in(item: Item) -> Any:
    with reading("a step's stored result"):
        return json.loads(item["result"])


def _place(position: Position, generation: int, step: str) -> str:
    return f"{STEP}{position}#{generation}#{step}"
