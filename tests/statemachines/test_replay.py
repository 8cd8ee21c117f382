"""The workflow that drives the replayer: a loop, so it has a shape of its own."""

from __future__ import annotations

import json

from keyturn.shell.replay_work import TURNS_MAX
from tests.statemachines.conftest import ROOT
from tests.template.stack import source
from tools.lint_statemachines.stack import REPLAY, stack_from_template

DEFINITION = json.loads((ROOT / "statemachines" / "replay.asl.json").read_text(encoding="utf-8"))
HISTORY_EVENTS_MAX = 25_000
"""Of an execution. Source: AWS Step Functions Developer Guide, "Service quotas"."""
EVENTS_A_TURN = 11
"""Five of the task, two of the choice, two of the wait, and some for retries."""


def test_it_calls_the_replayer_until_that_is_through() -> None:
    states = DEFINITION["States"]
    assert DEFINITION["StartAt"] == "Work"
    assert states["Work"]["Next"] == "IsThrough"
    (through,) = states["IsThrough"]["Choices"]
    assert (through["Variable"], through["BooleanEquals"], through["Next"]) == ("$.is_through", True, "Through")
    assert states["IsThrough"]["Default"] == "Pause"
    assert (states["Pause"]["SecondsPath"], states["Pause"]["Next"]) == ("$.wait_s", "Work")
    assert states["Through"]["Type"] == "Succeed"


def test_any_error_of_a_slice_is_worth_another_one() -> None:
    (retrier,) = DEFINITION["States"]["Work"]["Retry"]
    assert retrier["ErrorEquals"] == ["States.ALL"]
    assert retrier["JitterStrategy"] == "FULL"
    assert retrier["MaxAttempts"] >= 10


def test_its_task_outlasts_the_replayer_and_its_history_all_turns() -> None:
    timeout_s = source()["Resources"]["ReplayerFunction"]["Properties"]["Timeout"]
    assert DEFINITION["States"]["Work"]["TimeoutSeconds"] > timeout_s
    assert TURNS_MAX * EVENTS_A_TURN < HISTORY_EVENTS_MAX


def test_it_is_the_only_machine_that_no_run_is_made_of() -> None:
    """All others have the shape that the protocol needs; the lint sees to it. Of nested ones the child has."""
    stack = stack_from_template((ROOT / "template.yaml").read_text(encoding="utf-8"))
    others = {machine.name for machine in stack.machines} - {machine.name for machine in stack.workflows}
    assert {name for name in others if not name.endswith("-nested")} == {REPLAY}
