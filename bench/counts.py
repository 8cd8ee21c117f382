"""Counts what a run on the engine used of AWS: DynamoDB units, executions, transitions, invocations, log bytes.

The functions' own calls are counted inside their processes (bench/counting), the rest is read from the engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final

from keyturn_cli.target import Target

from keyturn.adapters.price_list import REFERENCE_REGION, load_prices

COUNTING: Final = Path(__file__).resolve().parent / "counting"
_GB: Final = 1_000_000_000
_PLATFORM_LINES: Final = ("START RequestId:", "END RequestId:", "REPORT RequestId:")


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals since the engine started, or between two looks at them."""

    write_units: float = 0
    read_units: float = 0
    transitions: int = 0
    express_starts: int = 0
    invocations: int = 0
    lambda_ms: float = 0
    log_bytes: int = 0

    def __sub__(self, other: Counts) -> Counts:
        """Take what was there before away."""
        return Counts(*(mine - before for mine, before in zip(astuple(self), astuple(other), strict=True)))

    def dollars(self, events: int) -> float:
        """What so much of AWS costs, for the counted things only: neither Lambda's time nor that of Express."""
        prices = load_prices(REFERENCE_REGION)
        return (
            self.write_units * prices.dynamodb_write_unit
            + self.read_units * prices.dynamodb_read_unit
            + self.transitions * prices.standard_transition
            + self.express_starts * prices.express_start
            + self.invocations * prices.lambda_request
            + self.log_bytes / _GB * prices.logs_gb_in
            + events * prices.kinesis_put_unit
        )


def switch_on(target: Target, stack: str, calls: Path) -> None:
    """Have the functions of a stack count their calls into a file from their next invocation on."""
    client = target.client("lambda")
    for function in _functions(client, stack):
        variables = function.get("Environment", {}).get("Variables", {})
        client.update_function_configuration(
            FunctionName=function["FunctionName"],
            Environment={"Variables": variables | {"PYTHONPATH": str(COUNTING), "BENCH_CALLS": str(calls)}},
        )


def counted(target: Target, stack: str, ledger: str, calls: Path) -> Counts:
    """Sum up what a stack has used so far, without units of the ledger: its effects are the same for all."""
    units = {"write": 0.0, "read": 0.0}
    for table, kind, number in _units(calls, stack):
        units[kind] += number if table != ledger else 0
    standard, express = _transitions(target.client("stepfunctions"), stack)
    reports = list(_reports(target, stack))
    return Counts(
        write_units=units["write"],
        read_units=units["read"],
        transitions=standard,
        express_starts=express,
        invocations=sum(report.invocations for report in reports),
        lambda_ms=sum(report.lambda_ms for report in reports),
        log_bytes=sum(report.log_bytes for report in reports),
    )


def _functions(client: Any, stack: str) -> Iterator[Mapping[str, Any]]:
    for page in client.get_paginator("list_functions").paginate():
        yield from (found for found in page["Functions"] if found["FunctionName"].startswith(f"{stack}-"))


def _units(calls: Path, stack: str) -> Iterator[tuple[str, str, float]]:
    lines: Iterable[str] = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else ()
    for line in lines:
        call = json.loads(line)
        if call["function"].startswith(f"{stack}-"):
            yield from call["units"]


def _transitions(client: Any, stack: str) -> tuple[int, int]:
    """Count the states that Standard executions entered, and the Express executions."""
    standard = express = 0
    for machine in client.list_state_machines()["stateMachines"]:
        if not machine["name"].startswith(f"{stack}-"):
            continue
        executions = list(_paged(client, "list_executions", "executions", stateMachineArn=machine["stateMachineArn"]))
        if machine["type"] == "EXPRESS":
            express += len(executions)
            continue
        for execution in executions:
            history = _paged(client, "get_execution_history", "events", executionArn=execution["executionArn"])
            standard += sum(event["type"].endswith("StateEntered") for event in history)
    return standard, express


def _paged(client: Any, operation: str, items: str, **arguments: str) -> Iterator[Mapping[str, Any]]:
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page[items]


@dataclass(frozen=True, slots=True)
class _Report:
    invocations: int
    lambda_ms: float
    log_bytes: int


def _reports(target: Target, stack: str) -> Iterator[_Report]:
    """Read what each function's log tells: the platform's line for each invocation, and the function's own lines."""
    logs = target.client("logs")
    for function in _functions(target.client("lambda"), stack):
        group = function.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{function['FunctionName']}"
        invocations, lambda_ms, log_bytes = 0, 0.0, 0
        try:
            for event in _paged(logs, "filter_log_events", "events", logGroupName=group):
                message = event["message"]
                if message.startswith("REPORT RequestId:"):
                    invocations += 1
                    lambda_ms += float(message.partition("Duration: ")[2].partition(" ms")[0])
                elif not message.startswith(_PLATFORM_LINES):
                    log_bytes += len(message.encode()) + 26  # CloudWatch adds 26 bytes an event
        except logs.exceptions.ResourceNotFoundException:
            continue  # it was never invoked
        yield _Report(invocations, lambda_ms, log_bytes)
