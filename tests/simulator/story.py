"""Tells a history in words."""

from __future__ import annotations

from collections.abc import Iterator

from keyturn.core.state import KeyState
from tests.simulator.history import Effect, History, Put, Saved, Told
from tests.simulator.scenario import Doing, Scenario


def story(scenario: Scenario, history: History, start_ms: int) -> Iterator[str]:
    """Tell a scenario and what came of it, a line each."""
    yield f"seed {scenario.seed}: {_terms(scenario)}"
    before: dict[str, KeyState] = {}
    for fact in history.facts:
        line = _line(fact, scenario, before)
        if line:
            yield f"{(fact.at_ms - start_ms) / 1_000:9.3f} s  {line}"


def _terms(scenario: Scenario) -> str:
    parts = [f"{scenario.shards} shards", f"{scenario.slots} slots", f"batches of {scenario.batch}"]
    parts += [scenario.tempo.value]
    parts += [f"clocks {scenario.skews_ms} ms apart"] if scenario.skews_ms else []
    parts += [f"the index lags {scenario.index_lag_ms} ms at most"] if scenario.index_lag_ms else []
    parts += (
        [f"two releases{', the second of which is bad' if scenario.is_bad else ''}"] if scenario.has_releases else []
    )
    parts += ["batches and pages are cut short at times"] if scenario.partial else []
    return ", ".join(parts)


def _line(fact: Put | Effect | Saved | Told, scenario: Scenario, before: dict[str, KeyState]) -> str:
    match fact:
        case Put():
            what = f"event {fact.event_id}" if fact.event_id else "a record that is no event"
            doing = scenario.records[int(fact.event_id[1:])].doing if fact.event_id else Doing.WELL
            return f"{fact.key}: {what} is put ({fact.position[-6:]}){f', its worker {doing.value}' if doing else ''}"
        case Effect():
            verb = "ends" if fact.is_end else "begins"
            return (
                f"{fact.key}: {fact.step} of {fact.event_id} {verb} (fence {fact.fence}, invocation {fact.invocation})"
            )
        case Saved():
            old = before.get(fact.state.key, KeyState(fact.state.key))
            before[fact.state.key] = fact.state
            return _change(old, fact.state)
        case Told():
            return fact.text


def _change(old: KeyState, new: KeyState) -> str:
    parts = []
    if new.phase is not old.phase or new.fence != old.fence or new.waits_for is not old.waits_for:
        waits = f" for {new.waits_for}" if new.waits_for else ""
        parts.append(f"is {new.phase}{waits}")
    if new.run and new.fence != old.fence:
        parts.append(f"attempt {new.run.attempt} at {new.run.slice.count} from {new.run.slice.first[-6:]}")
    parts += [f"fence {new.fence}"] if new.fence != old.fence else []
    parts += [f"cursor {new.cursor[-6:]}"] if new.cursor != old.cursor else []
    parts += [f"tail {new.tail[-6:]}"] if new.tail != old.tail else []
    parts += ["held"] if new.hold and not old.hold else []
    parts += ["a replay"] if new.replay and not old.replay else []
    parts += ["the replay is over"] if old.replay and not new.replay else []
    parts += (
        [f"bound to {new.run.execution_id}"]
        if new.run and new.run.execution_id and not (old.run and old.run.execution_id)
        else []
    )
    parts += [f"because {new.parked.reason}"] if new.parked and not old.parked else []
    return f"{new.key}: {', '.join(parts)}" if parts else ""
