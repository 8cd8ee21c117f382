"""A stack on moto whose keys were worked on by the real shell, as the read-only commands see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import boto3
from keyturn_cli.looking.stack import StackReader
from keyturn_cli.target import Target
from keyturn_local.stack import StackOutputs

from tests.shell.world import World


@dataclass(frozen=True)
class WorldTarget(Target):
    """The stack of a world."""

    world: World

    def client(self, service: str) -> Any:
        """Step Functions is the world's own; the rest is moto."""
        return self.world.states if service == "stepfunctions" else boto3.client(service)  # type: ignore[call-overload]


def target_of(world: World) -> WorldTarget:
    """Return what a command would find."""
    names = dict.fromkeys(StackOutputs.__dataclass_fields__, "unused")
    outputs = StackOutputs(**names | {"state_table_name": world.settings.state_table})
    return WorldTarget(boto3.Session(), {}, outputs, "keyturn", "a test", is_local=True, world=world)


def reader_of(world: World) -> StackReader:
    """Return a reader with the world's routes and clock."""
    settings = {
        "INDEX_BUCKETS": str(world.settings.index_buckets),
        "MAX_IN_FLIGHT_RUNS": str(world.settings.max_in_flight_runs),
        "STATE_MACHINE_PREFIX": world.settings.state_machine_prefix,
        "STREAM_EPOCH": "1",
        "TABLE_INCARNATION": "1",
    }
    platform = world.platform
    return StackReader(
        target=target_of(world),
        table=platform.keys.table,
        index=platform.index,
        keys=platform.keys,
        settings=settings,
        routes=platform.routes,
        clock=lambda: world.now_ms,
    )
