"""What an execution's fan-out came to, told from what its branches answered."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.answers import read_steps
from keyturn.core.commands import Ending, Outcome

DONE: dict[str, Any] = {"step": "inventory", "execution_id": "x", "outcome": "done", "results": [{"step": "no answer"}]}
REFUSED = DONE | {"step": "payment", "outcome": "refused", "results": ...}
LATE = {"step": "payment", "execution_id": "x", "outcome": "out_of_time"}
FAILED = {
    "step": "payment",
    "execution_id": "x",
    "outcome": "failed",
    "error": {"Error": "Permanent", "Cause": "no card"},
}


def caught(name: str, cause: str = "why") -> dict[str, Any]:
    """What a branch's Catch makes of an error."""
    return {"step": "payment", "execution_id": "x", "error": {"Error": name, "Cause": cause}}


def ending(steps: Any) -> Ending:
    found = read_steps(steps).ending
    assert found is not None
    return found


@pytest.mark.parametrize(
    "steps",
    [
        [DONE],
        [DONE, DONE | {"step": "payment"}],
        [{"packing": DONE, "lines": []}],
        [{"packing": DONE, "lines": [DONE | {"step": "picking-0"}, DONE | {"step": "picking-1"}]}],
        [[DONE, [DONE]], DONE],
    ],
)
def test_a_run_succeeds_when_every_worker_is_done(steps: Any) -> None:
    """However branches and maps nest the answers; what a worker returns is never taken for an answer."""
    verdict = read_steps(steps)
    assert verdict.ending == Ending(Outcome.SUCCEEDED, clean=True)
    assert verdict.execution_id == "x"


@pytest.mark.parametrize("others", [[], [DONE], [caught("States.Timeout")], [FAILED], [LATE]])
def test_a_refused_execution_may_not_end_the_run(others: list[Any]) -> None:
    """Another execution holds the attempt: whatever else this one says, it finishes nothing."""
    assert read_steps([*others, REFUSED]).ending is None


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("StepFailed", True),
        ("Runtime.HandlerError", True),
        ("States.DataLimitExceeded", True),
        ("States.Timeout", False),
        ("Lambda.Unknown", False),
        ("Lambda.ClientExecutionTimeoutException", False),
        ("Lambda.SdkClientException", False),
        ("Lambda.ServiceException", False),
        ("States.TaskFailed", False),
        ("Sandbox.Timedout", False),
        ("", False),
    ],
)
def test_an_attempt_is_clean_only_if_every_lambda_has_surely_ended(name: str, clean: bool) -> None:
    """After any error but the listed ones a Lambda may still be at work, so the next attempt has to wait."""
    found = ending([DONE, caught(name)])
    assert (found.outcome, found.clean) == (Outcome.FAILED, clean)
    assert found.permanent is (name == "States.DataLimitExceeded")
    assert not ending([caught("StepFailed"), caught("States.Timeout")]).clean


def test_a_permanent_failure_needs_no_second_try() -> None:
    """The worker's author said so; the reason is what a person reads at the parked key."""
    assert ending([DONE, FAILED]) == Ending(
        Outcome.FAILED, clean=True, permanent=True, reason="payment: Permanent: no card"
    )


def test_an_error_of_the_whole_fan_out_is_unclean() -> None:
    """Its branches were stopped, not their Lambdas."""
    found = ending({"Error": "States.Runtime", "Cause": "bad path"})
    assert (found.outcome, found.clean, found.permanent) == (Outcome.FAILED, False, False)
    assert ending({"Error": "States.DataLimitExceeded", "Cause": ""}).permanent


def test_too_little_time_is_no_failure() -> None:
    """Unless another branch failed: then that counts."""
    assert ending([DONE, LATE]).outcome is Outcome.OUT_OF_TIME
    assert ending([caught("StepFailed"), LATE]).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "steps",
    [
        None,
        [],
        {},
        [{}],
        [None],
        [DONE, {}],
        [DONE, {"ok": True}],
        [DONE, "done"],
        [{"packing": {}, "lines": []}],
        [DONE | {"outcome": "fine"}],
        [{"step": "payment"}],
        [{"step": "payment", "error": "text"}],
    ],
)
def test_silence_is_no_success(steps: Any) -> None:
    """A branch in which no worker answered fails: a function without @worker must not let its event pass for done."""
    found = ending(steps)
    assert (found.outcome, found.clean) == (Outcome.FAILED, False)
    assert "NoAnswer" in found.reason


def test_the_reason_is_the_message_without_the_stack_trace() -> None:
    """AWS hands a Lambda's error on as JSON text."""
    cause = json.dumps(
        {"errorMessage": "TimeoutError: no answer", "errorType": "StepFailed", "stackTrace": ["  File ..."]}
    )
    assert ending([caught("StepFailed", cause)]).reason == "payment: StepFailed: TimeoutError: no answer"


def test_a_reason_is_short() -> None:
    """It stands in items and log lines."""
    assert len(ending([caught("StepFailed", "x" * 100_000)] * 3).reason) <= 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["step", "outcome", "error", "Error", "Cause", "execution_id", "a"]), inner)
    ),
)


@pytest.mark.parametrize(
    "never",
    [
        caught("Lambda.TooManyRequestsException", "Rate Exceeded."),
        caught(
            "StepFailed", json.dumps({"errorMessage": "no failure: Throttled: slow down", "errorType": "StepFailed"})
        ),
        caught("Runtime.HandlerError", "no failure: Throttled: slow down"),
    ],
)
def test_an_attempt_in_which_nothing_failed_that_began_uses_none_up(never: dict[str, Any]) -> None:
    """A throttled Lambda or table says nothing about the workflow; what failed beside it does."""
    for beside in ([DONE], [LATE], [never]):
        found = ending([never, *beside])
        assert (found.outcome, found.clean) == (Outcome.OUT_OF_TIME, True)
    assert ending([never, FAILED]).outcome is Outcome.FAILED
    assert ending([never, caught("StepFailed", "ValueError: no failure: at all")]).outcome is Outcome.FAILED
    hung = ending([never, caught("States.Timeout", "no failure: says who?")])
    assert (hung.outcome, hung.clean) == (Outcome.FAILED, False)


@given(JSON)
def test_whatever_a_state_machine_passes_there_is_a_verdict(steps: Any) -> None:
    """The sequencer never stumbles over it; only answers that say "done" make a success."""
    verdict = read_steps(steps)
    if verdict.ending is not None and verdict.ending.outcome is Outcome.SUCCEEDED:
        assert '"done"' in json.dumps(steps)
