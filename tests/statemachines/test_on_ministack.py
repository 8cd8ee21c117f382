"""The cases on MiniStack's interpreter: by its mock configuration, and with real Lambda functions behind the tasks.

The mock configuration reaches every error by name, but a mocked error comes again at each retry there, so recovery is
shown with functions. What those can't show on this emulator: throttling (it answers Lambda.Unknown) and the limit on
payloads (it has none).
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from keyturn_local.clients import client_options, local_session
from keyturn_local.engine import start_engine
from keyturn_local.settings import LocalSettings

from tests.ports import free_port
from tests.statemachines.cases import CASES, CONFIG, ROUNDS, RUN_INPUT, UNHURRIED_S, Case, Outcome, check, check_rounds
from tests.statemachines.executions import ROLE, make_machine, run, sequencer_input

pytestmark = pytest.mark.engine

TIMEOUT_S = 6
"""Of a task that is to time out. Its function must have begun by then, and takes seconds for that on a busy machine."""

MOCKED = tuple(case for case in CASES if not case.recovers)
INVOKED = tuple(
    case
    for case in CASES
    if case.name
    in {
        "AllDone",
        "OneFailsThenWorks",
        "OneKeepsFailing",
        "OneFailsForGood",
        "OneTimesOut",
        "AllRefused",
        "SequencerFailsOnce",
        "SequencerKeepsFailing",
        "TwoLines",
        "NoLines",
        "PickingKeepsFailing",
    }
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSettings]:
    """An engine that knows the mock configuration and waits no time before a retry."""
    settings = LocalSettings(root=tmp_path_factory.mktemp("project"), port=free_port())
    with start_engine(settings):
        _configure(settings, {"stepfunctions._sfn_mock_config": CONFIG, "stepfunctions._SFN_WAIT_SCALE": 0})
        yield settings


def _configure(settings: LocalSettings, values: Mapping[str, Any]) -> None:
    """What SFN_MOCK_CONFIG and SFN_WAIT_SCALE do when the engine starts with them."""
    body = json.dumps(values).encode()
    request = Request(f"{settings.endpoint_url}/_ministack/config", data=body, method="POST")  # noqa: S310 - our own
    with build_opener(ProxyHandler({})).open(request) as answer:
        assert json.load(answer)["applied"].keys() == values.keys()


@pytest.fixture(scope="module")
def stepfunctions(settings: LocalSettings) -> Any:
    return local_session(settings.region).client("stepfunctions", **client_options(settings))


@pytest.fixture(scope="module")
def scripted_worker(settings: LocalSettings) -> str:
    """ARN of the one function that stands behind every task."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.write(Path(__file__).with_name("scripted_worker.py"), "scripted_worker.py")
    client: Any = local_session(settings.region).client("lambda", **client_options(settings))
    created = client.create_function(
        FunctionName="scripted-worker",
        Runtime="python3.13",
        Handler="scripted_worker.handler",
        Role=ROLE,
        Timeout=UNHURRIED_S,
        Code={"ZipFile": archive.getvalue()},
    )
    return str(created["FunctionArn"])


@pytest.fixture(scope="module")
def mocked_machines(stepfunctions: Any, definitions: dict[str, dict[str, Any]]) -> dict[str, str]:
    """State machines under the names that mock-config.json knows; no function stands behind them."""
    return {name: make_machine(stepfunctions, name, definition) for name, definition in definitions.items()}


@pytest.fixture
def invoking_machine(
    case: Case, stepfunctions: Any, definitions: dict[str, dict[str, Any]], scripted_worker: str
) -> str:
    """A state machine for a case, with a real function behind each task."""
    name = f"{case.workflow}-{case.name}"
    timeouts_s = case.timeouts_s(TIMEOUT_S)
    return make_machine(stepfunctions, name, definitions[case.workflow], scripted_worker, timeouts_s)


@pytest.mark.parametrize("case", MOCKED, ids=str)
def test_what_reaches_the_sequencer_by_mock_configuration(
    case: Case, stepfunctions: Any, mocked_machines: dict[str, str]
) -> None:
    """The same file that Step Functions Local takes, and the same outcome."""
    status, history = run(stepfunctions, f"{mocked_machines[case.workflow]}#{case.name}", RUN_INPUT)
    check(case, Outcome(status, sequencer_input(history)))


@pytest.mark.parametrize("case", INVOKED, ids=str)
def test_what_reaches_the_sequencer_from_functions(
    case: Case, stepfunctions: Any, invoking_machine: str, tmp_path: Path
) -> None:
    """Errors come about in Lambdas, retries call them again, and the sequencer's function gets the steps."""
    script = {"folder": str(tmp_path), "responses": case.responses_by_state}
    scripted_input = {**RUN_INPUT, "run": {**RUN_INPUT["run"], "script": script}}
    status, _ = run(stepfunctions, invoking_machine, scripted_input)

    calls = {file.stem: [json.loads(line) for line in file.open()] for file in tmp_path.glob("*.jsonl")}
    # this emulator calls whatever a handler raises Runtime.HandlerError; AWS uses the class's name
    steps = json.loads(json.dumps(calls["Sequence"][0]["steps"]).replace("Runtime.HandlerError", "StepFailed"))
    tries = {state: len(made) for state, made in calls.items()}
    check(case, Outcome(status, {"run": RUN_INPUT["run"], "steps": steps}, tries))
    assert len({call["execution_id"] for state, made in calls.items() if state != "Sequence" for call in made}) == 1


@pytest.mark.parametrize("case", ROUNDS, ids=str)
def test_an_execution_goes_on_while_the_sequencers_function_brings_a_run(
    case: Case, stepfunctions: Any, invoking_machine: str, tmp_path: Path
) -> None:
    """Three runs in one execution, which ends when the answer brings none."""
    script = {"folder": str(tmp_path), "responses": case.responses_by_state}
    scripted_input = {**RUN_INPUT, "run": {**RUN_INPUT["run"], "script": script}}
    status, _ = run(stepfunctions, invoking_machine, scripted_input)

    assert status == "SUCCEEDED"
    calls = {file.stem: [json.loads(line) for line in file.open()] for file in tmp_path.glob("*.jsonl")}
    assert {state: len(calls[state]) for state in case.tries} == case.tries
    by_round = zip(calls["Inventory"], calls["Payment"], calls["Notification"], strict=True)
    check_rounds(case, calls["Sequence"], [call["execution_id"] for fan_out in by_round for call in fan_out])
