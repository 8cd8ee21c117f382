"""A replay over many keys, killed half-way and resumed: exactly the plan, in order, and nothing else.

Here over the shell alone; tests/endtoend/test_replay.py does it with a thousand keys on the deployed stack.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable

from keyturn.adapters.keys import encode_state
from keyturn.core.log_entry import LogEntry
from keyturn.core.positions import Position, position
from keyturn.core.replay_job import JobState
from keyturn.core.replay_plan import Fate
from keyturn.core.state import KeyState
from tests.shell.faults import Fault
from tests.shell.world import STEPS, World

KEYS = 30
WITH_TWO_EVENTS = 10
RATE = 5


def finished_log(world: World) -> dict[str, list[Position]]:
    """Write logs of keys that are finished with all their events."""
    found: dict[str, list[Position]] = defaultdict(list)
    for number in range(KEYS + WITH_TWO_EVENTS):
        found[f"k{number % KEYS:04d}"].append(position(1, str(number + 1)))
    entries = [(key, entry(world, key, place)) for key, places in found.items() for place in places]
    world.platform.log.write(entries, world.now_ms)
    states = [
        KeyState(key, 1, cursor=places[-1], tail=places[-1], admitted=len(places), finished=len(places))
        for key, places in found.items()
    ]
    world.platform.replays.table.put_many([encode_state(state) for state in states])
    return found


def entry(world: World, key: str, place: Position) -> LogEntry:
    """Return an event that its key is finished with."""
    event = {"specversion": "1.0", "id": f"{key}@{place}", "source": "/test", "type": "express", "data": {}}
    return LogEntry(place, "express", "f" * 32, world.now_ms, json.dumps(event).encode())


def drive(world: World, until: Callable[[], bool]) -> None:
    """Let everything go on: runs, freed slots, the replay workflow and time."""
    while not until():
        for execution in world.live():
            world.run(execution)
        world.messages.clear()
        world.fill()
        for replaying in world.replaying():
            if world.pauses.get(replaying.number, 0) <= world.now_ms:
                world.slice_of(replaying)
        if not world.live():
            world.now_ms += 1_000


def test_many_keys_killed_half_way_and_resumed_run_exactly_as_planned() -> None:
    """The replayer's process is killed and its execution stopped; applied again, it goes on where it was."""
    world = World(max_in_flight_runs=20)
    events = finished_log(world)
    asked = world.ask("replay-plan", keys=list(events), is_new_generation=True, rate=RATE)
    drive(world, lambda: not world.replaying())
    tally = world.job(asked["id"]).tally
    assert (tally.keys, tally.events) == (KEYS, KEYS + WITH_TWO_EVENTS)
    assert tally.steps_to_run == len(STEPS) * (KEYS + WITH_TWO_EVENTS)

    world.ask("replay-apply", id=asked["id"])
    (killed,) = world.replaying()
    world.faults.arm(75, Fault.DIES_AFTER)
    world.slice_of(killed)
    assert world.faults.has_struck
    world.faults.arm(None)
    killed.status = "ABORTED"
    rewound = sum(state.replay is not None for state in world.platform.keys.load_many(events).values())
    assert KEYS // 4 < rewound < KEYS * 3 // 4
    assert world.ask("replay-apply", id=asked["id"])["state"] == "applying"
    drive(world, lambda: not (world.replaying() or world.live()))

    job = world.job(asked["id"])
    assert (job.state, job.counts) == (JobState.DONE, {Fate.DONE: KEYS})
    done = Counter((effect.key, effect.position, effect.step, effect.generation) for effect in world.effects)
    assert done == Counter(
        (key, place, step, 1) for key, places in events.items() for place in places for step in STEPS
    )
    for key, places in events.items():
        in_order = [one.position for one in world.effects if one.key == key and one.step == STEPS[0]]
        assert in_order == places
