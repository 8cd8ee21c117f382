"""The promises, held against what happened: the six invariants of docs/design.md, and that everything drains.

They are judged from outside: by what workers did, and by each version of each key state as it landed. A check yields
what is broken, in words that begin with the promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Final

from keyturn.core.event import Reason
from keyturn.core.state import START, HandedOn, KeyState, Phase, due, violations
from tests.shell.world import SETTINGS
from tests.simulator.history import Effect, History, Put, Saved
from tests.simulator.simulation import Simulation
from tests.simulator.workflows import STEPS, Execution

Check = Callable[[Simulation], Iterator[str]]


def broken_promises(simulation: Simulation) -> list[str]:
    """Return what a simulation that ended has broken; empty when every promise was kept."""
    found = list(simulation.history.broken)
    for check in CHECKS:
        found += check(simulation)
    return found


def _order(simulation: Simulation) -> Iterator[str]:
    """Order. Allowed: 1 1 2 (a retry), and back by a replay. Forbidden: 2 1, and 1 while 2 has begun.

    Within a run of several events a worker that could store nothing is followed by one that does them again.

    An attempt's effects come before those of every later attempt of its key: no zombie outlives its turn.
    """
    for key, effects in _effects_by_key(simulation.history).items():
        for earlier, later in pairwise(effects):
            if later.fence < earlier.fence:
                yield f"order: {_told(later)} came after {_told(earlier)} of key {key}: a zombie outlived its turn"
        runs = _runs(simulation.history, key)
        for earlier, later in pairwise(effects):
            (era, first), (later_era, later_first) = runs[earlier.fence], runs[later.fence]
            if era == later_era and later_first < first:
                yield f"order: {_told(later)} came after {_told(earlier)} of key {key}"
        for step in STEPS:
            for earlier, later in pairwise(effect for effect in effects if effect.step == step):
                goes_back = later.fence == earlier.fence and later.position < earlier.position
                is_forgotten = earlier.invocation not in {later.invocation, *simulation.history.answered}
                if goes_back and not is_forgotten:
                    yield f"order: {_told(later)} came after {_told(earlier)} within a run of key {key}"


def _in_time(simulation: Simulation) -> Iterator[str]:
    """No worker outlives its run's deadline: from then on nobody waits for it."""
    for key, saved in _versions(simulation.history).items():
        deadlines = {one.state.fence: one.state.run.deadline_ms for one in saved if one.state.run is not None}
        for effect in simulation.history.of(Effect, key):
            if effect.at_ms > deadlines[effect.fence]:
                yield f"order: {_told(effect)} of key {key} came after its run's deadline"


def _one_at_a_time(simulation: Simulation) -> Iterator[str]:
    """One step of an event is under way once: a try begins when the one before has surely ended."""
    for key, effects in _effects_by_key(simulation.history).items():
        latest: dict[tuple[str, str], Effect] = {}
        seen: dict[tuple[str, str], set[int]] = {}
        for effect in effects:
            place = (effect.position, effect.step)
            before = latest.get(place, effect)
            if before.invocation != effect.invocation and effect.invocation in seen[place]:
                yield f"one at a time: {_told(effect)} of key {key} ran beside {_told(before)}"
            latest[place] = effect
            seen.setdefault(place, set()).add(effect.invocation)


def _done_once(simulation: Simulation) -> Iterator[str]:
    """A step whose result is stored is not done again, unless a new generation asks for it."""
    history = simulation.history
    for effect in history.of(Effect):
        stored_ms = history.stored.get(f"{effect.key}#{effect.position}#{effect.generation}#{effect.step}")
        if not effect.is_end and stored_ms is not None and stored_ms < effect.at_ms:
            yield f"done once: {_told(effect)} of key {effect.key} was done before"


def _kept_when_it_fails(simulation: Simulation) -> Iterator[str]:
    """What a worker did before it failed is stored: only one that was killed has an event done again."""
    history = simulation.history
    done: dict[tuple[str, str], int] = {}
    for effect in history.of(Effect):
        place = (effect.key, effect.name)
        if effect.is_end and effect.invocation in history.answered:
            done.setdefault(place, effect.invocation)
        elif done.get(place, effect.invocation) != effect.invocation:
            yield f"done once: {_told(effect)} of key {effect.key} was done by a worker that answered"


