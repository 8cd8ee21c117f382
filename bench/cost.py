"""What a million events cost, counted in a running stack and priced as `keyturn cost` does.

    python -m bench.cost

Its routes and workers are those of the bench, on an engine that has nothing else to do. Cold keys come four at a time,
and no run waits for a slot. Units are an event's own; what all keys share (the count of runs in flight, slots,
controls) comes by the second, and is told in dollars only.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from keyturn_cli.cost.bill import Bill, Model, bill
from keyturn_cli.planning.latencies import load_latencies
from keyturn_cli.planning.workload import StreamMode
from keyturn_cli.screen import Screen

from bench.contenders import METERED
from bench.counts import of_table, read_whole
from bench.errors import told_in_a_line
from bench.ground import NESTED, STANDARD, STRICT, TENS, fresh_settings, ground
from bench.on_engine import OnEngine
from bench.report import table
from bench.workload import Workload, events
from keyturn.adapters.price_list import REFERENCE_REGION, load_prices

_SLOTS: Final = {"MaxInFlightRuns": "100"}
"""Many more than runs are in flight, as in a stack on AWS: one that waited for a slot would take more."""
_STEP_MS: Final = 20.0
_ARCHITECTURE: Final = "x86_64"
"""The template's default."""
_LIMIT_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Row:
    """Events of one kind that are counted together."""

    title: str
    event_type: str
    workload: Workload
    times: int = 1
    """How often it is put: with other keys each time, and only when all that was put is done."""

    @property
    def events(self) -> int:
        """All that are put."""
        return self.times * self.workload.events


_AT_A_TIME: Final = 4
"""More would keep the engine too busy for runs that end as they should."""


def _cold(keys: int) -> tuple[Workload, int]:
    return Workload("cold", events=_AT_A_TIME, keys=_AT_A_TIME), keys // _AT_A_TIME


ROWS: Final = (
    Row("Express, cold keys (40, four at a time)", STRICT, *_cold(40)),
    Row("Express, one busy key (150)", STRICT, Workload("hot", events=150, keys=1)),
    Row("Express, one busy key in batches of 10 (300)", TENS, Workload("hot", events=300, keys=1)),
    Row("Standard, cold keys (12, four at a time)", STANDARD, *_cold(12)),
    Row("nested, cold keys (12, four at a time)", NESTED, *_cold(12)),
)
WARM_UP: Final = tuple(Row(kind, kind, *_cold(12)) for kind in (STRICT, TENS, STANDARD, NESTED))
"""Cold functions try more often."""
_HEAD: Final = (
    *("events", "write units", "read units", "invocations", "transitions", "log bytes"),
    *("$ a million", "of it, what all keys share"),
)


def counted(row: Row, app: OnEngine, name: str) -> Bill:
    """Put a row's events, wait until they are done, and price what they took. `name` begins their keys."""
    since_ms = time.time_ns() // 1_000_000
    for turn in range(row.times):
        app.run(events(row.workload, run=f"{name}-{turn}", event_type=row.event_type), limit_s=_LIMIT_S)
    metered = read_whole(app.ground.target, since_ms, row.events)
    model = Model(load_latencies(), _STEP_MS, _ARCHITECTURE, StreamMode.PROVISIONED)
    return bill(metered, load_prices(REFERENCE_REGION), model, events=row.events)


def cells(row: Row, made: Bill) -> list[str]:
    """Write a row of the table."""
    (writes, shared_writes), (reads, shared_reads) = of_table("writes"), of_table("reads")
    shared = sum(line.usd_per_million for line in made.lines if line.item in {shared_writes, shared_reads})
    return [
        row.title,
        f"{made.amount(writes):.2f}",
        f"{made.amount(reads):.2f}",
        f"{made.amount('Lambda requests'):.2f}",
        f"{made.amount('Standard transitions'):.1f}",
        f"{made.amount('log bytes'):.0f}",
        f"{made.usd_per_million:.2f}",
        f"{shared:.2f}",
    ]


def cost() -> None:
    """Count what a million events cost, and print the table."""
    screen = Screen()
    settings = fresh_settings()
    with ExitStack() as running:
        with screen.step("engine, sam build, sam deploy"):
            deployed = running.enter_context(ground(settings, {**METERED, **_SLOTS}, {}))
        outputs = deployed.target.outputs
        # One for all rows: another one would read the stream from its beginning.
        app = OnEngine("keyturn", STRICT, deployed, outputs.stream_name, outputs.dispatcher_function_name)
        for number, row in enumerate(WARM_UP):
            counted(row, app, f"warm-up-{number}")
        rows = []
        for number, row in enumerate(ROWS):
            with screen.step(row.title):
                rows.append(cells(row, counted(row, app, f"row-{number}")))
    screen.line(table(_HEAD, rows))


if __name__ == "__main__":
    told_in_a_line(cost)
