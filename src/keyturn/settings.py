"""Settings of the deployed functions: read once, complete or not at all."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar, cast

from keyturn.core.protocol import Rules
from keyturn.core.state import Quantum
from keyturn.errors import SettingsError


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker needs to know of its stack."""

    stack_name: str
    state_table: str
    payload_bucket: str
    clock_margin_ms: int
    index_buckets: int
    index_rounding_ms: int
    event_retention_s: int
    table_incarnation: int

    @property
    def rules(self) -> Rules:
        """The part of the settings that the protocol depends on."""
        return Rules(clock_margin_ms=self.clock_margin_ms, table_incarnation=self.table_incarnation)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the environment; raises SettingsError with every missing or wrong variable at once."""
        return _build(cls, environment, _WORKER_VARIABLES)


@dataclass(frozen=True, slots=True)
class Settings(WorkerSettings):
    """What dispatcher, sequencer and watchdog need to know of their stack."""

    wake_queue_url: str
    state_machine_prefix: str
    max_in_flight_runs: int
    slot_quantum_runs: int
    slot_quantum_ms: int
    stream_epoch: int
    duplicate_window_s: int
    accepts_aggregated_records: bool
    stream_name: str
    archive_bucket: str
    """Empty when nothing is archived."""

    @property
    def slot_quantum(self) -> Quantum:
        """How long a busy key may hold its slot while others wait."""
        return Quantum(self.slot_quantum_runs, self.slot_quantum_ms)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the environment; raises SettingsError with every missing or wrong variable at once."""
        return _build(cls, environment, {**_WORKER_VARIABLES, **_PLATFORM_VARIABLES})


_T = TypeVar("_T", bound=WorkerSettings)

_Variables = Mapping[str, tuple[str, Callable[[str], object]]]
"""Environment variable -> field of the settings, and how its text is read."""


def _text(value: str) -> str:
    if not value:
        raise ValueError("is empty")
    return value


def _whole(low: int, high: int, scale: int = 1) -> Callable[[str], int]:
    def parse(value: str) -> int:
        number = int(value)
        if not low <= number <= high:
            raise ValueError(f"must be {low} to {high}")
        return number * scale

    return parse


def _aggregated(value: str) -> bool:
    if value not in {"accept", "reject"}:
        raise ValueError("must be 'accept' or 'reject'")
    return value == "accept"


_DAY_S = 86_400

_WORKER_VARIABLES: _Variables = {
    "STACK_NAME": ("stack_name", _text),
    "STATE_TABLE": ("state_table", _text),
    "PAYLOAD_BUCKET": ("payload_bucket", _text),
    "CLOCK_MARGIN_S": ("clock_margin_ms", _whole(0, 60, 1000)),
    "INDEX_BUCKETS": ("index_buckets", _whole(1, 256)),
    "INDEX_ROUNDING_S": ("index_rounding_ms", _whole(1, 300, 1000)),
    "EVENT_RETENTION_DAYS": ("event_retention_s", _whole(30, 3650, _DAY_S)),
    "TABLE_INCARNATION": ("table_incarnation", _whole(1, 9999)),
}

_PLATFORM_VARIABLES: _Variables = {
    "WAKE_QUEUE_URL": ("wake_queue_url", _text),
    "STATE_MACHINE_PREFIX": ("state_machine_prefix", _text),
    "MAX_IN_FLIGHT_RUNS": ("max_in_flight_runs", _whole(1, 100_000)),
    "SLOT_QUANTUM_RUNS": ("slot_quantum_runs", _whole(1, 10_000)),
    "SLOT_QUANTUM_S": ("slot_quantum_ms", _whole(1, 3_600, 1000)),
    "STREAM_EPOCH": ("stream_epoch", _whole(0, 9999)),
    "DUPLICATE_WINDOW_HOURS": ("duplicate_window_s", _whole(1, 8760, 3600)),
    "AGGREGATED_RECORDS": ("accepts_aggregated_records", _aggregated),
    "STREAM_NAME": ("stream_name", _text),
    "ARCHIVE_BUCKET": ("archive_bucket", str),
}

SHARED_VARIABLES = frozenset({*_WORKER_VARIABLES, *_PLATFORM_VARIABLES})
"""What template.yaml sets for all functions alike."""


def _build(kind: type[_T], environment: Mapping[str, str], variables: _Variables) -> _T:
    values: dict[str, object] = {}
    problems: list[str] = []
    for variable, (field, parse) in variables.items():
        if variable not in environment:
            problems.append(f"{variable} is missing")
            continue
        try:
            values[field] = parse(environment[variable])
        except ValueError as error:
            problems.append(f"{variable}={environment[variable]!r}: {error}")
    if problems:
        raise SettingsError(
            f"settings: {'; '.join(problems)}. Set them in template.yaml, Globals.Function.Environment."
        )
    make: Any = kind  # the tables above give every field its type
    return cast("_T", make(**values))
