"""`keyturn skip`: what it asks of the stack."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from keyturn_cli import parked
from keyturn_cli.app import app
from typer.testing import CliRunner

from keyturn.adapters.keys import encode_state
from keyturn.adapters.table import encode_item
from tests.core import states as make
from tests.models.dynamodb import DynamoDB

WAITS = {"key": "k", "phase": "waiting", "waits_for": "slot", "is_held": False}


@pytest.mark.parametrize("is_parked", [True, False])
def test_a_skip_names_what_the_key_was_parked_at_before_it_asked(
    monkeypatch: pytest.MonkeyPatch, is_parked: bool
) -> None:
    """By the time that somebody says yes, somebody else may have skipped it, and the next run have failed.

    One that wasn't parked may be by then: a time at which no key was parked has the stack refuse that too.
    """
    state, dynamodb, asked = make.parked() if is_parked else make.bound(), DynamoDB(), list[dict[str, Any]]()
    dynamodb.put_item(TableName="t", Item=encode_item(encode_state(state)))
    target = SimpleNamespace(client=lambda _name: dynamodb, outputs=SimpleNamespace(state_table_name="t"), where="here")

    def operate(_target: object, command: str, _reason: str, **subject: Any) -> dict[str, Any]:
        asked.append({"command": command, **subject})
        return WAITS

    monkeypatch.setattr(parked, "target_of", lambda _where: target)
    monkeypatch.setattr(parked, "operate", operate)
    done = CliRunner().invoke(app, ["skip", state.key, "--reason", "refunded by hand", "--yes"])
    assert done.exit_code == 0, done.output
    at_ms = state.parked.at_ms if state.parked is not None else 1
    assert asked == [{"command": "skip", "key": state.key, "parked_at_ms": at_ms}]
