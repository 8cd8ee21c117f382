"""Step Functions: the sample's workflow with its own retries and timeouts, and the replay workflow.

A timeout or a stop ends an execution, not the Lambda behind its task. An Express execution may be started twice, and
tells nobody how it ended; it goes on with whatever run the sequencer's answer brings.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from greenlet import getcurrent

from tests.models.dynamodb import refusal
from tests.simulator.hub import Hub, Killed
from tests.simulator.lambdas import Answer, Lambdas
from tests.simulator.scenario import Tempo

MACHINES: Final = Path(__file__).parents[2] / "statemachines"
PREFIX: Final = "arn:aws:states:us-east-1:123456789012:stateMachine:keyturn-"
_UNHEARD: Final = 0.3
"""How many answers are lost while some are."""
STEPS: Final = ("inventory", "payment")

_DEFINITION: Final = json.loads((MACHINES / "order.asl.json").read_text())
_NESTED: Final = json.loads((MACHINES / "nested.asl.json").read_text())
_DRAINING: Final = json.loads((MACHINES / "order.draining.asl.json").read_text())
_WORK: Final = _DEFINITION["States"]["Work"]["Branches"][0]["States"]["Inventory"]
_SEQUENCE: Final = _DEFINITION["States"]["Sequence"]


@dataclass(frozen=True, slots=True)
class Times:
    """How long things may take; they nest: a worker's Lambda < a task < an execution < a run."""

    task_ms: int
    sequence_ms: int
    execution_ms: int
    run_ms: int
    draining_ms: int
    """Of an execution that goes on with further runs: all of Express."""


TIMES: Final = {
    Tempo.SAMPLE: Times(
        task_ms=_WORK["TimeoutSeconds"] * 1_000,
        sequence_ms=_SEQUENCE["TimeoutSeconds"] * 1_000,
        execution_ms=_DEFINITION["TimeoutSeconds"] * 1_000,
        run_ms=140_000,
        draining_ms=_DRAINING["TimeoutSeconds"] * 1_000,
    ),
    Tempo.BRISK: Times(task_ms=5_000, sequence_ms=11_000, execution_ms=18_000, run_ms=20_000, draining_ms=40_000),
}

RETRIES: list[dict[str, Any]] = _WORK["Retry"]
"""When a step's task is tried again, as the state machine has it."""


class Allowance:
    """What is left of a state's retries."""

    def __init__(self, retriers: list[dict[str, Any]]) -> None:
        """Nothing was tried yet."""
        self._left = [[set(one["ErrorEquals"]), one["MaxAttempts"]] for one in retriers]

    def takes(self, error: str) -> bool:
        """Take a retry for an error; False when the first retrier that it fits has none left, or none fits it."""
        for retrier in self._left:
            if retrier[0] & {error, "States.ALL"}:
                retrier[1] -= 1
                return bool(retrier[1] >= 0)
        return False


def is_standard(machine: str) -> bool:
    """Whether the executions of a machine have names of their own, and tell how they ended."""
    return machine.endswith(("-standard", "-nested"))


@dataclass(slots=True)
class Execution:
    """One execution; owns its strands."""

    number: int
    machine: str
    name: str
    input: dict[str, Any]
    status: str = "RUNNING"
    is_dead: bool = False
    ids: int = 0
    """Ids that it has made: one, but for each run that an older sequencer hands over."""
    at: dict[str, Any] = field(default_factory=dict)
    """The state of the run that it is at: the run, its events, the execution's id."""
    began_ms: int = 0
    ended_ms: int = 0
    runs: list[dict[str, Any]] = field(default_factory=list)
    """The headers of all runs that it was at."""

    @property
    def execution_id(self) -> str:
        """What it passes to workers and sequencer as its own."""
        return str(self.at["execution_id"]) if self.at else ""

    @property
    def is_standard(self) -> bool:
        """Whether it runs as Standard, with or without an Express one inside."""
        return is_standard(self.machine)

    @property
    def is_nested(self) -> bool:
        """Whether it only has an Express one do its run."""
        return self.machine.endswith("-nested")

    @property
    def is_replay(self) -> bool:
        """Whether it works on a replay."""
        return self.machine == "replay-standard"


