"""The same cases for every interpreter of the state machines: what workers answer, and what must reach the sequencer.

What workers answer stands in mock-config.json, in the format of Step Functions Local, which MiniStack reads too:
state machine -> case -> state -> named responses, by attempt.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from keyturn.core.draining import DrainingExecution
from keyturn.core.run_header import RunHeader

CONFIG_FILE: Final = Path(__file__).with_name("mock-config.json")
UNHURRIED_S: Final = 120
"""What a task may take that isn't to time out: a busy machine may take seconds for a cold start, or for a thread."""
DRAINING: Final = ("order", "lines", "tracking")
"""Workflows whose definitions have a draining one too."""


def _config() -> Mapping[str, Any]:
    """Read the file; what a workflow does, its draining definition does as well."""
    config: dict[str, Any] = json.loads(CONFIG_FILE.read_text(encoding="utf-8"))
    machines = config["StateMachines"]
    for name in DRAINING:
        rounds = machines.get(f"{name}-draining", {"TestCases": {}})
        machines[f"{name}-draining"] = {"TestCases": machines[name]["TestCases"] | rounds["TestCases"]}
    return config


CONFIG: Final = _config()

RUN_INPUT: Final[Mapping[str, Any]] = {
    "run": {
        "key": "order-17",
        "fence": 4,
        "attempt": 1,
        "generation": 0,
        "route": "order-placed",
        "workflow": "order",
        "first": "0001-1-000000",
        "last": "0001-1-000000",
        "count": 1,
        "deadline_ms": 1_795_500_060_000,
        "flow_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "arrived_at_ms": 1_795_500_000_000,
        "personal": False,
        "release": 0,
        "qualifier": "",
    },
    "events": [{"position": "0001-1-000000", "flow_id": "4bf92f3577b34da6a3ce929d0e0e4736", "event": {"id": "17"}}],
}


@dataclass(frozen=True, slots=True)
class Case:
    """One way that a run can go."""

    workflow: str
    name: str
    reaches_sequencer: tuple[str, ...]
    """Each step with its outcome, or with the error that its branch caught."""
    tries: Mapping[str, int] = field(default_factory=dict)
    """State -> how often it was tried, where that is the point."""
    succeeds: bool = True

    def __str__(self) -> str:
        return f"{self.workflow}-{self.name}"

    @property
    def recovers(self) -> bool:
        """Whether a state fails first and works later."""
        return any(
            "Throw" in response_for(responses, 0) and len(responses) > 1
            for responses in self.responses_by_state.values()
        )

    def timeouts_s(self, timeout_s: int) -> dict[str, int]:
        """Give this timeout to each state that is to run into it."""
        return {state: timeout_s for state, responses in self.responses_by_state.items() if times_out(responses)}

    @property
    def responses_by_state(self) -> dict[str, Mapping[str, Any]]:
        """State -> attempt, or range of attempts -> response."""
        states = CONFIG["StateMachines"][self.workflow]["TestCases"][self.name]
        return {state: CONFIG["MockedResponses"][response] for state, response in states.items()}


DONE: Final = ("inventory done", "payment done", "notification done")
FORTY_PICKED: Final = ("picking done",) * 40

_CASES: Final = (
    Case("order", "AllDone", DONE, {"Inventory": 1, "Payment": 1, "Notification": 1, "Sequence": 1}),
    Case("order", "OneFailsThenWorks", DONE, {"Inventory": 2, "Payment": 1}),
    Case("order", "OneIsThrottledThenWorks", DONE, {"Inventory": 2}),
    Case("order", "OneKeepsFailing", ("inventory done", "payment: StepFailed", "notification done"), {"Payment": 3}),
    Case("order", "OneFailsForGood", ("inventory done", "payment failed", "notification done"), {"Payment": 1}),
    # after these two a Lambda may still be at work: no second try beside it
    Case("order", "OneTimesOut", ("inventory: States.Timeout", "payment done", "notification done"), {"Inventory": 1}),
    Case(
        "order",
        "OneDiesOfAnUnknownCause",
        ("inventory: Lambda.Unknown", "payment done", "notification done"),
        {"Inventory": 1},
    ),
    Case(
        "order",
        "OneAnswersTooMuch",
        ("inventory done", "payment done", "notification: States.DataLimitExceeded"),
        {"Notification": 1},
    ),
    Case("order", "AllRefused", ("inventory refused", "payment refused", "notification refused"), {"Inventory": 1}),
    Case("order", "SequencerFailsOnce", DONE, {"Sequence": 2, "Inventory": 1}),
    # nobody but the deadline would end an Express run whose sequencer was refused for want of concurrency
    Case("order", "SequencerIsThrottledFourTimes", DONE, {"Sequence": 5, "Inventory": 1}),
    Case("order", "SequencerKeepsFailing", DONE, {"Sequence": 2}, succeeds=False),
    Case("tracking", "Told", ("notification done",), {"Notification": 1, "Sequence": 1}),
    Case("tracking", "NotificationRefused", ("notification refused",), {"Notification": 1}),
    Case("tracking", "NotificationAnswersTooMuch", ("notification: States.DataLimitExceeded",), {"Notification": 1}),
    Case("canary", "Through", ("canary done",), {"Canary": 1, "Sequence": 1}),
    Case("canary", "CanaryKeepsFailing", ("canary: StepFailed",), {"Canary": 3}),
    Case("lines", "TwoLines", ("packing done", "picking done", "picking done"), {"Picking": 2}),
    Case("lines", "NoLines", ("packing done",), {"Picking": 0}),
    Case("lines", "FortyLines", ("packing done", *FORTY_PICKED), {"Picking": 40}),
    Case("lines", "LinesNotTold", ("packing: NoLines",), {"Packing": 1, "Picking": 0}),
    Case("lines", "PackingFailsForGood", ("packing failed",), {"Packing": 1, "Picking": 0}),
    Case("lines", "PackingRefused", ("packing refused",), {"Packing": 1, "Picking": 0}),
    Case("lines", "PackingKeepsFailing", ("packing: StepFailed",), {"Packing": 3, "Picking": 0}),
    Case(
        "lines",
        "PickingKeepsFailing",
        ("packing done", "picking-0: StepFailed", "picking-1: StepFailed"),
        {"Packing": 1, "Picking": 6},
    ),
)

