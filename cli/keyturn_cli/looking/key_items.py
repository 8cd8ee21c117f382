"""What stands in one key's partition of the state table, as values: its events, and what became of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Self

from keyturn.adapters.keys import partition
from keyturn.adapters.open_items import How
from keyturn.adapters.outcomes import ATTEMPT, OPERATION, dead_letter_place
from keyturn.adapters.steps import RESULT, StoredResults, decode_results, results_of
from keyturn.adapters.table import Item, Table
from keyturn.core.positions import Position
from keyturn.core.state import Run

_EVENT: Final = "event#"
_DUPLICATE: Final = "duplicate#"
_EVENT_ATTRIBUTES: Final = ("sk", "type", "flow_id", "arrived_at_ms")
_PAGE_ITEMS: Final = 1_000
_RESULTS_A_PAGE: Final = 50
_END: Final = "~"
"""Sorts behind every position."""
_EARLIER_ATTEMPTS: Final = 20
"""Attempts looked at to find a run that began before the first event that is shown, and took it along."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the log, without its content."""

    position: str
    type: str
    flow_id: str
    arrived_at_ms: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A record that had the source and id of an earlier event."""

    position: str
    of: str
    recorded_at_ms: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt ended."""

    first: str
    last: str
    count: int
    fence: int
    number: int
    outcome: str
    reason: str
    route: str
    execution_name: str
    execution_id: str | None
    started_at_ms: int
    ended_at_ms: int
    generation: int
    ran_in: str = ""
    """The execution that it ran in, if that was an earlier run's, which went on with it."""

    def covers(self, position: str) -> bool:
        """Whether an event was among those that it worked on."""
        return self.first <= position <= self.last


@dataclass(frozen=True, slots=True)
class Step:
    """A stored step result of one event."""

    position: str
    generation: int
    name: str
    fence: int
    attempt: int
    execution_id: str
    began_at_ms: int
    ended_at_ms: int
    result: Any


@dataclass(frozen=True, slots=True)
class Operation:
    """What a person asked of the key."""

    command: str
    by: str
    reason: str
    at_ms: int
    fence: int
    position: str
    replay: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A note that an event was given up."""

    position: str
    route: str
    reason: str
    at_ms: int
    closed: str
    """How it was closed, by whom and why; empty while it is open."""
    is_redriven: bool
    closed_at_ms: int
    """0 while it is open."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a key's log: texts between which the positions in it sort."""

    low: str = ""
    high: str = _END

    @classmethod
    def through(cls, first: str, last: str) -> Self:
        """From one position through another."""
        return cls(first, f"{last}$")  # "$" sorts right behind "#", so all that is named after the last is in

    def holds(self, position: str) -> bool:
        """Whether a position is in it."""
        return self.low <= position < self.high


