"""The guarantees hold in whatever order AWS does things."""

import random

import pytest

from tests.shell.faults import Fault
from tests.shell.operated import OperatedWorld
from tests.shell.world import World

MISBEHAVIOUR = ["", "", "", "", "fail once", "fail", "permanent", "hang once", "vanish once", "hang"]
KINDS = ["standard", "express", "batch", "skip", "behind"]


@pytest.mark.parametrize("seed", range(40))
def test_any_order_of_everything_keeps_the_guarantees(seed: int) -> None:
    """Few slots, misbehaving workers, resends, records that are no events, and AWS doing what it likes next."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, no secret
    world = World(max_in_flight_runs=chance.choice([1, 2, 10]), slot_quantum_runs=chance.choice([1, 3]))
    keys = [f"k{number}" for number in range(4)]
    for number in range(25):
        key = chance.choice(keys)
        resent = chance.choice([None, None, None, f"same-{key}"])
        if number % 9 == 8:
            world.put_raw(key, b"{not JSON")
        else:
            world.put(key, chance.choice(KINDS), resent, inventory=chance.choice(MISBEHAVIOUR))
        for _ in range(chance.randrange(4)):
            moves = world.moves()
            if moves:
                chance.choice(moves)()
    world.settle(chance)
    world.check()


@pytest.mark.parametrize("seed", range(30))
def test_faults_one_upon_another_keep_the_guarantees(seed: int) -> None:
    """First anything may die, lose its answer or be throttled at any time; then faults stop, and all comes to rest."""
    chance = random.Random(1_000 + seed)  # noqa: S311 - reproducible, no secret
    world = World(max_in_flight_runs=2, index_buckets=1)
    for _ in range(16):
        world.put(f"k{chance.randrange(3)}", chance.choice(KINDS), inventory=chance.choice(["", "", "vanish once"]))
    for _ in range(80):
        world.faults.arm(chance.randrange(1, 25), chance.choice(list(Fault)))
        moves = world.moves()
        if moves:
            chance.choice(moves)()
        else:
            world.now_ms += 2_000
        world.faults.arm(None)
    world.settle(chance)
    world.check()


@pytest.mark.parametrize("seed", range(30))
def test_operators_at_any_moment_keep_the_guarantees(seed: int) -> None:
    """They hold, release, resume, skip, rewind and cancel whatever the key is doing; in the end every key drains."""
    chance = random.Random(2_000 + seed)  # noqa: S311 - reproducible, no secret
    world = OperatedWorld(max_in_flight_runs=chance.choice([1, 2, 10]), slot_quantum_runs=chance.choice([1, 3]))
    for _ in range(16):
        world.put(f"k{chance.randrange(3)}", chance.choice(KINDS), inventory=chance.choice(MISBEHAVIOUR))
    for _ in range(70):
        moves = world.moves()
        if chance.random() < 0.3:
            world.something(chance)()
        elif moves:
            chance.choice(moves)()
        else:
            world.now_ms += 2_000
    world.relieve(chance)
    world.check()


@pytest.mark.parametrize("seed", range(30))
def test_operators_and_faults_one_upon_another_keep_the_guarantees(seed: int) -> None:
    """Their function dies, too, or loses its answer, and they ask again."""
    chance = random.Random(3_000 + seed)  # noqa: S311 - reproducible, no secret
    world = OperatedWorld(max_in_flight_runs=2, index_buckets=1)
    for _ in range(10):
        world.put(f"k{chance.randrange(2)}", chance.choice(KINDS), inventory=chance.choice(["", "", "vanish once"]))
    for _ in range(70):
        moves = [world.something(chance)] if chance.random() < 0.3 else world.moves()
        world.faults.arm(chance.randrange(1, 25), chance.choice(list(Fault)))
        if moves:
            chance.choice(moves)()
        else:
            world.now_ms += 2_000
        world.faults.arm(None)
    world.relieve(chance)
    world.check()
