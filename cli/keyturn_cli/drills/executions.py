"""The execution of an attempt, as AWS and a worker see it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from keyturn.core.state import Phase
from keyturn_cli.drills.ground import Ground

_CAUSE: Final = "a drill"


@dataclass(frozen=True, slots=True)
class Execution:
    """A Standard execution that belongs to an attempt."""

    ground: Ground
    arn: str
    machine_arn: str
    name: str
    execution_id: str
    fence: int
    input: Mapping[str, Any]

    @property
    def last(self) -> str:
        """The position of the last event that it was started for."""
        return str(self.input["events"][-1]["position"])

    @property
    def status(self) -> str:
        """As AWS names it."""
        return str(self._client.describe_execution(executionArn=self.arn)["status"])

    def abort(self) -> None:
        """Stop it, while the Lambdas behind it work on."""
        self._client.stop_execution(executionArn=self.arn, error="Drill", cause=_CAUSE)
        self.tell_status("ABORTED")

    def tell_status(self, status: str) -> None:
        """Tell the watchdog that it ended: AWS's event bus does, the local engine's never hears of executions."""
        if self.ground.target.is_local:
            detail = {
                "executionArn": self.arn,
                "stateMachineArn": self.machine_arn,
                "name": self.name,
                "status": status,
                "input": json.dumps(self.input),
            }
            event = {"source": "aws.states", "detail-type": "Step Functions Execution Status Change", "detail": detail}
            self.ground.invoke(self.ground.target.outputs.watchdog_function_name, event)

    def task(self, step: str) -> dict[str, Any]:
        """What its state machine hands to a worker."""
        return {"step": step, "execution_id": self.execution_id, **self.input}

    def done(self, step: str) -> dict[str, Any]:
        """What a worker answers that has done its step."""
        results = [{"position": event["position"], "result": None} for event in self.input["events"]]
        return {"step": step, "execution_id": self.execution_id, "outcome": "done", "results": results}

    @property
    def _client(self) -> Any:
        return self.ground.target.client("stepfunctions")


def execution_of(ground: Ground, number: int = 0) -> Execution | None:
    """The execution that a key's attempt is bound to; None until its first worker has begun."""
    found = started_for(ground, number)
    return found if found is not None and found.execution_id else None


def started_for(ground: Ground, number: int) -> Execution | None:
    """The execution that was started for a key's attempt, bound or not; None if there is none."""
    state = ground.state(number)
    run = state.run
    if state.phase is not Phase.RUNNING or run is None:
        return None
    machine = f"{ground.target.environment['STATE_MACHINE_PREFIX']}{run.workflow}-{run.kind}"
    arn = f"{machine.replace(':stateMachine:', ':execution:')}:{run.execution_name}"
    client = ground.target.client("stepfunctions")
    try:
        told = client.describe_execution(executionArn=arn)
    except client.exceptions.ExecutionDoesNotExist:
        return None
    return Execution(
        ground, arn, machine, run.execution_name, run.execution_id or "", state.fence, json.loads(told["input"])
    )
