"""Starts, stops and looks up Step Functions executions."""

from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from keyturn.adapters.failures import code_of, translated
from keyturn.core.state import Run
from keyturn.errors import CannotStart

_REFUSED_FOR_GOOD: Final = frozenset(
    {
        "StateMachineDoesNotExist",
        "StateMachineDeleting",
        "InvalidArn",
        "InvalidName",
        "InvalidExecutionInput",
        "ValidationException",
    }
)

_MAY_QUOTE_THE_INPUT: Final = frozenset({"InvalidExecutionInput", "ValidationException"})
"""Of these only the code is told: what is said of a refusal goes to logs and key states, and an input holds events."""

_MESSAGE_CHARACTERS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Executions:
    """The state machines of one stack: `prefix` + workflow + a kind is an ARN, as in "order-standard"."""

    client: Any
    prefix: str

    def start(self, run: Run, execution_input: str, version: int | None = None) -> None:
        """Start a run's execution, on a version of its state machine if one is named.

        One of its name that was started before counts as success. An execution's ARN has no version in it, whichever
        one it runs on: that is told besides (`stateMachineVersionArn`, DescribeExecution API reference).

        Raises Throttled when it may work later, CannotStart when it never will.
        """
        with translated(f"starting execution {run.execution_name}"):
            try:
                self.client.start_execution(
                    stateMachineArn=f"{self.prefix}{run.machine}{'' if version is None else f':{version}'}",
                    name=run.execution_name,
                    input=execution_input,
                )
            except ClientError as error:
                if code_of(error) == "ExecutionAlreadyExists":
                    return
                if code_of(error) in _REFUSED_FOR_GOOD:
                    raise CannotStart(_told(error)) from error
                raise

    def stop(self, run: Run, cause: str) -> bool:
        """Stop what a run's execution still does; False when there never was one, so none of its steps began.

        One that has ended is fine, and the Lambda behind a task runs on. Asking by stopping spares DescribeExecution,
        whose quota is a tenth (15 a second, StopExecution 200: Step Functions Developer Guide, "Service quotas"). An
        Express execution can't be stopped or asked (StopExecution API reference): True, it may have been.
        """
        if not run.kind.has_history:
            return True
        with translated(f"stopping execution {run.execution_name}"):
            try:
                self.client.stop_execution(
                    executionArn=self._arn(run.machine, run.execution_name), error="Superseded", cause=cause
                )
            except ClientError as error:
                if code_of(error) == "ExecutionDoesNotExist":
                    return False
                if code_of(error) != "ValidationException":  # it has ended
                    raise
        return True

    def status(self, machine: str, execution_name: str) -> str | None:
        """Return a Standard execution's status as AWS names it; None when AWS doesn't know it (any more)."""
        with translated(f"describing execution {execution_name}"):
            try:
                answer = self.client.describe_execution(executionArn=self._arn(machine, execution_name))
            except ClientError as error:
                if code_of(error) == "ExecutionDoesNotExist":
                    return None
                raise
        return str(answer["status"])

    def _arn(self, machine: str, execution_name: str) -> str:
        return f"{(self.prefix + machine).replace(':stateMachine:', ':execution:')}:{execution_name}"


def _told(error: ClientError) -> str:
    """Say why a start is refused."""
    code = code_of(error)
    if code in _MAY_QUOTE_THE_INPUT:
        return f"{code}: Step Functions refuses its input, or its name"
    return f"{code}: {error.response['Error'].get('Message', '')}"[:_MESSAGE_CHARACTERS_MAX]
