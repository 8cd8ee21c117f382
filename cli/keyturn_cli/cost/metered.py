"""What a stack's functions used, read back from their logs: a `usage` line an invocation (`keyturn.adapters.usage`)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from keyturn.adapters.usage import MESSAGE
from keyturn_cli.errors import CliError
from keyturn_cli.target import Target

_GROUPS: Final = "/aws/lambda/{stack}-"
_STARTS: Final = ("calls stepfunctions.StartExecution:", "calls stepfunctions.StartSyncExecution:")
_MINUTE_MS: Final = 60_000
_EXECUTIONS_MAX: Final = 50
"""Standard executions of a workflow whose history is read: GetExecutionHistory takes 20 a second."""
_ENDED: Final = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")
"""As executions are looked for: the newest of all are those that run, and tell too few transitions."""


class NotMetered(CliError):
    """No function of the stack told its usage."""


@dataclass(frozen=True, slots=True)
class Function:
    """What the invocations of one function used."""

    name: str
    """Without the stack's."""
    memory_mb: int
    invocations: int
    used: Mapping[str, float]
    """By `kind rest`: `read TABLE PART`, `write TABLE PART`, `refused TABLE PART` (a write), `calls SERVICE.OPERATION`,
    `counted METRIC`."""
    log_bytes: int
    """Of its own lines, without those that tell the usage."""
    first_ms: int = 0
    """When its first invocation told what it used; 0 if that isn't known."""

    def calls(self, name: str) -> float:
        """Calls of an operation, such as "stepfunctions.StartExecution", whatever it was about."""
        return sum(value for key, value in self.used.items() if key.split(":")[0] == f"calls {name}")

    def counted(self, metric: str) -> float:
        """Sum of a metric."""
        return self.used.get(f"counted {metric}", 0.0)

    @property
    def is_worker(self) -> bool:
        """Whether it does a step: the platform's functions have names that no worker has."""
        return self.name not in PLATFORM


PLATFORM: Final = ("dispatcher", "sequencer", "watchdog", "sweeper", "operator", "replayer", "canary")


@dataclass(frozen=True, slots=True)
class Metered:
    """All that was counted between two moments."""

    functions: tuple[Function, ...]
    state_table: str
    since_ms: int
    until_ms: int
    transitions: Mapping[str, float] = field(default_factory=dict)
    """A run's transitions on average, by state machine: from the histories of Standard executions."""

    @property
    def told_hours(self) -> float:
        """Hours in which usage was told: a stack may be younger than that time, or have been metered for less of it.

        What comes by the clock comes each minute, so the first that told stands for the minute before it too.
        """
        first_ms = min((function.first_ms for function in self.functions if function.first_ms), default=self.since_ms)
        return (self.until_ms - max(self.since_ms, first_ms - _MINUTE_MS)) / 3_600_000

    @property
    def events(self) -> int:
        """Events that were finished."""
        return round(self.counted("Finished"))

    @property
    def runs(self) -> float:
        """Runs that were claimed."""
        return self.counted("Started")

    def counted(self, metric: str) -> float:
        """Sum of a metric over all functions."""
        return sum(function.counted(metric) for function in self.functions)

    def starts(self) -> Mapping[str, float]:
        """Executions that were started, by state machine."""
        found: Counter[str] = Counter()
        for function in self.functions:
            for key, value in function.used.items():
                if key.startswith(_STARTS):
                    found[key.partition(":")[2]] += value  # type: ignore[assignment]  # whole numbers, told as floats
        return dict(found)


def read_metered(target: Target, since_ms: int, until_ms: int) -> Metered:
    """Read the logs of a stack. Raises NotMetered when no line tells of usage in that time."""
    prefix = _GROUPS.format(stack=target.stack_name)
    groups = target.client("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix)
    names = [group["logGroupName"].removeprefix(prefix) for page in groups for group in page["logGroups"]]
    found = [_read_function(target, prefix, name, since_ms, until_ms) for name in names]
    functions = tuple(filter(None, found))
    if not functions:
        raise NotMetered(
            f"no function of stack {target.stack_name!r} told its usage in that time. Deploy with Metering=on, put "
            "some events, or name an earlier --since"
        )
    metered = Metered(functions, target.outputs.state_table_name, since_ms, until_ms)
    machines = [name for name in metered.starts() if name.endswith(("-standard", "-nested"))]
    transitions = {name: _transitions(target, name, since_ms) for name in machines}
    return Metered(functions, metered.state_table, since_ms, until_ms, transitions)


def _read_function(target: Target, prefix: str, name: str, since_ms: int, until_ms: int) -> Function | None:
    """Sum up what a function logged; None if it told no usage, or is of a stack whose name begins like this one's."""
    used: Counter[str] = Counter()
    invocations = log_bytes = first_ms = 0
    for at_ms, message in _messages(target, prefix + name, since_ms, until_ms):
        content = _content(message)
        if content is None:
            continue  # Lambda's own line (START, END, REPORT), which AWS leaves out: the template sets SystemLogLevel
        if content.get("message") != MESSAGE or not isinstance(content.get("used"), Mapping):
            log_bytes += len(message.encode())
            continue
        invocations += 1
        first_ms = min(first_ms or at_ms, at_ms)
        used.update(content["used"])
    if not invocations:
        return None
    found = target.client("lambda").get_function_configuration(FunctionName=f"{target.stack_name}-{name}")
    if found["Environment"]["Variables"]["STACK_NAME"] != target.stack_name:
        return None
    return Function(name, int(found["MemorySize"]), invocations, dict(used), log_bytes, first_ms)


def _messages(target: Target, group: str, since_ms: int, until_ms: int) -> Iterable[tuple[int, str]]:
    pages = target.client("logs").get_paginator("filter_log_events")
    for page in pages.paginate(logGroupName=group, startTime=since_ms, endTime=until_ms):
        yield from ((event["timestamp"], event["message"]) for event in page["events"])


def _content(message: str) -> Mapping[str, Any] | None:
    try:
        content = json.loads(message)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _transitions(target: Target, machine: str, since_ms: int) -> float:
    """Count the transitions of a workflow's runs on average: each state entered, and each retry.

    Source: Step Functions pricing: a retry counts as a transition. Raises NotMetered when no execution ended since
    then: the dearest line of the bill would be nothing.
    """
    client = target.client("stepfunctions")
    arn = target.environment["STATE_MACHINE_PREFIX"] + machine.removeprefix(f"{target.stack_name}-")
    for status in _ENDED:
        found = client.list_executions(stateMachineArn=arn, statusFilter=status, maxResults=_EXECUTIONS_MAX)
        ended = [one for one in found["executions"] if one["startDate"].timestamp() * 1_000 >= since_ms]
        if ended:
            return sum(_entered(client, one["executionArn"]) for one in ended) / len(ended)
    raise NotMetered(
        f"no execution of {machine} that began in that time has ended, so its transitions can't be counted: ask again"
        " when some have, or name an earlier --since"
    )


def _entered(client: Any, execution_arn: str) -> int:
    pages = client.get_paginator("get_execution_history").paginate(executionArn=execution_arn)
    kinds = Counter(event["type"] for page in pages for event in page["events"])
    entered = sum(count for kind, count in kinds.items() if kind.endswith("StateEntered"))
    return entered + max(0, kinds["TaskScheduled"] - kinds["TaskStateEntered"])