def _fencing(simulation: Simulation) -> Iterator[str]:
    """An attempt belongs to one execution, and only what holds the fence writes."""
    for key, effects in _effects_by_key(simulation.history).items():
        owner: dict[int, str] = {}
        for effect in effects:
            if owner.setdefault(effect.fence, effect.execution) != effect.execution:
                yield f"fencing: two executions worked for attempt {effect.fence} of key {key}"
    for saved in _versions(simulation.history).values():
        for before, after in pairwise(saved):
            if after.state.version != before.state.version + 1:
                yield f"fencing: key {after.state.key} went from {before.state.version} to {after.state.version}"
            if after.state.fence < before.state.fence:
                yield f"fencing: the fence of key {after.state.key} went back"
            yield from _finished_by_its_own(before.state, after)


def _finished_by_its_own(before: KeyState, after: Saved) -> Iterator[str]:
    """Only the execution that an attempt is bound to, of the attempt that holds the fence, ends it."""
    run = before.run
    if not after.fence or run is None or before.phase is not Phase.RUNNING or after.state.run == run:
        return
    if after.fence != before.fence:
        yield f"fencing: attempt {after.fence} of key {before.key} ended attempt {before.fence}"
    if run.execution_id and after.execution and after.execution != run.execution_id:
        yield f"fencing: {after.execution} ended attempt {before.fence} of key {before.key}, of {run.execution_id}"


def _in_turn(simulation: Simulation) -> Iterator[str]:
    """A run takes what comes next in the log, whole: nothing between the cursor and it, nothing left out in it."""
    for saved in _versions(simulation.history).values():
        for before, after in pairwise([Saved(0, KeyState(saved[0].state.key), ()), *saved]):
            run = after.state.run
            if run is None or after.state.fence == before.state.fence:
                continue
            if before.state.hold is not None:
                yield f"in turn: key {after.state.key} started a run while it was held"
            behind = [place for place in after.log if after.state.cursor < place <= after.state.tail]
            inside = [place for place in after.log if run.slice.first <= place <= run.slice.last]
            if not behind or behind[0] != run.slice.first:
                yield f"in turn: key {after.state.key} ran {run.slice.first[-4:]} while {behind[:1]} came next"
            if len(inside) != run.slice.count:
                yield f"in turn: key {after.state.key} ran {run.slice.count} events of {len(inside)}"


def _done_before_finished(simulation: Simulation) -> Iterator[str]:
    """The cursor passes an event when each of its steps is done, or when it was given up, which is recorded."""
    history = simulation.history
    for key, saved in _versions(history).items():
        ends = [effect for effect in history.of(Effect, key) if effect.is_end]
        for before, after in pairwise(saved):
            run = before.state.run
            if run is None or after.state.run == run or not _has_passed(before.state, after.state):
                continue
            for place in (one for one in before.log if run.slice.first <= one <= run.slice.last):
                done = {
                    effect.step
                    for effect in ends
                    if effect.position == place and effect.at_ms <= after.at_ms and effect.generation >= run.generation
                }
                if done != set(STEPS) and (key, place) not in history.dead:
                    yield f"nothing lost: key {key} passed event {place[-4:]} with only {sorted(done)} done"


def _has_passed(before: KeyState, after: KeyState) -> bool:
    """Whether the run is over, and not merely on its way to another attempt."""
    is_parked_or_waits = after.run is not None and before.run is not None and after.run.slice == before.run.slice
    return not is_parked_or_waits


def _admitted_once(simulation: Simulation) -> Iterator[str]:
    """A redelivery changes nothing, and a producer's resend is recorded as a duplicate, not done."""
    history = simulation.history
    places: dict[tuple[str, str], set[str]] = {}
    names: dict[tuple[str, str, str, int], set[str]] = {}
    for effect in history.of(Effect):
        places.setdefault((effect.key, effect.event_id), set()).add(effect.position)
        names.setdefault((effect.key, effect.position, effect.step, effect.generation), set()).add(effect.name)
    for (key, event_id), found in places.items():
        if len(found) > 1:
            yield f"admitted once: {event_id} of key {key} was done as {len(found)} events"
    for (key, place, step, _), found in names.items():
        if len(found) > 1:
            yield f"admitted once: {step} of {place[-4:]} of key {key} has {len(found)} idempotency keys"


