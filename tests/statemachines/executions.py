"""Executions through the Step Functions API, for every interpreter that has one."""

import json
import time
from collections.abc import Mapping
from typing import Any

from tests.statemachines.cases import UNHURRIED_S, deployable

ROLE = "arn:aws:iam::000000000000:role/workflow"
NOBODY = "arn:aws:lambda:us-east-1:000000000000:function:nobody"
"""Stands behind tasks whose answers are mocked."""


def make_machine(
    stepfunctions: Any,
    name: str,
    definition: Mapping[str, Any],
    function_arn: str = NOBODY,
    timeouts_s: Mapping[str, int] | None = None,
) -> str:
    """ARN of a state machine made from a definition of the project, with one function behind every task."""
    text = deployable(definition, lambda _: function_arn, timeouts_s or {})
    created = stepfunctions.create_state_machine(name=name, definition=text, roleArn=ROLE)
    return str(created["stateMachineArn"])


def run(stepfunctions: Any, machine_arn: str, run_input: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Run to the end; return status and history."""
    started = stepfunctions.start_execution(stateMachineArn=machine_arn, input=json.dumps(run_input))
    arn = started["executionArn"]
    deadline_s = time.monotonic() + 2 * UNHURRIED_S
    while (status := stepfunctions.describe_execution(executionArn=arn)["status"]) == "RUNNING":
        assert time.monotonic() < deadline_s, "the execution doesn't end"
        time.sleep(0.02)
    pages = stepfunctions.get_paginator("get_execution_history").paginate(executionArn=arn)
    return status, [event for page in pages for event in page["events"]]


def sequencer_input(history: list[dict[str, Any]]) -> dict[str, Any]:
    """What the state machine hands to its last state."""
    entered = (event["stateEnteredEventDetails"] for event in history if "stateEnteredEventDetails" in event)
    state: dict[str, Any] = json.loads(next(details["input"] for details in entered if details["name"] == "Sequence"))
    return state
