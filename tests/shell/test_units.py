"""What `keyturn plan` takes an event to cost is what the protocol writes and reads, counted call by call."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from keyturn_cli.planning.case import Case
from keyturn_cli.planning.costs import cost_of
from keyturn_cli.planning.latencies import load_latencies
from keyturn_cli.planning.units import Shape, units_of
from keyturn_cli.planning.workload import Architecture, Kind, Settings, StreamMode, Workload

from keyturn.adapters.price_list import load_prices
from tests.models.billing import Billed
from tests.models.s3 import S3
from tests.shell.step_functions import Execution
from tests.shell.world import Services, World, routes

STEPS = ("inventory", "payment", "notification")
BUDGET = json.loads((Path(__file__).parent / "budget.json").read_text(encoding="utf-8"))
PRICES = load_prices("us-east-1")
EVENTS = 40
PAYLOAD_BYTES = 420


@dataclass(frozen=True)
class Counted:
    """Units an event, of what stands under its key, and of what all keys share."""

    writes: float
    index_writes: float
    reads: float
    runs: float
    shared_writes: float
    shared_reads: float
    invocations: float


class MeteredWorld(World):
    """A stack whose table has a meter."""

    make_services = staticmethod(lambda: Services(Billed(), "state", S3()))
    steps = STEPS
    invocations = 0

    def work(self, execution: Execution, step: str) -> dict[str, Any]:
        """Call a worker."""
        self.invocations += 1
        return super().work(execution, step)

    def finish(self, execution: Execution) -> None:
        """Call the sequencer."""
        self.invocations += 1
        super().finish(execution)

    def dispatch(
        self, batch: list[dict[str, Any]], has_time: Callable[[], bool] = lambda: True
    ) -> dict[str, Any] | None:
        """Call the dispatcher."""
        self.invocations += 1
        return super().dispatch(batch, has_time)


def counted(keys: int, batch: int = 1, slots: int = 1_000, events: int = EVENTS, beside: int = 1) -> Counted:
    """Put events, all at once, run them to their ends, and count; `beside` is the batch of a route that gets none."""
    taken = routes(batch={"events": batch, "bytes": 180_000})
    other = replace(taken.routes[0], batch=replace(taken.routes[0].batch, events=beside))
    world = MeteredWorld(
        replace(taken, routes=(other, *taken.routes[1:])), max_in_flight_runs=slots, slot_quantum_runs=1_000
    )
    for number in range(events):
        world.put(f"order-{number % keys}", "express", filler="x" * 300)
    assert world.deliver(events)
    while world.live():
        world.run(world.live()[0])
    assert len(world.effects) == events * len(STEPS)
    units = world.dynamodb.units
    return Counted(
        writes=(units["write"] + units["index write"]) / events,
        index_writes=units["index write"] / events,
        reads=units["read"] / events,
        runs=sum(len(execution.runs) for execution in world.states.executions) / events,
        shared_writes=units["shared write"] / events,
        shared_reads=units["shared read"] / events,
        invocations=world.invocations / events,
    )


@pytest.mark.parametrize(("keys", "batch"), [(EVENTS, 1), (1, 1), (1, 10), (4, 10), (2, 20)])
def test_the_table_of_units_says_what_the_protocol_writes_and_reads(keys: int, batch: int) -> None:
    """Cold keys and busy ones, strictly and in batches: within a twentieth."""
    found, foreseen = counted(keys, batch), units_of(shape_of(keys, batch))
    assert foreseen.write_units == pytest.approx(found.writes, rel=0.05)
    assert foreseen.index_write_units == pytest.approx(found.index_writes)
    assert foreseen.read_units == pytest.approx(found.reads, rel=0.08)
    assert foreseen.sequencer_invocations == pytest.approx(found.runs)


@pytest.mark.parametrize(
    ("budget", "keys", "batch"),
    [("cold-strict", EVENTS, 1), ("busy-strict", 1, 1), ("busy-batches-of-10", 1, 10)],
)
def test_an_event_takes_no_more_than_its_budget(budget: str, keys: int, batch: int) -> None:
    """Units are money: a change that makes events dearer must say so in the budget file."""
    found = counted(keys, batch)
    assert found.writes <= BUDGET[budget]["writes"]
    assert found.index_writes <= BUDGET[budget]["index_writes"]
    assert found.reads <= BUDGET[budget]["reads"]
    assert found.invocations <= BUDGET[budget]["invocations"]


def test_waiting_for_a_slot_adds_two_write_units_a_run_at_most() -> None:
    """The claim is a write of its own then, and moves the key in the index, which is a write out and a write in; but it
    binds the run to the execution that freed the slot."""
    found = counted(EVENTS, slots=1)
    assert found.writes <= BUDGET["cold-strict"]["writes"] + BUDGET["waiting-for-a-slot"]["more_writes"]


@pytest.mark.parametrize(("keys", "more_keys"), [(40, 160), (1, 1)])
def test_an_event_costs_no_more_when_there_are_more_of_them(keys: int, more_keys: int) -> None:
    """More keys, or a longer log of one: what all keys share costs less, and nothing costs more."""
    few, many = counted(keys, events=40), counted(more_keys, events=160)
    assert many.writes <= few.writes
    assert many.reads <= few.reads
    assert many.shared_reads <= few.shared_reads
    assert many.shared_writes <= few.shared_writes


def test_a_busy_key_reads_no_more_events_than_its_own_route_takes() -> None:
    """Each event that is read is billed by its size, and other routes of the deployment may take ninety a run."""
    assert counted(keys=1, beside=90).reads == pytest.approx(counted(keys=1).reads, rel=0.05)


def test_what_keys_share_costs_a_batch_and_not_an_event() -> None:
    """The count of running keys, once a second, and the slots that are taken."""
    found = counted(EVENTS)
    assert found.shared_writes * EVENTS <= 3
    assert found.shared_reads * EVENTS <= 5


def test_a_plan_knows_what_a_rare_event_makes_all_keys_pay() -> None:
    """It is alone to count the runs: half a unit for each bucket of two queues, and a look once its key is idle."""
    world = MeteredWorld(routes(), index_buckets=8)
    world.put("order-1", "express")
    assert world.deliver(1)
    world.run(world.live()[0])
    units = world.dynamodb.units
    rare = Workload(rate=0.0001, keys=1, payload_bytes=PAYLOAD_BYTES, steps=len(STEPS), step_ms=80)
    settings = Settings(Kind.EXPRESS, 1, StreamMode.PROVISIONED, 256, Architecture.ARM, 1)
    cost = cost_of(Case(rare, settings, load_latencies()), PRICES)
    (item,) = [item for item in cost.items if item.name == "DynamoDB, slots looked at and counted"]
    taken = units["shared read"] * PRICES.dynamodb_read_unit + units["shared write"] * PRICES.dynamodb_write_unit
    own = 1.5 * PRICES.dynamodb_read_unit + PRICES.dynamodb_write_unit  # a dispatcher's batch, told with its event
    assert units["shared read"] >= 8
    assert taken - own <= item.usd_a_month / cost.events <= 3 * taken


def shape_of(keys: int, batch: int) -> Shape:
    """Events that came all at once: each key's first run is cold, the others follow. What is shared is left out."""
    each = EVENTS / keys
    taken = min(batch, each)
    return Shape(
        kind=Kind.EXPRESS,
        steps=len(STEPS),
        payload_bytes=PAYLOAD_BYTES,
        batch=taken,
        busy=1 - taken / each,
        admitted_together=each,
        records=1e9,
        binds_lost=0,  # workers run one after another here
    )