def _late_is_late(simulation: Simulation) -> Iterator[str]:
    """Only what was set aside by the stream's reader is late; what came in its turn is admitted."""
    late = [place for place, reason in simulation.history.quarantined.items() if reason == Reason.LATE]
    if late and not simulation.was_set_aside:
        yield f"nothing lost: {len(late)} events were taken for late that were never set aside"


def _on_one_release(simulation: Simulation) -> Iterator[str]:
    """A key stays on its release until it is idle, or a person says what becomes of it; a bad one it leaves at once."""
    rolled_back = simulation.rolled_back()
    for saved in _versions(simulation.history).values():
        for before, after in pairwise(saved):
            left, taken = before.state.release, after.state.release
            if left and taken and left != taken and left not in rolled_back:
                yield f"one release: key {after.state.key} went from release {left} to {taken} in the middle"


def _states(simulation: Simulation) -> Iterator[str]:
    """Every state that lands is one of the model's: idle means done, running and waiting are in the index."""
    for saved in simulation.history.of(Saved):
        for message in violations(saved.state):
            yield f"no lost wake-up: key {saved.state.key}: {message}"


def _drained(simulation: Simulation) -> Iterator[str]:
    """In the end every key is idle, and every event is done or accounted for."""
    history, states = simulation.history, simulation.states()
    for key, state in states.items():
        if state.phase is not Phase.IDLE or state.cursor != state.tail:
            yield f"drained: key {key} is {state.phase}"
        if state.admitted != state.finished or state.missing:
            yield f"drained: key {key} admitted {state.admitted}, finished {state.finished}, missing {state.missing}"
    for put in history.of(Put):
        yield from _accounted_for(simulation, put, states.get(put.key, KeyState(put.key)))
    yield from _index(simulation, states)


def _accounted_for(simulation: Simulation, put: Put, state: KeyState) -> Iterator[str]:
    history = simulation.history
    done = {effect.step for effect in history.of(Effect, put.key) if effect.is_end and effect.position == put.position}
    is_elsewhere = (
        put.position in history.quarantined
        or (put.key, put.position) in history.dead
        or (put.key, put.position) in history.duplicates
    )
    if (put.key, put.position) not in history.acknowledged:
        yield f"drained: record {put.position[-4:]} of key {put.key} was never taken"
    elif done != set(STEPS) and not is_elsewhere:
        yield f"nothing lost: event {put.event_id} of key {put.key} was never done whole (cursor {state.cursor[-4:]})"


def _index(simulation: Simulation, states: Mapping[str, KeyState]) -> Iterator[str]:
    """The index names exactly the keys that it should."""
    simulation.table.index.catch_up(simulation.hub.now_ms + 3_600_000)
    found = {pk for pk, sk in simulation.table.index.entries if sk == "state"}
    wanted = {f"key#{key}" for key, state in states.items() if due(state, SETTINGS.index_rounding_ms)}
    if found != wanted:
        yield f"no lost wake-up: the index names {sorted(found)}, not {sorted(wanted)}"


def _by_its_own_machine(simulation: Simulation) -> Iterator[str]:
    """A run is worked on by the state machine of its route, at its key's release, wherever an execution goes on."""
    for execution in simulation.workflows.executions:
        for run in execution.runs:
            started_by = execution.runs[0]
            machines = {execution.machine, execution.machine.replace("-express", "-nested")}
            is_inside = run["machine"].endswith("-nested")
            if (
                run["machine"] not in machines
                or run["release"] != started_by["release"]
                or (is_inside and len(execution.runs) > 1)
            ):
                yield (
                    f"own machine: {execution.name} of {execution.machine}, release {execution.runs[0]['release']}, "
                    f"went on with attempt {run['fence']} of {run['machine']}, release {run['release']}"
                )