@dataclass(frozen=True, slots=True)
class KeyItems:
    """Reads one key's partition, strongly consistent."""

    table: Table
    key: str

    def newest_events(self, limit: int, before: str = "") -> list[Event]:
        """The last `limit` events before a position, in log order; of the whole log without one."""
        stretch = Stretch(high=before or _END)
        found = self._query(_EVENT, stretch, _EVENT_ATTRIBUTES, newest_first=True, page_items=limit + 1)
        events = (event for event in map(_event, found) if event.position != before)
        return list(islice(events, limit))[::-1]

    def events(self, first: str, last: str) -> list[Event]:
        """The events from one position through another."""
        return [_event(item) for item in self._query(_EVENT, Stretch.through(first, last), _EVENT_ATTRIBUTES)]

    def duplicates(self, stretch: Stretch) -> list[Duplicate]:
        """The records of a stretch that were dropped as duplicates."""
        return [
            Duplicate(item["sk"].removeprefix(_DUPLICATE), item["of"], item["recorded_at_ms"])
            for item in self._query(_DUPLICATE, stretch)
        ]

    def attempts(self, stretch: Stretch) -> list[Attempt]:
        """The attempt records of runs that touch a stretch, oldest first within a run."""
        before = self._query(ATTEMPT, Stretch(high=stretch.low), newest_first=True, page_items=_EARLIER_ATTEMPTS)
        earlier = list(map(_attempt, islice(before, _EARLIER_ATTEMPTS)))[::-1]
        reaching = [attempt for attempt in earlier if attempt.last >= stretch.low]
        return [*reaching, *map(_attempt, self._query(ATTEMPT, stretch))]

    def attempt_of(self, execution_name: str) -> Attempt | None:
        """The attempt record of an execution; reads the key's attempt records until it is found."""
        found = map(_attempt, self._query(ATTEMPT, Stretch(), newest_first=True))
        return next((attempt for attempt in found if attempt.execution_name == execution_name), None)

    def steps(self, stretch: Stretch) -> list[Step]:
        """The stored results of a stretch, in the order in which they were made."""
        found = (step for stored in self.results(stretch) for step in _steps(stored) if stretch.holds(step.position))
        return sorted(found, key=lambda step: (step.position, step.began_at_ms))

    def results(self, stretch: Stretch) -> Iterator[StoredResults]:
        """Yield what holds the results of a stretch, with other events' results that stand in one item with them."""
        return results_of(self.table, self.key, stretch.low, stretch.high)

    def results_backwards(self, position: str) -> Iterator[StoredResults]:
        """Yield what stands at a position or before it, towards the log's beginning."""
        stretch = Stretch(high=f"{position}$")
        return map(decode_results, self._query(RESULT, stretch, newest_first=True, page_items=_RESULTS_A_PAGE))

    def results_onwards(self, position: str) -> Iterator[StoredResults]:
        """Yield what stands at a position or behind it, towards the log's end."""
        return map(decode_results, self._query(RESULT, Stretch(position), page_items=_RESULTS_A_PAGE))

    def operations(self, limit: int) -> list[Operation]:
        """What people did to the key last, oldest first."""
        found = self._query(OPERATION, Stretch(), newest_first=True, page_items=limit)
        return list(map(_operation, islice(found, limit)))[::-1]

    def dead_letters(self, events: Iterable[Event]) -> dict[str, DeadLetter]:
        """The dead letters of events, by position."""
        places = (dead_letter_place(self.key, Position(event.position), event.arrived_at_ms) for event in events)
        found = map(_dead_letter, self.table.get_many(places).values())
        return {letter.position: letter for letter in found}

    def _query(
        self,
        prefix: str,
        stretch: Stretch,
        names: Sequence[str] = (),
        *,
        newest_first: bool = False,
        page_items: int = _PAGE_ITEMS,
    ) -> Iterator[Item]:
        arguments: dict[str, Any] = {
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ConsistentRead": True,
            "ScanIndexForward": not newest_first,
            "Limit": page_items,
        }
        if names:
            arguments["ProjectionExpression"] = ", ".join(f"#{name}" for name in names)
            arguments["ExpressionAttributeNames"] = {f"#{name}": name for name in names}
        values = {"pk": partition(self.key), "low": prefix + stretch.low, "high": prefix + stretch.high}
        return self.table.query(arguments, values)


def run_attempt(run: Run, fence: int) -> Attempt:
    """The attempt that a key's state tells of, as if it were recorded: it has no outcome yet."""
    cut = run.slice
    return Attempt(
        first=cut.first,
        last=cut.last,
        count=cut.count,
        fence=fence,
        number=run.attempt,
        outcome="",
        reason="",
        route=cut.route,
        execution_name=run.execution_name,
        execution_id=run.execution_id,
        started_at_ms=run.started_at_ms,
        ended_at_ms=0,
        generation=run.generation,
    )


def _event(item: Item) -> Event:
    return Event(item["sk"].removeprefix(_EVENT), item["type"], item["flow_id"], item["arrived_at_ms"])


def _attempt(item: Item) -> Attempt:
    first, _, fence = item["sk"].removeprefix(ATTEMPT).partition("#")
    return Attempt(
        first=first,
        last=item["last"],
        count=item["count"],
        fence=int(fence),
        number=item["attempt"],
        outcome=item["outcome"],
        reason=item["reason"],
        route=item["route"],
        execution_name=item["execution_name"],
        execution_id=item.get("execution_id"),
        started_at_ms=item["started_at_ms"],
        ended_at_ms=item["ended_at_ms"],
        generation=item.get("generation", 0),
        ran_in=item.get("ran_in", ""),
    )


def _steps(stored: StoredResults) -> Iterator[Step]:
    for one in stored.results:
        yield Step(
            position=one.position,
            generation=stored.generation,
            name=stored.step,
            fence=stored.fence,
            attempt=stored.attempt,
            execution_id=stored.execution_id,
            began_at_ms=one.began_at_ms,
            ended_at_ms=one.ended_at_ms,
            result=one.result,
        )


def _dead_letter(item: Item) -> DeadLetter:
    closed = item.get("closed", {})
    how, by, because = closed.get("how", ""), closed.get("by", ""), closed.get("because", "")
    return DeadLetter(
        position=item["position"],
        route=item["route"],
        reason=item["reason"],
        at_ms=item["at_ms"],
        closed=f"{how} by {by}: {because}" if closed else "",
        is_redriven=how == How.REDRIVEN,
        closed_at_ms=closed.get("at_ms", 0),
    )


def _operation(item: Item) -> Operation:
    return Operation(
        command=re.sub(r"(?<=[a-z])(?=[A-Z])", "-", item["command"]).lower(),
        by=item["by"],
        reason=item["reason"],
        at_ms=item["at_ms"],
        fence=item["fence"],
        position=item.get("position", ""),
        replay=item.get("replay", ""),
    )
