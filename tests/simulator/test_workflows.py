"""The simulator's Step Functions does what the interpreters of `tests/statemachines` do, and what AWS's API says."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.simulator.hub import Hub
from tests.simulator.lambdas import Answer
from tests.simulator.scenario import Tempo
from tests.simulator.workflows import PREFIX, TIMES, Execution, Workflows
from tests.statemachines.cases import CASES, RUN_INPUT, Case, Outcome, check, response_for

ORDER = [case for case in CASES if case.workflow == "order"]


class Scripted:
    """Answers as a case says, attempt by attempt."""

    def __init__(self, hub: Hub, case: Case) -> None:
        """Answer for a case."""
        self.hub, self.responses = hub, case.responses_by_state
        self.tries: Counter[str] = Counter()
        self.sequenced: list[dict[str, Any]] = []

    def invoke(self, name: str, payload: dict[str, Any], then: Callable[[Answer], object], _late_ms: int = 0) -> None:
        """Answer soon, or never when the case has it time out."""
        state = "Sequence" if name == "sequencer" else payload["step"].capitalize()
        if name == "sequencer":
            self.sequenced.append(payload)
        response = response_for(self.responses[state], self.tries[state])
        self.tries[state] += 1
        error = response["Throw"]["Error"] if "Throw" in response else ""
        if error == "States.Timeout":
            return
        answer = Answer(error=error) if error else Answer(response["Return"]["Payload"])
        self.hub.after(5, lambda: then(answer))


def workflows(hub: Hub, lambdas: Any, ended: list[Execution]) -> Workflows:
    """Make the model, with all three steps of the sample's order."""
    steps = ("inventory", "payment", "notification")
    return Workflows(hub, lambdas, TIMES[Tempo.SAMPLE], ended.append, lambda *_: 0, lambda _text: None, steps)


@pytest.mark.parametrize("case", ORDER, ids=str)
def test_the_sample_runs_as_on_the_interpreters(case: Case) -> None:
    """Retries, what a branch catches, and that the join waits for all."""
    hub = Hub(random.Random(1), 0)  # noqa: S311 - reproducible, no secret
    fake, ended = Scripted(hub, case), list[Execution]()
    model = workflows(hub, fake, ended)
    model.start_execution(stateMachineArn=f"{PREFIX}order-standard", name="n", input=json.dumps(RUN_INPUT))
    (execution,) = model.executions
    while execution.status == "RUNNING":
        hub.step()
    check(case, Outcome(execution.status, fake.sequenced[0], fake.tries))
    assert ended == ([] if case.succeeds else [execution]), "AWS tells of an execution that failed, and of no other"


class Silent:
    """Never answers."""

    def invoke(self, *_call: Any) -> None:
        """Take the call."""


def said(call: Callable[..., Any], **arguments: Any) -> str:
    """Return the code of a refusal, or the status that is told."""
    try:
        return str(call(**arguments).get("status", "taken"))
    except ClientError as error:
        return str(error.response["Error"]["Code"])


def test_starts_stops_and_descriptions_are_as_moto_has_them() -> None:
    """A name that is taken, an execution that is stopped twice, one that never was."""
    found = []
    model = workflows(Hub(random.Random(1), 0), Silent(), [])  # noqa: S311 - reproducible, no secret
    with mock_aws():
        moto: Any = boto3.client(
            "stepfunctions", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        moto.create_state_machine(
            name="keyturn-order-standard",
            definition='{"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": 9, "End": true}}}',
            roleArn="arn:aws:iam::123456789012:role/r",
        )
        for client in (model, moto):
            machine = f"{PREFIX}order-standard"
            execution = machine.replace(":stateMachine:", ":execution:") + ":n"
            found.append(
                [
                    said(client.describe_execution, executionArn=execution),
                    said(client.start_execution, stateMachineArn=machine, name="n", input=json.dumps(RUN_INPUT)),
                    said(client.start_execution, stateMachineArn=machine, name="n", input="{}"),
                    said(client.describe_execution, executionArn=execution),
                    said(client.stop_execution, executionArn=execution, error="e", cause="c"),
                    said(client.describe_execution, executionArn=execution),
                    said(client.stop_execution, executionArn=execution, error="e", cause="c"),
                    said(client.start_execution, stateMachineArn=machine, name="n", input=json.dumps(RUN_INPUT)),
                    said(client.stop_execution, executionArn=execution + "x", error="e", cause="c"),
                ]
            )
    assert found[0] == found[1]
