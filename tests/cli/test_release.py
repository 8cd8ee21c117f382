"""`keyturn release`: what its words mean, and how releases are told."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest
import typer
from botocore.exceptions import ClientError
from keyturn_cli.app import app
from keyturn_cli.errors import Refused
from keyturn_cli.publishing import Deployed, deployed, publish_versions
from keyturn_cli.release import _asked, _promotion
from keyturn_cli.release_text import list_document, list_lines, percent, rollout_document, rollout_rows, state_of
from typer.testing import CliRunner

from keyturn.adapters.rollouts import ReleaseRecord
from keyturn.core.rollout import (
    NOTHING_PUBLISHED,
    Canary,
    CanaryRules,
    Health,
    Rollout,
    begun,
    promoted,
    published,
    rolled_back,
    tried,
)

NOW_MS = 1_700_000_000_000
DEFINITIONS = Path(__file__).parents[2] / "statemachines"


def releases(count: int) -> Rollout:
    """That many published releases, the first one stable."""
    rollout = NOTHING_PUBLISHED
    for number in range(1, count + 1):
        rollout = published(begun(rollout), number, {"order-standard": number}, NOW_MS)
    return rollout


def record(number: int, *done: str) -> ReleaseRecord:
    """A release with what was done with it."""
    story = [{"done": one, "by": "sam", "reason": "why\nnot", "at_ms": NOW_MS} for one in ("Publish", *done)]
    return ReleaseRecord(number, {"order-standard": f"arn:{number}"}, {"payment": f"arn:payment:{number}"}, story)


TRYING = tried(releases(2), Canary(2, 3_000, NOW_MS))


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["k1"], "held"),
        (["--route", "paid"], "held"),
        (["--everything"], "held"),
        (["--", "list"], "held"),
        (["held", "publish"], "held"),
        (["publish"], "publish"),
        (["canary"], "canary"),
    ],
)
def test_what_is_no_command_is_the_subject_of_a_hold(words: list[str], command: str) -> None:
    """`keyturn release KEY` is older than releases, and ends a hold as it always did."""
    done = CliRunner().invoke(app, ["release", *words])
    assert f"release {command} " in done.output, done.output
    assert "Missing option '--reason'" in done.output


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("", {}),
        ("200", {"promote_after_runs": 200, "promote_after_ms": 0}),
        ("30m", {"promote_after_runs": 0, "promote_after_ms": 1_800_000}),
        ("2h", {"promote_after_runs": 0, "promote_after_ms": 7_200_000}),
        ("never", {"promote_after_runs": 0, "promote_after_ms": 0}),
    ],
)
def test_a_promotion_is_asked_for_by_runs_or_by_time(text: str, rules: dict[str, int]) -> None:
    assert _promotion(text) == rules


@pytest.mark.parametrize("text", ["0", "0m", "-5", "soon", "5w", "1.5h", "9" * 10])
def test_a_promotion_that_means_nothing_is_a_usage_error(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="neither a number of runs"):
        _promotion(text)


def test_a_canary_that_is_widened_keeps_what_is_not_said_again() -> None:
    """Widened with the rules of a new one it might pass failures that it was to be rolled back for."""
    strict = CanaryRules(ended_min=50, failed_percent=2, promote_after_runs=500)
    rollout = tried(releases(3), Canary(2, 3_000, NOW_MS, strict))
    assert _asked(rollout, 2, {"share": 6_000, "ended_min": None}) == {"share": 6_000, **asdict(strict)}
    assert _asked(rollout, 2, {"share": None, **_promotion("2h")})["promote_after_runs"] == 0
    assert _asked(rollout, 3, {"share": None}) == {"share": 500, **asdict(CanaryRules())}


def test_a_release_is_told_by_what_it_is_now() -> None:
    """Stable, tried, taken back, stable before, or only published."""
    rollout = tried(promoted(rolled_back(tried(releases(5), Canary(2, 1, 0)), None, 0), 3, 0), Canary(4, 50, 0))
    assert [state_of(rollout, number) for number in range(1, 6)] == [
        "earlier",
        "rolled back",
        "stable",
        "canary, 0.5 % of the keys",
        "published",
    ]
    assert (percent(10_000), percent(1)) == ("100 %", "0.01 %")


def test_the_list_says_what_was_done_last_by_whom_and_why_a_line_each() -> None:
    """And of the canary how it does."""
    lines = [line.text for line in list_lines(TRYING, [record(2, "Canary"), record(1)], Health(9, 1), NOW_MS)]
    assert "canary, 30 % of the keys" in lines[0]
    assert "1 of 10 attempts failed" in lines[0]
    assert "by sam: why not" in lines[1]
    assert len(lines) == 2
    *_, last = list_lines(TRYING, [record(5), record(2)], None, NOW_MS)
    assert last.text == "Release 1, stable, is older than these."
    (none,) = list_lines(NOTHING_PUBLISHED, [], None, NOW_MS)
    assert none.text == "No release is published: runs take what was deployed last."


def test_status_shows_stable_canary_and_what_is_being_taken_back() -> None:
    rows = [" ".join(row) for row in rollout_rows(TRYING, None, NOW_MS)]
    assert rows[0].startswith("release 1 stable")
    assert rows[1].endswith("no attempt ended yet")
    (_, back) = rollout_rows(rolled_back(TRYING, None, NOW_MS), None, NOW_MS)
    assert back[-1] == "its parked keys go on"
    assert list(rollout_rows(NOTHING_PUBLISHED, None, NOW_MS)) == []


def test_programs_get_the_same() -> None:
    document = list_document(TRYING, [record(2)], Health(1, 0))
    assert (document["stable"], document["canary"]["share_percent"], document["canary"]["succeeded"]) == (1, 30, 1)
    assert document["releases"][0]["state"] == "canary, 30 % of the keys"
    assert rollout_document(NOTHING_PUBLISHED, None) == {"stable": None, "canary": None}


def _arn_of(placeholder: re.Match[str]) -> str:
    return f"arn:lambda:function:keyturn-{placeholder[1].lower()}"


class Aws:
    """CloudFormation, Lambda and Step Functions, as far as publishing asks them."""

    stack_name = "keyturn"

    def __init__(self, *resources: tuple[str, str], status: str = "UPDATE_COMPLETE") -> None:
        self.resources, self.status, self.aliases = resources, status, dict[str, str]()

    def client(self, _service: str) -> Aws:
        return self

    def describe_stacks(self, **_call: str) -> object:
        return {"Stacks": [{"StackStatus": self.status}]}

    def get_paginator(self, _name: str) -> Aws:
        return self

    def paginate(self, **_call: str) -> object:
        found = [
            {"ResourceType": kind, "PhysicalResourceId": name, "ResourceStatus": GONE.get(name, "CREATE_COMPLETE")}
            for kind, name in self.resources
        ]
        return [{"StackResourceSummaries": found[:1]}, {"StackResourceSummaries": found[1:]}]

    def publish_version(self, **call: str) -> object:
        return {"Version": "7", **call}

    def create_alias(self, **call: str) -> object:
        if call["FunctionName"] in self.aliases:
            raise ClientError({"Error": {"Code": "ResourceConflictException"}}, "CreateAlias")
        self.aliases[call["FunctionName"]] = f"{call['Name']} -> {call['FunctionVersion']}"
        return {}

    def describe_state_machine(self, **call: str) -> object:
        file = "order.asl.json" if call["stateMachineArn"] == MACHINE[1] else "replay.asl.json"
        definition = (DEFINITIONS / file).read_text(encoding="utf-8")
        return {"definition": re.sub(r"\$\{(\w+)FunctionArn\}", _arn_of, definition)}

    def publish_state_machine_version(self, **call: str) -> object:
        return {"stateMachineVersionArn": f"{call['stateMachineArn']}:3"}


MACHINE = ("AWS::StepFunctions::StateMachine", "arn:states:stateMachine:keyturn-order-standard")
REPLAYS = ("AWS::StepFunctions::StateMachine", "arn:states:stateMachine:keyturn-replay-standard")
FORMER = ("AWS::StepFunctions::StateMachine", "arn:states:stateMachine:keyturn-fax-standard")
PLAIN = ("AWS::StepFunctions::StateMachine", "arn:states:stateMachine:keyturn-plain-standard")
PLATFORM = ("AWS::Lambda::Function", "keyturn-dispatcher")
GONE = {FORMER[1]: "DELETE_COMPLETE"}


def test_what_is_published_is_the_runs_workflows_and_their_workers() -> None:
    """Not what drives replays, nor the platform: those change with the deploy itself."""
    aws = Aws(MACHINE, REPLAYS, PLATFORM, FORMER)
    found = deployed(aws)  # type: ignore[arg-type]
    workers = {name: f"arn:lambda:function:keyturn-{name}" for name in ("inventory", "notification", "payment")}
    assert found == Deployed({"order-standard": MACHINE[1]}, workers)
    done = publish_versions(aws, found, 4)  # type: ignore[arg-type]
    assert done.workers == {name: f"{arn}:7" for name, arn in workers.items()}
    assert done.machines == {"order-standard": f"{MACHINE[1]}:3"}
    assert aws.aliases == dict.fromkeys(workers.values(), "release-4 -> 7")


def test_an_alias_of_another_table_is_said() -> None:
    """The table was restored, and gives numbers out again; the functions have their aliases still."""
    aws = Aws(MACHINE)
    found = deployed(aws)  # type: ignore[arg-type]
    publish_versions(aws, found, 4)  # type: ignore[arg-type]
    with pytest.raises(Refused, match=r"has an alias release-4 already.* publish again"):
        publish_versions(aws, found, 4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("aws", "told"),
    [
        (Aws(MACHINE, status="UPDATE_IN_PROGRESS"), "is being changed"),
        (Aws(PLAIN, PLATFORM), "calls a worker by its run's release"),
    ],
)
def test_nothing_is_published_half_way_or_of_workflows_without_releases(aws: Aws, told: str) -> None:
    with pytest.raises(Refused, match=told):
        deployed(aws)  # type: ignore[arg-type]
