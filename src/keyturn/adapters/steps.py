"""Step results: what a worker did for the events of a run, stored once, the first writer's.

An item holds a step's result for one event, or for several events of one run that are neighbours in the log. It stands
where the last of them does, so all that is stored for an event lies at its position or behind it: for the events of a
run that goes forward between its first event and the key state, which sorts right behind all results.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from keyturn.adapters.keys import STATE, decode_state, partition
from keyturn.adapters.table import Item, Table, reading
from keyturn.core.positions import Position
from keyturn.core.state import KeyState
from keyturn.limits import RUN_EVENTS_MAX

RESULT: Final = "result#"
"""No other item of a key sorts between this and `state`."""

_END: Final = "result$"
"""Sorts behind all results."""

_NEAR_ITEMS: Final = 24
"""Items in one read before the places themselves are read: a wide Map's lines would each read all the others'."""

_PAGE_ITEMS: Final = 16
"""Items of a page in a stretch that is looked through until something is found."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step came to for one event."""

    position: Position
    result: Any
    began_at_ms: int
    ended_at_ms: int


@dataclass(frozen=True, slots=True)
class StoredResults:
    """A step's results for one event or several that one attempt worked on, in log order; at least one."""

    step: str
    generation: int
    fence: int
    attempt: int
    execution_id: str
    results: tuple[StepResult, ...]

    @property
    def by_position(self) -> dict[Position, Any]:
        """The results alone."""
        return {one.position: one.result for one in self.results}

    @property
    def last(self) -> StepResult:
        """The one at whose position they are stored."""
        return self.results[-1]


@dataclass(frozen=True, slots=True)
class Sought:
    """The results that a task looks for."""

    key: str
    step: str
    positions: Sequence[Position]
    """In log order, at least one."""
    generations: range
    """Those that count. Where several have a result, the last of them does."""
    is_forward: bool = False
    """Whether none of these events, and none behind them, was in a run of other events before."""
    may_overlap: bool = True
    """Whether runs of other events, of which some were among these, may have stored results that count."""

    def among(self, found: Iterable[StoredResults]) -> dict[Position, StoredResults]:
        """Choose what counts for each position.

        A write that came late may leave an attempt's results beside those of the next one, which didn't see them: the
        workflow got the later attempt's.
        """
        ours = (one for one in found if one.step == self.step and one.generation in self.generations)
        wanted = set(self.positions)
        return {
            place: one
            for one in sorted(ours, key=lambda one: (one.generation, one.fence))
            for place in one.by_position
            if place in wanted
        }


@dataclass(frozen=True, slots=True)
class StepStore:
    """Reads and writes step results."""

    table: Table
    retention_s: int

    def load(self, sought: Sought) -> tuple[KeyState, dict[Position, Any]]:
        """Read a key's state and the stored results that a task looks for, strongly consistent.

        In a run that goes forward that is one read of neighbours: one read unit as long as they are 4 KB together. All
        else is read by its places, and where they may overlap with other runs' behind them too: right in any case.
        """
        near = self._near(sought) if sought.is_forward else None
        state, found = near or self._at_their_places(sought)
        chosen = sought.among(found)
        if sought.may_overlap and not _is_newest(sought, chosen):
            chosen = sought.among([*found, *self._behind(sought)])
        return state, {place: one.by_position[place] for place, one in chosen.items()}

    def _near(self, sought: Sought) -> tuple[KeyState, list[StoredResults]] | None:
        """Read the state, and backwards from it what is stored; None when too much is."""
        arguments = {
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ConsistentRead": True,
            "ScanIndexForward": False,
        }
        values = {"pk": partition(sought.key), "low": RESULT + sought.positions[0], "high": STATE}
        items = list(self.table.query(arguments, values, _NEAR_ITEMS))
        if len(items) == _NEAR_ITEMS:
            return None
        is_known = bool(items) and items[0]["sk"] == STATE
        state = decode_state(sought.key, items[0]) if is_known else KeyState(sought.key)
        return state, _of_step(items[is_known:], sought.step)

    def _at_their_places(self, sought: Sought) -> tuple[KeyState, list[StoredResults]]:
        pk = partition(sought.key)
        places = [
            (pk, result_place(position, generation, sought.step))
            for generation in sought.generations
            for position in sought.positions
        ]
        items = self.table.get_many([(pk, STATE), *places])
        item = items.pop((pk, STATE), None)
        state = decode_state(sought.key, item) if item else KeyState(sought.key)
        return state, _of_step(items.values(), sought.step)

    def _behind(self, sought: Sought) -> Iterator[StoredResults]:
        """Yield the step's results that other runs stored behind the last event.

        Of each generation the first one is enough: what the next ones hold lies behind that.
        """
        missing = set(sought.generations)
        for stored in _reaching(self.table, sought.key, sought.positions[-1]):
            if stored.step == sought.step and stored.generation in missing:
                yield stored
                missing.remove(stored.generation)
                if not missing:
                    return

    def store(self, key: str, made: StoredResults) -> dict[Position, Any]:
        """Store results where none are; return those that stand."""
        standing = self.table.put_once(self._encode(key, made))
        if standing is None:
            return made.by_position
        found = decode_results(standing).by_position
        rest = tuple(one for one in made.results if one.position not in found)
        others = self.store(key, replace(made, results=rest)) if rest else {}
        return others | {one.position: found[one.position] for one in made.results if one.position in found}

    def _encode(self, key: str, made: StoredResults) -> Item:
        return {
            "pk": partition(key),
            "sk": result_place(made.last.position, made.generation, made.step),
            **(_one(made.last) if len(made.results) == 1 else _several(made.results)),
            "fence": made.fence,
            "attempt": made.attempt,
            "execution_id": made.execution_id,
            "began_at_ms": made.results[0].began_at_ms,
            "ended_at_ms": made.last.ended_at_ms,
            "expires_at": made.last.ended_at_ms // 1000 + self.retention_s,
        }


