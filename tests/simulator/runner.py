"""Runs scenarios, and makes failing ones smaller."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from keyturn.adapters import telemetry
from tests.simulator.checks import broken_promises
from tests.simulator.history import History
from tests.simulator.scenario import (
    Asked,
    CallFault,
    Doing,
    Happening,
    Order,
    Record,
    Scenario,
    Struck,
    Tempo,
    Trouble,
    scenario_of,
)
from tests.simulator.simulation import NeverRests, Simulation


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario."""

    scenario: Scenario
    history: History
    broken: tuple[str, ...]
    """What was promised and not kept; empty when all was well."""
    records: int
    calls: int
    struck: int
    """Calls to AWS that went wrong."""

    @property
    def promise(self) -> str:
        """The first promise that was broken, by its name."""
        return self.broken[0].partition(":")[0] if self.broken else ""


def outcome_of(scenario: Scenario) -> Outcome:
    """Simulate a scenario and check it."""
    simulation = Simulation(scenario)
    with _without_logs():
        try:
            simulation.run()
            broken = broken_promises(simulation)
        except NeverRests as error:
            broken = [f"drained: {error}"]
    return Outcome(
        scenario=scenario,
        history=simulation.history,
        broken=tuple(broken),
        records=len(simulation.stream.kept),
        calls=simulation.calls.made[""],
        struck=len(scenario.struck) - len(simulation.calls.struck),
    )


@contextmanager
def _without_logs() -> Iterator[None]:
    """Write no log line: those of a million events would be most of the work."""
    logger = telemetry.logger()
    level = logger.log_level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def simulate_seeds(events: int, seeds: Iterable[int]) -> tuple[dict[str, int], list[Outcome]]:
    """Simulate seeds with so many events or more each; return what there was in all, and what failed."""
    counts: Counter[str] = Counter()
    failed = []
    for seed in seeds:
        outcome = outcome_of(scenario_of(seed, events))
        counts["histories"] += 1
        counts["records"] += outcome.records
        counts["calls"] += outcome.calls
        counts["faults"] += outcome.struck + outcome.scenario.troubles
        if outcome.broken:
            failed.append(outcome)
    return dict(counts), failed


def shrunk(failed: Outcome) -> Outcome:
    """Leave everything out of a failing scenario that it fails without, as long as it breaks the same promise."""
    smallest = failed
    has_shrunk = True
    while has_shrunk:
        has_shrunk = False
        for smaller in _smaller(smallest.scenario):
            tried = outcome_of(smaller)
            if tried.promise == failed.promise:
                smallest, has_shrunk = tried, True
                break
    return smallest


_PLAINEST: Final[Mapping[str, Any]] = {
    "skews_ms": 0,
    "index_lag_ms": 0,
    "partial": 0.0,
    "shards": 1,
    "parallel": 1,
    "slots": 10,
    "quantum": 1,
    "tempo": Tempo.SAMPLE,
    "is_bad": False,
    "has_releases": False,
}


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Yield scenarios with one thing less."""
    for name in ("asked", "happenings", "struck", "records"):
        things = getattr(scenario, name)
        for place in range(len(things)):
            yield replace(scenario, **{name: things[:place] + things[place + 1 :]})
    for name, plain in _PLAINEST.items():
        if getattr(scenario, name) != plain:
            yield replace(scenario, **{name: plain})
    for place, record in enumerate(scenario.records):
        for plainer in _plainer(record):
            yield replace(scenario, records=(*scenario.records[:place], plainer, *scenario.records[place + 1 :]))


def _plainer(record: Record) -> Iterator[Record]:
    if record.doing is not Doing.WELL:
        yield replace(record, doing=Doing.WELL)
    if record.sends_again:
        yield replace(record, sends_again=False)
    if record.kind not in {"standard", ""}:
        yield replace(record, kind="standard")


def as_json(scenario: Scenario) -> str:
    """Write a scenario down."""
    return json.dumps(asdict(scenario), indent=1)


def from_json(text: str) -> Scenario:
    """Read a scenario that was written down."""
    found = json.loads(text)
    read: dict[str, Callable[[dict[str, Any]], Any]] = {
        "records": lambda one: Record(**one | {"doing": Doing(one["doing"])}),
        "struck": lambda one: Struck(**one | {"fault": CallFault(one["fault"])}),
        "happenings": lambda one: Happening(**one | {"trouble": Trouble(one["trouble"])}),
        "asked": lambda one: Asked(**one | {"order": Order(one["order"])}),
    }
    lists = {name: tuple(map(make, found[name])) for name, make in read.items()}
    return Scenario(**found | lists | {"tempo": Tempo(found["tempo"])})
