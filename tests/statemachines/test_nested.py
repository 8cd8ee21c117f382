"""A Standard execution around an Express one, on MiniStack's interpreter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from keyturn_local.clients import client_options, local_session
from keyturn_local.engine import start_engine
from keyturn_local.settings import LocalSettings

from keyturn.core.answers import read_steps
from tests.ports import free_port
from tests.statemachines.cases import CONFIG, RUN_INPUT
from tests.statemachines.executions import NOBODY, ROLE, make_machine, run
from tests.statemachines.test_on_ministack import _configure

pytestmark = pytest.mark.engine

INPUT = {**RUN_INPUT, "run": {**RUN_INPUT["run"], "express": ""}}


@pytest.fixture(scope="module")
def stepfunctions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An engine that knows what workers answer."""
    settings = LocalSettings(root=tmp_path_factory.mktemp("project"), port=free_port())
    nested = {"TestCases": {"Reports": {"Report": "SequencerDone"}}}
    config = {**CONFIG, "StateMachines": {**CONFIG["StateMachines"], "order-nested": nested}}
    with start_engine(settings):
        _configure(settings, {"stepfunctions._sfn_mock_config": config, "stepfunctions._SFN_WAIT_SCALE": 0})
        yield local_session(settings.region).client("stepfunctions", **client_options(settings))


def nested_machine(stepfunctions: Any, name: str, definition: Mapping[str, Any], express_arn: str) -> str:
    """Make the machine that runs another one."""
    text = json.dumps(definition).replace("${Partition}", "aws").replace("${ExpressArn}", express_arn)
    created = stepfunctions.create_state_machine(
        name=name, definition=text.replace("${SequencerFunctionArn}", NOBODY), roleArn=ROLE
    )
    return str(created["stateMachineArn"])


def transitions(history: list[dict[str, Any]]) -> list[str]:
    """Name the states that were entered, each of which Standard charges for."""
    return [event["stateEnteredEventDetails"]["name"] for event in history if "stateEnteredEventDetails" in event]


def test_a_clean_run_costs_one_transition(stepfunctions: Any, definitions: dict[str, dict[str, Any]]) -> None:
    """All else is done by the Express machine, which is paid for by its time."""
    express = make_machine(stepfunctions, "order-draining", definitions["order-draining"])
    machine = nested_machine(stepfunctions, "clean-nested", definitions["nested"], f"{express}#AllDone")
    status, history = run(stepfunctions, machine, INPUT)
    assert (status, transitions(history)) == ("SUCCEEDED", ["Run"])


def test_a_child_that_fails_is_reported(stepfunctions: Any, definitions: dict[str, dict[str, Any]]) -> None:
    """Its sequencer failed twice; the call itself succeeded. What is reported is a failure that isn't clean."""
    express = make_machine(stepfunctions, "order-draining", definitions["order-draining"])
    machine = nested_machine(stepfunctions, "order-nested", definitions["nested"], f"{express}#SequencerKeepsFailing")
    status, history = run(stepfunctions, f"{machine}#Reports", INPUT)
    assert (status, transitions(history)) == ("SUCCEEDED", ["Run", "Report"])
    entered = [event["stateEnteredEventDetails"] for event in history if "stateEnteredEventDetails" in event]
    reported = json.loads(entered[-1]["input"])
    verdict = read_steps(reported["steps"])
    assert reported["run"] == INPUT["run"]
    assert verdict.execution_id is None
    assert verdict.ending is not None
    assert (verdict.ending.outcome, verdict.ending.clean, verdict.ending.permanent) == ("failed", False, False)
    assert "the Express execution ended as FAILED" in verdict.ending.reason
