"""Step Functions as AWS has it, at the edge of the tests: names, statuses, and starts that come twice."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from keyturn.core.state import Clock
from keyturn.limits import EXPRESS_EXECUTION_S_MAX
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
    """Times that the last state of its run was tried."""
    began_ms: int = 0
    seen: Any = None
    """The key's state, as it came with the run that it went on with."""
    passed: list[dict[str, Any]] = field(default_factory=list)
    """The headers of the runs that it went on from."""

    @property
    def is_standard(self) -> bool:
        """Whether it runs as Standard."""
        return self.machine.endswith("-standard")

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The headers of all runs that it was at."""
        return [*self.passed, self.input["run"]]

    @property
    def execution_id(self) -> str:
        """What States.UUID() gave it."""
        return f"uuid-{self.number}"

    @property
    def payload(self) -> dict[str, Any]:
        """What it passes to the sequencer: an Express one tells of itself, since it goes on if the answer says so."""
        report = {"run": self.input["run"], "steps": list(self.answers.values())}
        if not self.machine.endswith("-express"):
            return report
        began = datetime.fromtimestamp(self.began_ms / 1_000, UTC).isoformat()
        told = {"id": self.execution_id, "name": self.name, "started_at": began, "timeout_s": EXPRESS_EXECUTION_S_MAX}
        return report | {"seen": self.seen, "execution": told}

    def go_on(self, answer: dict[str, Any]) -> None:
        """Take what the sequencer answered: the next run, or nothing more to do."""
        if "run" not in answer:
            self.status = "SUCCEEDED"
            return
        assert answer["execution_id"] == self.execution_id
        self.passed.append(self.input["run"])
        self.input, self.seen = {"run": answer["run"], "events": answer["events"]}, answer["seen"]
        self.answers, self.sequenced = {}, 0

    @property
    def key(self) -> str:
        """The ordering key."""
        return str(self.input["run"]["key"])


@dataclass
class StepFunctions:
    """The calls that Keyturn makes of it."""

    machines: frozenset[str]
    clock: Clock = lambda: 0
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
        began_ms, number = self.clock(), len(self.executions)
        self.executions.append(Execution(machine, call["name"], document, number, version, began_ms=began_ms))
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
