"""`keyturn doctor` on the deployed stack: nothing is found while it is well; then what is broken on purpose is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from keyturn_cli.doctor.canary import check_canary
from keyturn_cli.doctor.examination import Examination, Options
from keyturn_cli.doctor.examine import CHECKS, examine
from keyturn_cli.doctor.finding import Finding, Verdict
from keyturn_cli.doctor.rights import simulated

from tests.endtoend.stack import LIMIT_S, Stack

OPTIONS = Options(is_with_canary=True, limit_s=LIMIT_S)


def examination(stack: Stack, options: Options = OPTIONS) -> Examination:
    return Examination(stack.target, options)


def finding(stack: Stack, group: str, name: str) -> Finding:
    return next(found for found in CHECKS[group](examination(stack)) if found.name == name)


def test_a_healthy_stack_passes(stack: Stack) -> None:
    """The canary comes through, and no check fails."""
    found = [found for _, found in examine(examination(stack))]
    assert [one for one in found if one.verdict is Verdict.FAILED] == []
    (canary,) = [one for one in found if one.name == "canary"]
    assert (canary.verdict, "put to admitted" in canary.told) == (Verdict.OK, True)


def test_a_canary_that_nobody_reads_fails_within_its_limit(stack: Stack) -> None:
    """And comes through once the stream is read again."""
    with stack.reading.stopped():
        (found,) = check_canary(examination(stack, replace(OPTIONS, limit_s=3)))
    assert found.verdict is Verdict.FAILED
    assert "after 3 s nobody has read it from the stream" in found.told
    assert "keyturn up" in found.todo
    (again,) = check_canary(examination(stack))
    assert again.verdict is Verdict.OK


@contextmanager
def mapping_off(stack: Stack) -> Iterator[None]:
    aws, uuid = stack.target.client("lambda"), examination(stack).resources["WatchdogFunctionWakeUps"].id
    aws.update_event_source_mapping(UUID=uuid, Enabled=False)
    yield
    aws.update_event_source_mapping(UUID=uuid, Enabled=True)


@contextmanager
def schedule_off(stack: Stack) -> Iterator[None]:
    aws, name = stack.target.client("scheduler"), f"{stack.settings.stack_name}-watchdog"
    about = aws.get_schedule(Name=name)
    kept = {part: about[part] for part in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target", "Description")}
    aws.update_schedule(**kept, State="DISABLED")
    yield
    aws.update_schedule(**kept, State="ENABLED")


@contextmanager
def rule_off(stack: Stack) -> Iterator[None]:
    aws, name = stack.target.client("events"), examination(stack).resources["WatchdogFunctionRunEnded"].id
    aws.disable_rule(Name=name)
    yield
    aws.enable_rule(Name=name)


@contextmanager
def alarm_gone(stack: Stack) -> Iterator[None]:
    aws, name = stack.target.client("cloudwatch"), f"{stack.settings.stack_name}-parked"
    (about,) = aws.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    kept = ("AlarmName", "Namespace", "MetricName", "Dimensions", "Statistic", "Period", "EvaluationPeriods")
    aws.delete_alarms(AlarmNames=[name])
    yield
    aws.put_metric_alarm(
        **{part: about[part] for part in kept}, ComparisonOperator=about["ComparisonOperator"], Threshold=0
    )


@contextmanager
def more_rights(stack: Stack) -> Iterator[None]:
    aws, role = stack.target.client("iam"), examination(stack).resources["SequencerFunctionRole"].id
    statement = {"Effect": "Allow", "Action": "dynamodb:DeleteTable", "Resource": "*"}
    aws.put_role_policy(RoleName=role, PolicyName="by-hand", PolicyDocument=json.dumps({"Statement": [statement]}))
    yield
    aws.delete_role_policy(RoleName=role, PolicyName="by-hand")


@contextmanager
def ghost_in_the_index(stack: Stack) -> Iterator[None]:
    aws, place = stack.target.client("dynamodb"), {"pk": {"S": "key#ghost"}, "sk": {"S": "state"}}
    entry = {"due_bucket": {"S": "waiting#0"}, "due_at": {"N": "9999999999999"}}
    aws.put_item(TableName=stack.target.outputs.state_table_name, Item=place | entry)
    yield
    aws.delete_item(TableName=stack.target.outputs.state_table_name, Key=place)


@pytest.mark.parametrize(
    ("broken", "group", "name", "told"),
    [
        (mapping_off, "event sources", "wake-ups are read", "retries wait for its schedule"),
        (schedule_off, "schedules", "schedule watchdog", "it is DISABLED"),
        (rule_off, "schedules", "status changes are reported", "is DISABLED"),
        (alarm_gone, "alarms", "alarms armed", "somebody deleted"),
        (more_rights, "rights", "roles as deployed", "SequencerFunctionRole grants dynamodb:DeleteTable besides"),
        (ghost_in_the_index, "index", "index agrees with key states", "'ghost' is in the index without a key state"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_somebody_broke_is_found_and_gone_once_it_is_mended(
    stack: Stack, broken: Any, group: str, name: str, told: str
) -> None:
    """Each with a line that says what to do."""
    with broken(stack):
        found = finding(stack, group, name)
    assert found.verdict is Verdict.FAILED
    assert told in found.told
    assert found.todo
    assert finding(stack, group, name).verdict is Verdict.OK


def test_the_simulator_tells_rights_that_no_function_should_have(stack: Stack) -> None:
    """This engine doesn't enforce IAM, but it can tell."""
    assert simulated(examination(stack)).verdict is Verdict.OK
    with more_rights(stack):
        found = simulated(examination(stack))
    assert (found.verdict, found.told) == (Verdict.FAILED, "SequencerFunction may dynamodb:DeleteTable")
