"""The cases on moto's interpreter, in process. Only the Lambda client below the interpreter is a stand-in."""

import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from threading import Event, Lock
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.stepfunctions.parser.asl.component.eval_component import EvalComponent

from tests.statemachines.cases import (
    CASES,
    ROUNDS,
    RUN_INPUT,
    Case,
    Outcome,
    check,
    check_rounds,
    deployable,
    response_for,
)

REGION = "us-east-1"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/workflow"
TIMEOUT_S = 1
"""Of a task that is to time out, so that it does it soon."""
LIMIT_S = 120

_RETRIER = "moto.stepfunctions.parser.asl.component.common.retry.retrier_decl.time"
_LAMBDA = "moto.stepfunctions.parser.asl.component.state.exec.state_task.lambda_eval_utils.boto_client_for"


class ScriptedLambda:
    """Answers as the case says, attempt by attempt, and keeps what it was asked."""

    def __init__(self, case: Case) -> None:
        self.name = uuid4().hex[:8]
        self.case = case
        self.is_over = Event()
        self._responses = case.responses_by_state
        self._lock = Lock()
        self._attempts: Counter[tuple[str, Any]] = Counter()
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def invoke(self, *, FunctionName: str, Payload: bytes, **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's names
        owner, state = FunctionName.rpartition(":")[2].split("-", 1)
        payload: dict[str, Any] = json.loads(Payload)
        if owner != self.name:
            return _answer({})  # a thread that another case's execution left behind: moto ends none of them
        with self._lock:
            self.calls.append((state, payload))
            attempt = self._attempts[state, payload.get("line")]
            self._attempts[state, payload.get("line")] += 1
        response = response_for(self._responses[state], attempt)
        if "Throw" in response:
            return self._throw(response["Throw"]["Error"])
        return _answer(response["Return"]["Payload"])

    def arn(self, function: str) -> str:
        """Name a function of this case alone."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}-{function}"

    def _throw(self, error: str) -> dict[str, Any]:
        """Let the error come about as it does at AWS, not by its name."""
        if error == "States.Timeout":
            self.is_over.wait(LIMIT_S)
            return _answer({})
        if error == "States.DataLimitExceeded":
            return _answer({"result": "x" * 262_144})
        if error.startswith("Lambda."):
            response: Any = {
                "Error": {"Code": error.removeprefix("Lambda."), "Message": "as the case asks"},
                "ResponseMetadata": {"HTTPStatusCode": 400, "RequestId": "1"},
            }
            raise ClientError(response, "Invoke")
        return _answer({"errorType": error, "errorMessage": "as the case asks"}, FunctionError="Unhandled")

    @property
    def tries(self) -> Mapping[str, int]:
        return Counter(state for state, _ in self.calls)

    def payloads(self, state: str) -> list[dict[str, Any]]:
        return [payload for called, payload in self.calls if called == state]


def _answer(payload: Mapping[str, Any], **more: str) -> dict[str, Any]:
    return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(payload).encode()), **more}


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Retries wait no time; how long they would have waited is kept."""
    waited: list[float] = []
    monkeypatch.setattr(_RETRIER, SimpleNamespace(sleep=waited.append))
    return waited


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """moto with its interpreter switched on."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    # moto makes a component's key when it first asks for it, and two iterations of a map may ask at the same time: one
    # of them loses the count of its tries with its key, and tries once more.
    monkeypatch.setattr(EvalComponent, "heap_key", property(lambda component: str(id(component))))
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):  # type: ignore[arg-type, unused-ignore]
        yield


def run(workflow: Mapping[str, Any], fake: ScriptedLambda, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Run a definition to its end on moto, with the fake in Lambda's place."""
    monkeypatch.setattr(_LAMBDA, lambda **_: fake)
    client = boto3.client("stepfunctions", region_name=REGION)
    machine = client.create_state_machine(
        name=f"workflow-{fake.name}",
        definition=deployable(workflow, fake.arn, fake.case.timeouts_s(TIMEOUT_S)),
        roleArn=ROLE,
    )
    execution = client.start_execution(
        stateMachineArn=machine["stateMachineArn"], name=uuid4().hex, input=json.dumps(RUN_INPUT)
    )
    deadline_s = time.monotonic() + LIMIT_S
    try:
        while (status := client.describe_execution(executionArn=execution["executionArn"])["status"]) == "RUNNING":
            assert time.monotonic() < deadline_s, "the execution doesn't end"
            time.sleep(0.02)
    finally:
        fake.is_over.set()
    sequenced = fake.payloads("Sequence")
    return Outcome(status, sequenced[0] if sequenced else {}, fake.tries)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_reaches_the_sequencer(
    case: Case, definitions: dict[str, dict[str, Any]], waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every way that a run can go ends in the sequencer, which is told of every step."""
    check(case, run(definitions[case.workflow], ScriptedLambda(case), monkeypatch))
    assert all(0 <= wait <= 8 for wait in waits)


@pytest.mark.usefixtures("aws", "waits")
@pytest.mark.parametrize("case", ROUNDS, ids=str)
def test_an_execution_goes_on_while_the_sequencer_brings_a_run(
    case: Case, definitions: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run's workers get that run and its events, and the id of the execution that it is bound to."""
    fake = ScriptedLambda(case)
    outcome = run(definitions[case.workflow], fake, monkeypatch)
    assert (outcome.status, outcome.tries) == ("SUCCEEDED", {**(outcome.tries or {}), **case.tries})
    worked = [payload for state, payload in fake.calls if state != "Sequence"]
    check_rounds(case, fake.payloads("Sequence"), [payload["execution_id"] for payload in worked])
    told = {(payload["run"]["fence"], payload["events"][0]["event"]["id"]) for payload in worked}
    assert told == {(4, "17"), (5, "18"), (6, "19")}


@pytest.mark.usefixtures("aws", "waits")
def test_a_clean_run_on_standard_costs_five_transitions(order: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every state that is entered is one; the fan-out, its three tasks, the sequencer."""
    run(order, ScriptedLambda(case_named("AllDone")), monkeypatch)
    client = boto3.client("stepfunctions", region_name=REGION)
    (machine,) = client.list_state_machines()["stateMachines"]
    (execution,) = client.list_executions(stateMachineArn=machine["stateMachineArn"])["executions"]
    pages = client.get_paginator("get_execution_history").paginate(executionArn=execution["executionArn"])
    entered = [event["type"] for page in pages for event in page["events"] if event["type"].endswith("StateEntered")]
    assert sorted(entered) == ["ParallelStateEntered", *["TaskStateEntered"] * 4]


def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


@pytest.mark.usefixtures("aws", "waits")
def test_one_execution_has_one_id(order: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """All tries of all workers carry the id that the fan-out made; another execution makes another one."""
    seen: list[set[str]] = []
    for name in ("OneFailsThenWorks", "AllDone"):
        fake = ScriptedLambda(case_named(name))
        run(order, fake, monkeypatch)
        seen.append({payload["execution_id"] for state, payload in fake.calls if state != "Sequence"})
    assert [len(ids) for ids in seen] == [1, 1]
    assert seen[0] != seen[1]


@pytest.mark.usefixtures("aws", "waits")
def test_a_worker_is_told_its_step_run_and_events(order: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's input is the run's, with its own step's name; all but one leave the binding to that one."""
    fake = ScriptedLambda(case_named("AllDone"))
    run(order, fake, monkeypatch)
    for state, binds in (("Inventory", {}), ("Payment", {"binds": False}), ("Notification", {"binds": False})):
        [payload] = fake.payloads(state)
        assert {**payload, "execution_id": ""} == {**RUN_INPUT, **binds, "step": state.lower(), "execution_id": ""}


@pytest.mark.usefixtures("aws", "waits")
def test_each_line_is_a_step_of_its_own(lines: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are checkpointed apart: picking-0, picking-1 ... with the packing's execution id."""
    fake = ScriptedLambda(case_named("FortyLines"))
    run(lines, fake, monkeypatch)
    picked = sorted((payload["line"], payload["step"]) for payload in fake.payloads("Picking"))
    assert picked == [(line, f"picking-{line}") for line in range(40)]
    assert len({payload["execution_id"] for state, payload in fake.calls if state != "Sequence"}) == 1
