"""State machines as they are deployed: their definitions, and the one that drives replays."""

import json
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from keyturn.adapters.failures import code_of, translated
from keyturn.core.route import Kind

REPLAY: Final = "replay-standard"


@dataclass(frozen=True, slots=True)
class Workflows:
    """The state machines of one stack: `prefix` + workflow + a kind is an ARN, as in "order-standard"."""

    client: Any
    prefix: str

    def definition(self, workflow: str, kind: Kind) -> str:
        """Return the definition that has a workflow's steps (of a nested one, Express's); empty if it isn't there."""
        machine = f"{workflow}-{Kind.EXPRESS if kind is Kind.NESTED else kind}"
        with translated(f"describing workflow {machine}"):
            try:
                answer = self.client.describe_state_machine(stateMachineArn=self.prefix + machine)
            except ClientError as error:
                if code_of(error) == "StateMachineDoesNotExist":
                    return ""
                raise
        return str(answer["definition"])

    def start_replay(self, name: str, job_id: str) -> None:
        """Start the execution that works on a replay; one of that name that was started before counts as success."""
        with translated(f"starting replay execution {name}"):
            try:
                self.client.start_execution(
                    stateMachineArn=self.prefix + REPLAY, name=name, input=json.dumps({"id": job_id, "turn": 0})
                )
            except ClientError as error:
                if code_of(error) != "ExecutionAlreadyExists":
                    raise

    def is_replaying(self, name: str) -> bool:
        """Whether an execution of the replay workflow runs; False also when none of that name was ever started."""
        arn = f"{self.prefix}{REPLAY}:{name}".replace(":stateMachine:", ":execution:")
        with translated(f"describing replay execution {name}"):
            try:
                answer = self.client.describe_execution(executionArn=arn)
            except ClientError as error:
                if code_of(error) == "ExecutionDoesNotExist":
                    return False
                raise
        return bool(answer["status"] in {"RUNNING", "PENDING_REDRIVE"})