def _handed_to_its_own(simulation: Simulation) -> Iterator[str]:
    """An attempt that was claimed for an execution is begun in that one and in no other, and is never started."""
    claimed = {
        (key, after.state.fence): after.state.run.execution_id
        for key, saved in _versions(simulation.history).items()
        for before, after in pairwise(saved)
        if after.state.run is not None and after.state.fence != before.state.fence
    }
    for execution in simulation.workflows.executions:
        for number, run in enumerate(execution.runs):
            owner = claimed.get((run["key"], run["fence"]))
            is_its_own = owner is not None and owner.startswith(f"execution-{execution.number}-")
            if (owner is not None or number > 0) and not is_its_own:
                yield f"own run: {execution.name} began attempt {run['fence']} of key {run['key']}, claimed for {owner}"


def _none_is_forgotten(simulation: Simulation) -> Iterator[str]:
    """A run that was claimed for an execution comes to it: nobody else ever does it before its deadline.

    Unless that fails before, or asks when the note of the run is gone: where its key has handed on another time.
    """
    versions = _versions(simulation.history)
    begun = {(run["key"], run["fence"]) for one in simulation.workflows.executions for run in one.runs}
    for key, saved in versions.items():
        for before, after in pairwise(saved):
            run, fence = after.state.run, after.state.fence
            if run is None or run.execution_id is None or fence == before.state.fence or (key, fence) in begun:
                continue
            execution = simulation.workflows.executions[int(run.execution_id.split("-")[1])]
            if execution.status == "SUCCEEDED" and not _lost_its_note(execution, versions, key, after.at_ms):
                yield f"own run: attempt {fence} of key {key} was claimed for {execution.name}, and forgotten"


def _lost_its_note(execution: Execution, versions: Mapping[str, list[Saved]], key: str, claimed_at_ms: int) -> bool:
    """Whether an execution's last key said at the claim whom it was handed on to, and no more when it ended."""
    last = execution.runs[-1]
    note = HandedOn(key, last["fence"])
    said = [one for one in versions[last["key"]] if one.at_ms <= execution.ended_ms]
    is_said = any(one.state.handed_on == note for one in said if one.at_ms <= claimed_at_ms)
    return is_said and said[-1].state.handed_on != note


def _never_cut_off(simulation: Simulation) -> Iterator[str]:
    """An execution goes on with a run only if it lasts that long."""
    for execution in simulation.workflows.executions:
        if execution.status == "TIMED_OUT" and len(execution.runs) > 1:
            yield f"within its time: {execution.name} was cut off at its run {len(execution.runs)}"


CHECKS: Final[tuple[Check, ...]] = (
    _order,
    _in_time,
    _one_at_a_time,
    _done_once,
    _kept_when_it_fails,
    _fencing,
    _in_turn,
    _done_before_finished,
    _admitted_once,
    _late_is_late,
    _on_one_release,
    _by_its_own_machine,
    _handed_to_its_own,
    _none_is_forgotten,
    _never_cut_off,
    _states,
    _drained,
)


def _effects_by_key(history: History) -> dict[str, list[Effect]]:
    found: dict[str, list[Effect]] = {}
    for effect in history.of(Effect):
        found.setdefault(effect.key, []).append(effect)
    return found


def _versions(history: History) -> dict[str, list[Saved]]:
    found: dict[str, list[Saved]] = {}
    for saved in history.of(Saved):
        found.setdefault(saved.state.key, []).append(saved)
    return found


def _runs(history: History, key: str) -> dict[int, tuple[int, str]]:
    """Tell for each attempt where its run begins, and in which stretch between two jumps of the key's cursor."""
    found: dict[int, tuple[int, str]] = {}
    era, cursor = 0, START
    for saved in _versions(history).get(key, []):
        state = saved.state
        if state.cursor < cursor or (state.replay is not None and not state.replay.is_noted):
            era += 1
        cursor = state.cursor
        if state.run is not None:
            found.setdefault(state.fence, (era, state.run.slice.first))
    return found


def _told(effect: Effect) -> str:
    return f"{effect.step} of {effect.event_id} (fence {effect.fence}, {'end' if effect.is_end else 'begin'})"
