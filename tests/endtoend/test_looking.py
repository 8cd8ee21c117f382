"""The read-only commands on the deployed stack, reached as one on AWS is: by endpoint, region and credentials."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from keyturn_cli.app import app, run
from typer.testing import CliRunner

from tests.endtoend.stack import Stack

PARKS = "looked at: \t'it' 🫖 $HOME"
ENDED = "looked at/ended"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an AWS user has them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture(scope="module")
def worked_on(stack: Stack) -> Stack:
    """Have a key that is done and one that is parked with an event behind."""
    paid = [_paid(PARKS, 0, payment="permanent"), _paid(PARKS, 1), _paid(ENDED, 0)]
    stack.follow(stack.put(paid))
    return stack


def _paid(key: str, number: int, **demo: str) -> tuple[str, bytes]:
    event = {"specversion": "1.0", "id": f"{len(key)}/{number}", "source": "/looking", "type": "shop.order.paid"}
    data = {"order_id": "looked-at", "sequence": number, "amount_cents": 5, "method": "card"}
    return key, json.dumps(event | {"data": data | ({"demo": demo} if demo else {})}).encode()


def _keyturn(stack: Stack, *arguments: str) -> str:
    reach = ("--endpoint-url", stack.settings.endpoint_url, "--region", stack.settings.region)
    done = CliRunner().invoke(app, [*arguments[:1], *reach, *arguments[1:]], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def _document(stack: Stack, *arguments: str) -> Any:
    return json.loads(_keyturn(stack, arguments[0], "--output", "json", *arguments[1:]))


def test_status_counts_what_is_parked_and_says_what_to_do(worked_on: Stack) -> None:
    """And that the watchdog comes."""
    document = _document(worked_on, "status")
    assert document["keys"]["parked"] >= 1
    assert document["oldest_unfinished"]["age_ms"] >= 0
    assert document["watchdog"]["age_ms"] < 180_000
    assert any("parked: see why" in one["what"] for one in document["needs"])
    assert "for a slot" in _keyturn(worked_on, "status")


def test_keys_are_listed_page_by_page(worked_on: Stack) -> None:
    """Each parked key once, the oldest first."""
    found: list[Any] = []
    page = _document(worked_on, "keys", "--phase", "parked", "--limit", "1")
    while page["after"]:
        found += page["keys"]
        page = _document(worked_on, "keys", "--phase", "parked", "--limit", "1", "--after", page["after"])
    found += page["keys"]
    assert sorted(one["since_ms"] for one in found) == [one["since_ms"] for one in found]
    assert [one["key"] for one in found].count(PARKS) == 1
    assert "order-paid" in _keyturn(worked_on, "keys", "--phase", "parked", "--route", "order-paid")


def test_a_key_is_explained_with_a_command_that_a_shell_understands(worked_on: Stack) -> None:
    """A tab, quotes and a teapot in the key: what is shown can be pasted."""
    text = _keyturn(worked_on, "key", PARKS)
    assert "is parked since" in text
    resume = next(line.split("  ")[-1] for line in text.splitlines() if "keyturn resume" in line)
    shown = subprocess.run(
        ["bash", "-c", f'keyturn() {{ printf %s "$2"; }}; {resume}'], capture_output=True, text=True, check=True
    )
    assert shown.stdout == PARKS
    document = _document(worked_on, "key", "--results", PARKS)
    assert [one["fate"] for one in document["log"]] == ["parked", "waiting"]
    assert {step["step"] for step in document["log"][0]["steps"]} == {"inventory", "notification"}


def test_a_run_is_told_with_what_step_functions_says(worked_on: Stack) -> None:
    """A Standard execution that succeeded, found by the key, by its position, by its name."""
    # its state is written a moment before the execution ends
    worked_on.until(lambda: _document(worked_on, "run", ENDED)["attempts"][0]["execution_status"] != "RUNNING")
    last = _document(worked_on, "run", ENDED)
    (attempt,) = last["attempts"]
    assert (attempt["outcome"], attempt["execution_status"]) == ("succeeded", "SUCCEEDED")
    assert {step["step"] for step in last["steps"]} == {"inventory", "notification", "payment"}
    assert _document(worked_on, "run", ENDED, last["events"][0]["position"])["attempts"] == last["attempts"]
    assert _document(worked_on, "run", ENDED, attempt["execution_name"])["attempts"] == last["attempts"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["key", "nobody"], "key 'nobody' has never had an event in this stack"),
        (["run", "nobody"], "key 'nobody' has never had an event in this stack"),
        (["run", ENDED, "17"], "has no event at"),
        (["key", ENDED, "--before", "x"], "'x' is no position"),
        (["status", "--stack-name", "not-there"], "stack 'not-there' can't be read at"),
    ],
)
def test_what_is_not_there_is_one_line(
    worked_on: Stack,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On stderr, and a failed exit."""
    reach = ["--endpoint-url", worked_on.settings.endpoint_url, "--region", worked_on.settings.region]
    monkeypatch.setattr("sys.argv", ["keyturn", *arguments, *reach])
    with pytest.raises(SystemExit) as ended:
        run()
    told = capsys.readouterr()
    assert (ended.value.code, told.out, told.err.count("\n")) == (1, "", 1)
    assert said in told.err
