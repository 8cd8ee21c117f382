"""AWS's quotas that a load meets, and the figures to ask for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from math import ceil, floor, log10
from typing import Any, Final

from keyturn_cli.planning.case import Case
from keyturn_cli.planning.flow import UTILISATION_MAX
from keyturn_cli.planning.sizing import SHARD_BYTES, SHARD_RECORDS
from keyturn_cli.planning.units import transitions_of
from keyturn_cli.planning.workload import Kind, StreamMode

_RAMP_S: Final = 10
_CONCURRENCY: Final = "lambda_concurrency"


@dataclass(frozen=True, slots=True)
class Need:
    """A quota, and what a load takes of it."""

    name: str
    what: str
    needed: float
    default: float
    unit: str
    source: str
    is_adjustable: bool

    @property
    def is_met(self) -> bool:
        """Whether the default isn't enough, with room to spare."""
        return self.needed > self.default * self._share

    @property
    def ask_for(self) -> int | None:
        """The figure to ask for; None if the default is enough, or can't be raised."""
        return rounded_up(self.needed / self._share) if self.is_met and self.is_adjustable else None

    @property
    def _share(self) -> float:
        """Of the quota that may be used; Lambda's concurrency was sized with room to spare already."""
        return 1.0 if self.name == _CONCURRENCY else UTILISATION_MAX


@cache
def _file() -> Mapping[str, Any]:
    document: Mapping[str, Any] = json.loads((files("keyturn_cli.planning") / "quotas.json").read_bytes())
    return document


def read_on() -> str:
    """The day on which the quotas were read."""
    day: str = _file()["read_on"]
    return day


def needs_of(case: Case, region: str, concurrency: int | None = None) -> list[Need]:
    """List every quota that a load takes a part of; `concurrency` is what the account is known to have of Lambda's."""
    needs = [_need(name, what, needed, region) for name, what, needed in _needed(case)]
    if concurrency is None:
        return needs
    return [replace(need, default=concurrency) if need.name == _CONCURRENCY else need for need in needs]


def _needed(case: Case) -> Iterator[tuple[str, str, float]]:
    workload, settings, sizing = case.workload, case.settings, case.sizing
    runs = sizing.runs_max
    if settings.stream_mode is StreamMode.PROVISIONED:
        yield "kinesis_shards", "shards", sizing.shards
    else:
        by_bytes, by_records = workload.rate * workload.payload_bytes / SHARD_BYTES, workload.rate / SHARD_RECORDS
        yield "kinesis_on_demand", "on-demand stream, by bytes or records", max(by_bytes, by_records)
    if settings.kind is not Kind.EXPRESS:
        yield "standard_starts", "StartExecution, Standard", runs
        yield "transitions", "state transitions", runs * transitions_of(settings.kind, workload.steps)
        yield "open_executions", "open executions", sizing.in_flight
        yield "stop_execution", "StopExecution, if a thousandth of the runs hangs", runs / 1_000
        yield "describe_execution", "DescribeExecution, if a thousandth of the runs hangs", runs / 1_000
    if settings.kind is not Kind.STANDARD:
        yield "express_starts", "StartExecution, Express", runs
    yield _CONCURRENCY, "Lambda concurrency", sizing.lambda_concurrency
    yield "lambda_scale_up", f"one worker's environments, all within {_RAMP_S} s", sizing.max_in_flight_runs
    yield "dynamodb_table_writes", "the table's writes", sizing.write_units_max
    yield "dynamodb_table_reads", "the table's reads", sizing.read_units_max
    yield "dynamodb_new_table_writes", "a new table's writes", sizing.write_units_max
    yield "dynamodb_new_table_reads", "a new table's reads", sizing.read_units_max


def _need(name: str, what: str, needed: float, region: str) -> Need:
    known = _file()["quotas"][name]
    default = known["default" if region in _file()["large_regions"] else "elsewhere"]
    return Need(name, what, needed, default, known["unit"], known["source"], known["is_adjustable"])


def rounded_up(value: float) -> int:
    """Round up to two figures, as one asks for a quota."""
    if value < 100:
        return ceil(value)
    step: int = 10 ** (floor(log10(value)) - 1)
    return ceil(value / step) * step
