"""The real `sam` against a real engine, with a template of the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest
from keyturn_cli.app import app
from keyturn_local.engine import note_poller, start_engine
from keyturn_local.errors import OutputMissing, StackMissing, ToolFailed
from keyturn_local.settings import LocalSettings
from keyturn_local.stack import StackOutputs, build, deploy, stack_outputs
from typer.testing import CliRunner

pytestmark = pytest.mark.engine

OUTPUTS = [
    "StreamName",
    "StateTableName",
    "LedgerTableName",
    "PayloadBucketName",
    "FailureBucketName",
    "WakeQueueUrl",
    "DispatcherFunctionName",
    "SequencerFunctionName",
    "WatchdogFunctionName",
    "OperatorFunctionName",
]

TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Resources:
  Stream:
    Type: AWS::Kinesis::Stream
    Properties: {ShardCount: 1}
Outputs:
"""

MADE = """
  Made:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: makefile}
    Properties: {CodeUri: made, Runtime: python3.13, Handler: app.handler}
"""

CONFIG = """
version = 0.1
[local.deploy.parameters]
capabilities = "CAPABILITY_IAM"
resolve_s3 = true
confirm_changeset = false
fail_on_empty_changeset = false
"""


def write_project(root: Path, outputs: list[str], *, more: str = "") -> None:
    """A template with one stream and these outputs, each of which is the stream's name; `more` are more resources."""
    lines = [f"  {name}: {{Value: !Ref Stream}}" for name in outputs]
    (root / "template.yaml").write_text(TEMPLATE.replace("Outputs:", f"{more}Outputs:") + "\n".join(lines) + "\n")
    (root / "samconfig.toml").write_text(CONFIG)


def test_a_stack_is_built_deployed_and_found(settings: LocalSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deployed twice: a second `keyturn up` brings what was changed to the engine that runs."""
    temporary = settings.root / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    write_project(settings.root, OUTPUTS[1:])
    with start_engine(settings) as engine:
        with pytest.raises(StackMissing, match="make up"):
            stack_outputs(settings)
        build(settings)
        deploy(settings)
        note_poller(settings, engine.state.engine.pid)
        write_project(settings.root, OUTPUTS, more="  Queue: {Type: AWS::SQS::Queue}\n")
        monkeypatch.chdir(settings.root)
        again = CliRunner().invoke(app, ["up"])
        assert (again.exit_code, "up already" in again.stdout) == (0, True), again.output
        outputs = stack_outputs(settings)
        assert engine.running
    assert not list(temporary.iterdir()), "what sam left"
    assert isinstance(outputs, StackOutputs)
    assert outputs.stream_name == outputs.watchdog_function_name != ""
    with pytest.raises(StackMissing, match="no engine answers"):
        stack_outputs(settings)


def test_a_stack_of_another_template_names_the_missing_outputs(settings: LocalSettings) -> None:
    """One line, with all of them."""
    write_project(settings.root, OUTPUTS[2:])
    with start_engine(settings):
        build(settings)
        deploy(settings)
        with pytest.raises(OutputMissing, match="StreamName, StateTableName"):
            stack_outputs(settings)


def test_a_build_of_makes_that_fails_says_why(settings: LocalSettings) -> None:
    """In the error itself, which make's last line, that there was one, isn't."""
    write_project(settings.root, OUTPUTS, more=MADE)
    (settings.root / "made").mkdir()
    (settings.root / "made" / "Makefile").write_text("build-Made:\n\t@echo no index can be reached >&2; exit 2\n")
    with pytest.raises(ToolFailed, match=r"sam build failed \(exit code 1\): .*no index can be reached\. Log"):
        build(settings)


def test_a_build_that_fails_shows_what_sam_said(settings: LocalSettings) -> None:
    """The last lines, and where the log is."""
    (settings.root / "template.yaml").write_text("Resources: [")
    (settings.root / "samconfig.toml").write_text(CONFIG)
    with pytest.raises(ToolFailed, match=r"sam build failed .*build\.log") as raised:
        build(settings)
    assert raised.value.lines
    assert len(raised.value.lines) <= 12
