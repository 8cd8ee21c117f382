"""Step Functions as AWS has it, at the edge of the tests: names, statuses, and starts that come twice."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from tests.guard.limits import check

DEFINITION = json.dumps(
    {
        "StartAt": "Work",
        "States": {
            "Work": {
                "Type": "Parallel",
                "Branches": [
                    {
                        "StartAt": step,
                        "States": {step: {"Type": "Task", "Parameters": {"Payload": {"step": step}}, "End": True}},
                    }
                    for step in ("inventory", "payment")
                ],
                "Next": "Sequence",
            },
            "Sequence": {"Type": "Task", "Parameters": {"Payload": {}}, "End": True},
        },
    }
)
"""A workflow of two steps, as far as it is looked at."""

PREFIX = "arn:aws:states:us-east-1:123456789012:stateMachine:keyturn-"


@dataclass
class Execution:
    """One execution, with what its fan-out has come to."""

    machine: str
    name: str
    input: dict[str, Any]
    number: int
    version: str = ""
    """Of its machine; empty if it was started on none."""
    status: str = "RUNNING"
    answers: dict[str, Any] = field(default_factory=dict)
    """By step; a step that isn't here has not run yet."""
    sequenced: int = 0
    """Times that its last state was tried."""

    @property
    def is_standard(self) -> bool:
        """Whether it runs as Standard."""
        return self.machine.endswith("-standard")

    @property
    def execution_id(self) -> str:
        """What States.UUID() gave its fan-out."""
        return f"uuid-{self.number}"

    @property
    def key(self) -> str:
        """The ordering key."""
        return str(self.input["run"]["key"])


@dataclass
class StepFunctions:
    """The calls that Keyturn makes of it."""

    machines: frozenset[str]
    executions: list[Execution] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)
    """How many versions of a machine were published."""
    definitions: dict[str, str] = field(default_factory=dict)
    """By machine, for those that aren't DEFINITION."""

    def start_execution(self, **call: Any) -> dict[str, Any]:
        """Standard: the same name and input while it runs is the same execution. Express: always a new one."""
        check("stepfunctions", "StartExecution", call)
        machine, _, version = call["stateMachineArn"].removeprefix(PREFIX).partition(":")
        if machine not in self.machines or (version and int(version) > self.versions.get(machine, 0)):
            raise _error("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{call['stateMachineArn']}'")
        document = json.loads(call["input"])
        same = [one for one in self.executions if (one.machine, one.name) == (machine, call["name"])]
        if same and machine.endswith("-standard"):
            if same[0].status == "RUNNING" and same[0].input == document:
                return {}
            raise _error("ExecutionAlreadyExists", "Execution Already Exists")
        self.executions.append(Execution(machine, call["name"], document, len(self.executions), version))
        return {}

    def describe_state_machine(self, **call: Any) -> dict[str, Any]:
        """Tell how a machine is defined."""
        machine = call["stateMachineArn"].removeprefix(PREFIX)
        if machine not in self.machines:
            raise _error("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{call['stateMachineArn']}'")
        return {"definition": self.definitions.get(machine, DEFINITION)}

    def stop_execution(self, **call: Any) -> dict[str, Any]:
        """End a Standard execution that runs; the Lambdas behind its tasks run on."""
        check("stepfunctions", "StopExecution", call)
        execution = self._found(call)
        if execution.status == "RUNNING":
            execution.status = "ABORTED"
        return {}

    def describe_execution(self, **call: Any) -> dict[str, Any]:
        """Tell a Standard execution's status."""
        check("stepfunctions", "DescribeExecution", call)
        return {"status": self._found(call).status}

    def _found(self, call: dict[str, Any]) -> Execution:
        machine, _, name = call["executionArn"].replace(":execution:", ":stateMachine:").rpartition(":")
        assert machine.endswith("-standard"), "Express executions can't be described or stopped"
        for execution in self.executions:
            if (PREFIX + execution.machine, execution.name) == (machine, name):
                return execution
        raise _error("ExecutionDoesNotExist", "Execution Does Not Exist")


def _error(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "StartExecution")
