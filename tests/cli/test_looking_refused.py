"""What AWS refuses the read-only commands is one line, which says what to do."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from keyturn_cli import app, key, keys, status
from keyturn_cli.looking.overview import read_overview
from keyturn_cli.target import Target

from tests.adapters.aws import Edited, refused
from tests.cli.looking import reader_of, target_of
from tests.shell.world import World, moto

DENIED = "AccessDeniedException"


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the test against moto; no call leaves this process."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Keyturn")
    with moto():
        yield


def _said(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr("sys.argv", ["keyturn", *arguments])
    with pytest.raises(SystemExit) as ended:
        app.run()
    told = capsys.readouterr()
    assert (ended.value.code, told.out, told.err.count("\n")) == (1, "", 1), told
    return told.err


def _found(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    for command in (key, keys, status):
        monkeypatch.setattr(command, "target_of", lambda *_options: target)


@pytest.mark.parametrize("arguments", [["status"], ["keys"], ["key", "k"], ["run", "k"]])
def test_who_may_not_read_the_table_is_told_so(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By each command, with the call that was refused."""
    world = World()
    target = target_of(world)
    target.__dict__["environment"] = dict(reader_of(world).settings) | {"INDEX_ROUNDING_S": "5"}
    deny = refused(DENIED)
    client = Edited(world.dynamodb, query=deny, get_item=deny, batch_get_item=deny)
    monkeypatch.setattr(type(target), "client", lambda *_: client)
    _found(monkeypatch, target)
    said = _said(arguments, monkeypatch, capsys)
    assert f"{DENIED}: no. Use credentials that may, see docs/operations.md" in said
    assert said.startswith("Error: ")


def test_who_may_not_read_the_settings_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are the dispatcher's, read first."""
    target = target_of(World())
    client = Edited(boto3.client("lambda"), get_function_configuration=refused(DENIED))
    monkeypatch.setattr(type(target), "client", lambda *_: client)
    _found(monkeypatch, target)
    assert "Use credentials that may" in _said(["status"], monkeypatch, capsys)


def test_who_may_not_read_metrics_sees_the_rest_of_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lag isn't measured for them."""
    world = World()
    reader = reader_of(world)
    denied = Edited(boto3.client("cloudwatch"), get_metric_statistics=refused(DENIED))
    monkeypatch.setattr(type(reader.target), "client", lambda *_: denied)
    overview = read_overview(reader)
    assert overview.lag_s is None
    assert overview.cap == 3