CASES: Final = (
    *_CASES,
    *(replace(case, workflow=f"{case.workflow}-draining") for case in _CASES if case.workflow in DRAINING),
)

THRICE: Final[Mapping[str, int]] = {"Inventory": 3, "Payment": 3, "Notification": 3, "Sequence": 3}
ITS_OWN: Final = "its own"
"""In the answers of the case below, the id of the execution: it can't be foreseen."""

BOUND: Final = Case("order-draining", "GoesOnWithWhatIsItsOwn", DONE, THRICE)
"""An execution whose sequencer brings it runs that are bound to it."""

ROUNDS: Final = (
    BOUND,
    # an older sequencer's answers, which bring a run and its events and nothing else
    Case("order-draining", "GoesOnTwice", DONE, THRICE),
    # each visit of the sequencer's state has its own retries
    Case("order-draining", "SequencerFailsInBetween", DONE, {"Inventory": 3, "Sequence": 5}),
)
"""Executions that go on with a second and a third run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an interpreter made of a case."""

    status: str
    sequencer_input: Mapping[str, Any]
    tries: Mapping[str, int] | None = None
    """State -> how often it was tried; None where that can't be seen."""


def check(case: Case, outcome: Outcome) -> None:
    """Assert that the run went as the case says."""
    assert tuple(gist(outcome.sequencer_input["steps"])) == case.reaches_sequencer
    assert outcome.sequencer_input["run"] == RUN_INPUT["run"]
    if outcome.tries is not None:
        assert {state: outcome.tries.get(state, 0) for state in case.tries} == case.tries
    assert outcome.status == ("SUCCEEDED" if case.succeeds else "FAILED")


def check_rounds(case: Case, sequenced: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> None:
    """Assert that each run went through all of its steps, under the execution's id if it is bound to that.

    `sequenced` is what the sequencer was told, call by call; `ids` the execution ids that workers got, in order.
    """
    rounds = list({told["run"]["fence"]: told for told in sequenced}.values())
    assert [told["run"]["fence"] for told in rounds] == [4, 5, 6]
    for told in rounds:
        assert tuple(gist(told["steps"])) == case.reaches_sequencer
        execution = DrainingExecution.from_payload(told, RunHeader.from_input(RUN_INPUT["run"]))
        assert execution is not None, "the sequencer can't tell how much time is left"
        assert execution.name
    assert len(sequenced) == case.tries["Sequence"]
    by_round = [ids[0], ids[3], ids[6]]
    assert list(ids) == [by_round[0]] * 3 + [by_round[1]] * 3 + [by_round[2]] * 3, "one after the other"
    assert [told["execution"]["id"] for told in rounds] == by_round
    if case == BOUND:
        assert by_round[1:] == [ITS_OWN] * 2
        assert [told["seen"] for told in rounds] == [None, {"version": 5}, {"version": 6}]
    else:
        assert len(set(ids)) == 3
        assert [told["seen"] for told in rounds] == [None] * 3


def gist(steps: Any) -> Iterator[str]:
    """Flatten what the sequencer gets into one line a step, as the sequencer itself has to."""
    match steps:
        case list():
            for step in steps:
                yield from gist(step)
        case {"packing": packing, "lines": picked}:
            yield from gist([packing, *picked])
        case {"step": step, "outcome": outcome}:
            yield f"{step} {outcome}"
        case {"step": step, "error": {"Error": error}}:
            yield f"{step}: {error}"
        case _:
            raise AssertionError(f"the sequencer can't tell what this is: {steps}")


def times_out(responses: Mapping[str, Any]) -> bool:
    """Whether a state's function is not to answer in time."""
    return any(response.get("Throw", {}).get("Error") == "States.Timeout" for response in responses.values())


def response_for(responses: Mapping[str, Any], attempt: int) -> Mapping[str, Any]:
    """The response for one attempt: its keys are `0` or ranges such as `1-3`."""
    for span, response in responses.items():
        low, _, high = span.partition("-")
        if int(low) <= attempt <= int(high or low):
            answer: Mapping[str, Any] = response
            return answer
    raise AssertionError(f"mock-config.json has no response for attempt {attempt}")


def deployable(definition: Mapping[str, Any], arn: Callable[[str], str], timeouts_s: Mapping[str, int]) -> str:
    """The definition as it is deployed: `arn` names the function behind a state, and some states time out soon.

    The others have time enough for any machine.
    """

    def with_timeout(name: str, state: Any) -> Any:
        is_task = isinstance(state, dict) and state.get("Type") == "Task"
        return {**state, "TimeoutSeconds": timeouts_s.get(name, UNHURRIED_S)} if is_task else state

    def shorten(object_: dict[str, Any]) -> dict[str, Any]:
        return {name: with_timeout(name, value) for name, value in object_.items()}

    short = json.dumps(json.loads(json.dumps(definition), object_hook=shorten))
    text = short.replace("${Partition}", "aws").replace("${SequencerFunctionArn}", arn("Sequence"))
    return re.sub(r"\$\{(\w+)FunctionArn\}", lambda match: arn(match[1]), text)
