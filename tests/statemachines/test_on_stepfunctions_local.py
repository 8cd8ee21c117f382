"""The cases on AWS's own Step Functions Local, where a container engine runs and its image lies on this machine."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError

from tests.statemachines.cases import CASES, CONFIG, RUN_INPUT, Case, Outcome, check
from tests.statemachines.executions import make_machine, run, sequencer_input

IMAGE = "amazon/aws-stepfunctions-local"
CONFIG_IN_CONTAINER = "/home/StepFunctionsLocal/MockConfigFile.json"


def docker(*arguments: str) -> str:
    """Run docker; its output, or a CalledProcessError."""
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def stepfunctions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of Step Functions Local in a container of its own, which ends with the module."""
    if shutil.which("docker") is None:
        pytest.skip("no docker on this machine")
    try:
        docker("image", "inspect", IMAGE)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"no running container engine with the image {IMAGE}; get it with: docker pull {IMAGE}")
    config_file = tmp_path_factory.mktemp("mock") / "config.json"
    config_file.write_text(json.dumps(CONFIG), encoding="utf-8")
    mount = f"{config_file}:{CONFIG_IN_CONTAINER}:ro"
    config = f"SFN_MOCK_CONFIG={CONFIG_IN_CONTAINER}"
    container = docker(
        "run", "--rm", "--detach", "--publish", "127.0.0.1::8083", "--volume", mount, "--env", config, IMAGE
    )
    try:
        endpoint = docker("port", container, "8083/tcp").splitlines()[0]
        yield _answering_client(f"http://{endpoint}")
    finally:
        docker("rm", "--force", container)


def _answering_client(endpoint_url: str) -> Any:
    client = boto3.client(
        "stepfunctions",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    deadline_s = time.monotonic() + 60
    while True:
        try:
            client.list_state_machines()
        except BotoCoreError:
            assert time.monotonic() < deadline_s, "Step Functions Local doesn't answer"
            time.sleep(0.2)
        else:
            return client


@pytest.fixture(scope="module")
def machines(stepfunctions: Any, definitions: dict[str, dict[str, Any]]) -> dict[str, str]:
    """State machines under the names that mock-config.json knows."""
    return {name: make_machine(stepfunctions, name, definition) for name, definition in definitions.items()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_reaches_the_sequencer(case: Case, stepfunctions: Any, machines: dict[str, str]) -> None:
    """The third interpreter of the same definitions and the same file of answers."""
    status, history = run(stepfunctions, f"{machines[case.workflow]}#{case.name}", RUN_INPUT)
    check(case, Outcome(status, sequencer_input(history)))