def result_place(last: Position, generation: int, step: str) -> str:
    """Name the sort key of a step's results whose last event is `last`."""
    return f"{RESULT}{last}#{generation}#{step}"


def decode_results(item: Item) -> StoredResults:
    """Read what an item holds. Raises Unreadable."""
    with reading("a step's stored result"):
        last, generation, step = _parts(item["sk"])
        results = tuple(_split(last, item)) if "results" in item else (_single(last, item),)
        if not results or results[-1].position != last:
            raise ValueError("its last event isn't the one that it stands at")
        return StoredResults(step, generation, item["fence"], item["attempt"], item["execution_id"], results)


def results_of(table: Table, key: str, low: str, high: str) -> Iterator[StoredResults]:
    """Yield all that is stored for the events whose positions sort from `low` to `high`, in order of the last of each.

    What an item holds for other events comes with it. Strongly consistent.
    """
    arguments = {"KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high", "ConsistentRead": True}
    values = {"pk": partition(key), "low": RESULT + low, "high": f"{RESULT}{high}~"}
    yield from map(decode_results, table.query(arguments, values))
    for stored in _reaching(table, key, high):
        if any(low <= one.position <= high for one in stored.results):
            yield stored


def _reaching(table: Table, key: str, position: str) -> Iterator[StoredResults]:
    """Yield what is stored behind a position, as far as a run could reach that began at it or before."""
    arguments = {
        "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
        "ConsistentRead": True,
        "Limit": _PAGE_ITEMS,
    }
    values = {"pk": partition(key), "low": f"{RESULT}{position}~", "high": _END}
    behind: set[Position] = set()
    for stored in map(decode_results, table.query(arguments, values)):
        behind.update(one.position for one in stored.results if one.position > position)
        if len(behind) >= RUN_EVENTS_MAX:
            return
        yield stored


def _is_newest(sought: Sought, chosen: Mapping[Position, StoredResults]) -> bool:
    """Whether nothing that is stored elsewhere could count instead."""
    newest = sought.generations[-1]
    return all(place in chosen and chosen[place].generation == newest for place in sought.positions)


def _of_step(items: Iterable[Item], step: str) -> list[StoredResults]:
    return [decode_results(item) for item in items if _parts(item["sk"])[2] == step]


def _parts(sort_key: str) -> tuple[Position, int, str]:
    with reading("where a step's result is stored"):
        last, generation, step = sort_key.removeprefix(RESULT).split("#", 2)
        return Position(last), int(generation), step


def _one(result: StepResult) -> Item:
    return {"result": _compact(result.result)}


def _single(position: Position, item: Item) -> StepResult:
    return StepResult(position, json.loads(item["result"]), item["began_at_ms"], item["ended_at_ms"])


def _several(results: Sequence[StepResult]) -> Item:
    """Write results small: where a position differs from the others, and times from the first one's beginning."""
    began_ms, shared = results[0].began_at_ms, _shared(results[0].position, results[-1].position)
    rows = [
        [one.position[shared:], one.began_at_ms - began_ms, one.ended_at_ms - one.began_at_ms, one.result]
        for one in results
    ]
    return {"results": _compact(rows)}


def _shared(first: Position, last: Position) -> int:
    """Count the characters that two positions begin with alike, and so all that sort between them."""
    return next(at for at, (one, other) in enumerate(zip(first, last, strict=True)) if one != other)


def _split(last: Position, item: Item) -> Iterator[StepResult]:
    for rest, after_ms, took_ms, result in json.loads(item["results"]):
        began_ms = item["began_at_ms"] + after_ms
        yield StepResult(Position(last[: -len(rest)] + rest), result, began_ms, began_ms + took_ms)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
