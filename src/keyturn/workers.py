"""The worker decorator: makes a Lambda handler of a function that does one step for one event."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from keyturn.adapters.telemetry import instrumented
from keyturn.core.task import Task
from keyturn.settings import WorkerSettings
from keyturn.shell.start_up import built_at_start
from keyturn.shell.work import Workbench, WorkerFunction, work


def worker(function: WorkerFunction) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    """Turn `function(event, step)` into a Lambda handler that is fenced, checkpointed and traced.

    The function is called for each event of the run, in order, and only if no stored result says that it was done
    before. What it returns (JSON as strict as an event's, 4 KB at most, or None) is stored and reaches the workflow;
    anything else fails for good. An exception is a failure that Step Functions retries as the state machine says:
    raise `Permanent` where no retry can help.

    Between an effect and its stored result the Lambda may die: pass `step.idempotency_key` on to whatever has effects.
    """

    workbench = built_at_start(_workbench)

    @wraps(function)
    def handler(payload: Mapping[str, Any], context: Any) -> dict[str, Any]:
        return work(workbench(), Task.from_payload(payload), context.get_remaining_time_in_millis, function)

    wrapped: Callable[[Mapping[str, Any], Any], dict[str, Any]] = instrumented(handler)
    return wrapped


def _workbench() -> Workbench:
    return Workbench.build(WorkerSettings.from_environment())
