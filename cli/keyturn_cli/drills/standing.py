"""What a stack is like besides its keys: a drill must leave it as it found it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from keyturn.adapters.controls import Controls
from keyturn.adapters.table import Table
from keyturn.core.breaker import BreakerPhase
from keyturn_cli.target import Target

PLATFORM: Final = ("dispatcher", "sequencer", "watchdog")
"""The functions that may be led through a proxy."""
ENDPOINT: Final = "AWS_ENDPOINT_URL"
_SCHEDULE: Final = "AWS::Scheduler::Schedule"


@dataclass(frozen=True, slots=True)
class StackStanding:
    """All that drills change."""

    schedules: Mapping[str, str]
    """Each schedule of the stack, and whether it is enabled."""
    open_shards: int
    holds: tuple[str, ...]
    """Routes that a person holds, and breakers that aren't closed."""
    release: int
    """The stable release; 0 if none was published."""
    endpoints: Mapping[str, str]
    """Functions that were told where to reach AWS."""

    def differences(self, after: StackStanding) -> Iterator[str]:
        """Tell what is otherwise afterwards."""
        for field in fields(self):
            was, now = getattr(self, field.name), getattr(after, field.name)
            if was != now:
                yield f"{field.name.replace('_', ' ')}: {was} before, {now} after"


def stack_standing(target: Target) -> StackStanding:
    """Look at a stack."""
    controls = Controls(Table(target.client("dynamodb"), target.outputs.state_table_name), 1).read()
    breakers = tuple(f"breaker {one.name}" for one in controls.breakers if one.phase is not BreakerPhase.CLOSED)
    holds = tuple(f"route {one.route or 'all'}" for one in controls.holds if one.is_held)
    endpoints = {name: variables_of(target, name).get(ENDPOINT, "") for name in PLATFORM}
    return StackStanding(
        schedules={name: schedule(target, name)["State"] for name in schedules(target)},
        open_shards=len(open_shards(target)),
        holds=holds + breakers,
        release=controls.rollout.stable,
        endpoints={name: url for name, url in endpoints.items() if url},
    )


def schedules(target: Target) -> list[str]:
    """The schedules of the stack."""
    pages = target.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=target.stack_name)
    found = (resource for page in pages for resource in page["StackResourceSummaries"])
    return sorted(one["PhysicalResourceId"] for one in found if one["ResourceType"] == _SCHEDULE)


def schedule(target: Target, name: str) -> Mapping[str, Any]:
    """A schedule as it stands."""
    found: Mapping[str, Any] = target.client("scheduler").get_schedule(Name=name)
    return found


def open_shards(target: Target) -> list[Mapping[str, Any]]:
    """The shards that take records."""
    pages = target.client("kinesis").get_paginator("list_shards").paginate(StreamName=target.outputs.stream_name)
    shards = (shard for page in pages for shard in page["Shards"])
    return [shard for shard in shards if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]


def function_name(target: Target, name: str) -> str:
    """What a platform function of the stack is called."""
    return str(getattr(target.outputs, f"{name}_function_name"))


def variables_of(target: Target, name: str) -> dict[str, str]:
    """The environment of a platform function."""
    found = target.client("lambda").get_function_configuration(FunctionName=function_name(target, name))
    return dict(found["Environment"]["Variables"])