@dataclass
class Workflows:
    """The state machines of the stack. Methods in lower case take and return what boto3's do."""

    hub: Hub
    lambdas: Lambdas
    times: Times
    on_end: Callable[[Execution], None]
    """Told of every execution that fails, times out or is aborted."""
    late_ms: Callable[[str, Execution], int]
    """How late a step's Lambda begins."""
    tell: Callable[[str], None]
    steps: tuple[str, ...] = STEPS
    executions: list[Execution] = field(default_factory=list)
    throttled_until_ms: int = 0
    doubled_until_ms: int = 0
    unheard_until_ms: int = 0
    """Until when some answers of functions are lost."""
    called_again_until_ms: int = 0
    """Until when sequencers may be called once more, whatever they answered."""

    @property
    def running(self) -> list[Execution]:
        """The executions that run."""
        return [execution for execution in self.executions if execution.status == "RUNNING"]

    def start_execution(self, **call: Any) -> dict[str, Any]:
        """Standard: the same name and input while it runs is the same execution. Express: always a new one."""
        if self.hub.now_ms < self.throttled_until_ms:
            raise refusal("ExecutionLimitExceeded", "StartExecution")
        machine = call["stateMachineArn"].removeprefix(PREFIX).partition(":")[0]
        document = json.loads(call["input"])
        same = [one for one in self.executions if (one.machine, one.name) == (machine, call["name"])]
        if same and is_standard(machine):
            if same[0].status == "RUNNING" and same[0].input == document:
                return {}
            raise refusal("ExecutionAlreadyExists", "StartExecution")
        self._start(machine, call["name"], document)
        if not is_standard(machine) and self.hub.now_ms < self.doubled_until_ms:
            self.tell(f"{call['name']} starts twice")
            delay_ms = self.hub.chance.choice((1, 200, 1_500, 4_000, 150_000))
            self.hub.after(delay_ms, lambda: self._start(machine, call["name"], json.loads(call["input"])))
        return {}

    def stop_execution(self, **call: Any) -> dict[str, Any]:
        """End a Standard execution that runs; the Lambdas behind its tasks run on."""
        self._end(self._found(call), "ABORTED")
        return {}

    def describe_execution(self, **call: Any) -> dict[str, Any]:
        """Tell a Standard execution's status."""
        return {"status": self._found(call).status}

    def describe_state_machine(self, **_call: Any) -> dict[str, Any]:
        """Tell how the workflow is defined."""
        states = {"Type": "Task", "Parameters": {"Payload": {"step": ""}}, "End": True}
        branches = [
            {"StartAt": step, "States": {step: states | {"Parameters": {"Payload": {"step": step}}}}}
            for step in self.steps
        ]
        work = {"Type": "Parallel", "Branches": branches, "Next": "Sequence"}
        return {"definition": json.dumps({"StartAt": "Work", "States": {"Work": work, "Sequence": states}})}

    def abort_one(self) -> None:
        """Abort an execution, as a person in the console might."""
        running = [one for one in self.running if not one.is_replay]
        if running:
            execution = self.hub.chance.choice(running)
            self.tell(f"{execution.name} is aborted")
            self._end(execution, "ABORTED")

    def lose_one(self) -> None:
        """Have an Express execution lose its state: it begins anew, and what its tasks called works on."""
        running = [one for one in self.running if not one.is_standard]
        if running:
            lost = self.hub.chance.choice(running)
            self.tell(f"{lost.name} loses its state")
            self._end(lost, "LOST")
            delay_ms = self.hub.chance.choice((1, 300, 3_000, 60_000))
            self.hub.after(delay_ms, lambda: self._start(lost.machine, lost.name, lost.input))

    def _found(self, call: dict[str, Any]) -> Execution:
        machine, _, name = call["executionArn"].replace(":execution:", ":stateMachine:").rpartition(":")
        for execution in self.executions:
            if (PREFIX + execution.machine, execution.name) == (machine, name):
                return execution
        raise refusal("ExecutionDoesNotExist", "DescribeExecution")

    def _start(self, machine: str, name: str, document: dict[str, Any]) -> Execution:
        number = len(self.executions)
        execution = Execution(number, machine, name, document, began_ms=self.hub.now_ms)
        self.executions.append(execution)
        if execution.is_replay:
            self.hub.spawn(lambda: self._replay(execution), execution)
            return execution
        if execution.is_nested:
            self.hub.spawn(lambda: self._nest(execution), execution)
            self.hub.after(_NESTED["TimeoutSeconds"] * 1_000, lambda: self._end(execution, "TIMED_OUT"))
            return execution
        self.hub.spawn(lambda: self._run(execution), execution)
        lasts_ms = self.times.execution_ms if execution.is_standard else self.times.draining_ms
        self.hub.after(lasts_ms, lambda: self._end(execution, "TIMED_OUT"))
        return execution

    def _end(self, execution: Execution, status: str) -> None:
        if execution.status != "RUNNING":
            return
        execution.status, execution.ended_ms = status, self.hub.now_ms
        execution.is_dead = status != "SUCCEEDED"
        if execution.is_dead and execution.is_standard and not execution.is_replay:
            self.on_end(execution)

    # The workflows

    def _run(self, execution: Execution) -> None:
        document = execution.input
        while "run" in document:
            execution.at = document if "execution_id" in document else self._begun(execution, document)
            document = self._round(execution)
        self._end(execution, "SUCCEEDED")

    def _begun(self, execution: Execution, document: dict[str, Any]) -> dict[str, Any]:
        """Make an id for the execution, as the first state does."""
        execution.ids += 1
        execution_id = f"execution-{execution.number}-{execution.ids}"
        return {"run": document["run"], "events": document["events"], "execution_id": execution_id, "seen": None}

    def _round(self, execution: Execution) -> dict[str, Any]:
        """Do one run; return the sequencer's answer, nothing when there is none: the execution has failed then."""
        run = execution.at["run"]
        execution.runs.append(run)
        answers = self.hub.side_by_side(len(self.steps), lambda step: self._step(execution, step), self.steps)
        return self._sequence(execution, {"run": run, "steps": answers} | self._about(execution))

    def _nest(self, execution: Execution) -> None:
        """Have the Express machine do the run, and wait; report what it couldn't. If this one ends, that one runs on.

        The call may fail though the Express execution was started, or before.
        """
        execution.runs.append(execution.input["run"])
        fate = self.hub.chance.random() if self.hub.now_ms < self.unheard_until_ms else 1.0
        status = "no answer"
        if fate > _UNHEARD / 2:
            inside = self._start(execution.machine.replace("-nested", "-express"), execution.name, execution.input)
            while inside.status == "RUNNING" and fate > _UNHEARD:
                self.hub.pause(10)
            status = inside.status if fate > _UNHEARD else status
        if status != "SUCCEEDED":
            steps = {"Error": "States.QueryEvaluationError", "Cause": status}
            self._sequence(execution, {"run": execution.input["run"], "steps": steps})
        self._end(execution, "SUCCEEDED")

    def _sequence(self, execution: Execution, payload: dict[str, Any]) -> dict[str, Any]:
        """Call the sequencer, again as the state machine has it; the execution fails if it never answers."""
        allowance = Allowance(_SEQUENCE["Retry"])
        if self.hub.now_ms < self.called_again_until_ms:
            self._call_again(payload)
        while True:
            answer = self._task(execution, "sequencer", payload, self.times.sequence_ms)
            if not answer.error:
                found: dict[str, Any] = answer.value
                return found
            if not allowance.takes(answer.error):
                self._end(execution, "FAILED")
                return {}
            self.hub.pause(self.hub.chance.randrange(1_000))

    def _call_again(self, payload: dict[str, Any]) -> None:
        """Have the sequencer called once more with the same input, when nobody waits for its answer any more."""
        same = json.loads(json.dumps(payload))
        delay_ms = self.hub.chance.choice((1, 50, 400, 3_000, 20_000, 200_000))
        self.hub.after(delay_ms, lambda: self.lambdas.invoke("sequencer", same, lambda _answer: None))

    def _about(self, execution: Execution) -> dict[str, Any]:
        if execution.is_standard:
            return {}
        began = datetime.fromtimestamp(execution.began_ms / 1_000, UTC)
        told = {
            "id": execution.execution_id,
            "name": execution.name,
            "started_at": began.isoformat(),
            "timeout_s": self.times.draining_ms / 1_000,
        }
        return {"seen": execution.at["seen"], "execution": told}

    def _step(self, execution: Execution, step: str) -> dict[str, Any]:
        """Run a branch: its task, with the retries that the state machine grants, and its Catch."""
        passed = {name: execution.at[name] for name in ("run", "events", "execution_id")}
        payload = {"step": step, "binds": step == self.steps[0], **passed}
        allowance = Allowance(RETRIES)
        while True:
            late_ms = self.late_ms(step, execution)
            answer = self._task(execution, "worker", payload, self.times.task_ms, late_ms)
            if not answer.error:
                result: dict[str, Any] = answer.value
                return result
            if not allowance.takes(answer.error):
                error = {"Error": answer.error, "Cause": answer.cause}
                return {"step": step, "execution_id": execution.execution_id, "error": error}
            self.hub.pause(self.hub.chance.randrange(2_000))

    def _task(
        self, execution: Execution, function: str, payload: dict[str, Any], timeout_ms: int, late_ms: int = 0
    ) -> Answer:
        """Invoke a function and wait for its answer, so long at most; the function doesn't notice when nobody waits."""
        strand, answers = getcurrent(), list[Answer]()

        def hear(answer: Answer) -> None:
            if self.hub.now_ms < self.unheard_until_ms and self.hub.chance.random() < _UNHEARD:
                answer = Answer(error="Lambda.Unknown")
            if not answers:
                answers.append(answer)
                strand.switch()

        self.lambdas.invoke(function, payload, hear, late_ms)
        self.hub.after(timeout_ms, lambda: hear(Answer(error="States.Timeout")))
        strand.parent.switch()
        if execution.is_dead:
            raise Killed
        return answers[0]

    def _replay(self, execution: Execution) -> None:
        request = {"id": execution.input["id"], "turn": execution.input["turn"]}
        while True:
            answer = self._task(execution, "replayer", request, 75_000)
            if answer.error:
                self.hub.pause(self.hub.chance.randrange(1_000, 3_000))
                continue
            if answer.value["is_through"]:
                self._end(execution, "SUCCEEDED")
                return
            request["turn"] = answer.value["turn"]
            self.hub.pause(answer.value["wait_s"] * 1_000)
