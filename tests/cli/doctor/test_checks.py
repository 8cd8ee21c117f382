"""Each check of `keyturn doctor`, against a healthy stack and against one in which one thing is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from keyturn_cli.doctor.examine import CHECKS, examine
from keyturn_cli.doctor.finding import Verdict
from keyturn_cli.doctor.load import widest

from keyturn.adapters.passes import Passes
from keyturn.adapters.schemas import load_routes
from keyturn.shell.describe import described
from tests.cli.doctor.patient import NOW_MS, POLICY, Patient

Break = Callable[[Patient], object]


def test_nothing_is_found_in_a_healthy_stack(patient: Patient) -> None:
    """But that CloudWatch has no figures, and that no canary was sent."""
    found = [finding for _, finding in examine(patient.examination(is_with_canary=False))]
    assert [finding for finding in found if finding.verdict in {Verdict.WARNING, Verdict.FAILED}] == []
    unknown = {finding.name for finding in found if finding.verdict is Verdict.NOT_CHECKED}
    assert unknown == {"canary", "Step Functions starts"}
    assert patient.puts == []


def function(name: str, **changed: Any) -> Break:
    return lambda patient: patient.functions[f"stack-{name}"].update(changed)


def variable(name: str, **changed: str) -> Break:
    return lambda patient: patient.functions[f"stack-{name}"].update(
        Environment={"Variables": patient.functions[f"stack-{name}"]["Environment"]["Variables"] | changed}
    )


def mapping(name: str, **changed: Any) -> Break:
    return lambda patient: patient.mappings[name].update(changed)


def alarm(**changed: Any) -> Break:
    return lambda patient: patient.alarms["stack-parked"].update(changed)


def answer(service: str, call: str, said: Any) -> Break:
    return lambda patient: patient.answers.update({(service, call): said})


def last_pass(ago_ms: int) -> Break:
    return lambda patient: Passes(patient.table).record("watchdog", NOW_MS - ago_ms, NOW_MS, {})


def never_came(patient: Patient) -> None:
    patient.table.client.delete_item(
        TableName=patient.table.name, Key={"pk": {"S": "control"}, "sk": {"S": "watchdog"}}
    )


WIDER = {"Statement": [*POLICY["Statement"], {"Effect": "Allow", "Action": "dynamodb:DeleteTable", "Resource": "*"}]}
DENIED = {"EvaluationResults": [{"EvalActionName": "dynamodb:PutItem", "EvalDecision": "explicitDeny"}]}
BUSY = {"Datapoints": [{"Timestamp": datetime.fromtimestamp(NOW_MS // 1000, UTC), "Sum": 8_000.0}]}

BROKEN: tuple[tuple[str, str, Break, Verdict, str, str], ...] = (
    ("functions", "functions ready", function("canary", State="Failed", StateReason="no role"), Verdict.FAILED,
     "canary is Failed (no role)", "deploy"),
    ("functions", "functions ready", function("canary", LastUpdateStatus="Failed"), Verdict.FAILED,
     "canary is updated without success", "deploy"),
    ("functions", "one library version", function("canary", Layers=[{"Arn": "a:layer:stack-library:6"}]),
     Verdict.FAILED, "most functions run on version 7 of the layer, canary on 6", "deploy"),
    ("functions", "same settings", variable("sequencer", INDEX_BUCKETS="4"), Verdict.FAILED,
     "INDEX_BUCKETS of sequencer is '4', others have '2'", "deploy"),
    ("event sources", "stream is read", mapping("records", State="Disabled"), Verdict.FAILED,
     "is Disabled: nothing new is admitted", "update-event-source-mapping --enabled --uuid records"),
    ("event sources", "stream is read", mapping("records", LastProcessingResult="PROBLEM: no rights"), Verdict.FAILED,
     "PROBLEM: no rights", "role"),
    ("event sources", "records not given up early", mapping("records", FunctionResponseTypes=[]), Verdict.FAILED,
     "it doesn't report item failures", "deploy"),
    ("event sources", "records not given up early", mapping("records", MaximumRetryAttempts=3), Verdict.FAILED,
     "it gives up after so many tries", "deploy"),
    ("event sources", "records not given up early", mapping("records", MaximumRecordAgeInSeconds=60), Verdict.FAILED,
     "it gives up after 60 s, its dispatcher may take 60 s", "deploy"),
    ("event sources", "records not given up early", mapping("records", DestinationConfig={}), Verdict.FAILED,
     "what it gives up goes nowhere", "deploy"),
    ("event sources", "wake-ups are read", mapping("wake-ups", State="Disabled"), Verdict.FAILED,
     "retries wait for its schedule", "update-event-source-mapping --enabled --uuid wake-ups"),
    ("alarms", "alarms armed", lambda patient: patient.alarms.pop("stack-parked"), Verdict.FAILED,
     "somebody deleted stack-parked", "deploy"),
    ("alarms", "alarms armed", alarm(ActionsEnabled=False), Verdict.FAILED,
     "switched off for stack-parked", "enable-alarm-actions --alarm-names stack-parked"),
    ("alarms", "alarms are heard", alarm(AlarmActions=[]), Verdict.WARNING,
     "1 alarms only show in CloudWatch", "AlarmTopicArn"),
    ("alarms", "no alarm rings", alarm(StateValue="ALARM"), Verdict.WARNING, "in alarm: parked", "docs/operations.md"),
    ("schedules", "schedule watchdog", answer("scheduler", "get_schedule", {"State": "DISABLED"}), Verdict.FAILED,
     "it is DISABLED", "enable it"),
    ("schedules", "status changes are reported", answer("events", "describe_rule", {"State": "DISABLED"}),
     Verdict.FAILED, "found at their deadline only", "aws events enable-rule --name stack-run-ended"),
    ("schedules", "status changes are reported", answer("events", "list_targets_by_rule", {"Targets": []}),
     Verdict.FAILED, "has no target", "deploy"),
    ("schedules", "a canary's alarms are reported", answer("events", "describe_rule", {"State": "DISABLED"}),
     Verdict.FAILED, "by its own count of attempts only", "aws events enable-rule --name stack-canary-alarm"),
    ("schedules", "last pass of the watchdog", last_pass(4 * 60_000), Verdict.FAILED, "4 min ago", "log of watchdog"),
    ("schedules", "last pass of the watchdog", never_came, Verdict.FAILED, "it never came", "schedule"),
    ("load", "Lambda concurrency",
     answer("lambda", "get_account_settings", {"AccountLimit": {"UnreservedConcurrentExecutions": 10}}),
     Verdict.WARNING, "3 runs with up to 3 workers each may want 14; 10 are free", "lower MaxInFlightRuns to 1,"),
    ("load", "Step Functions starts", answer("cloudwatch", "get_metric_statistics", BUSY), Verdict.WARNING,
     "133 a second in the busiest minute", "Express"),
    ("load", "finished events expire",
     answer("dynamodb", "describe_time_to_live", {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}),
     Verdict.FAILED, "time to live is DISABLED", "update-time-to-live"),
    ("load", "state table backed up",
     answer("dynamodb", "describe_continuous_backups", {"ContinuousBackupsDescription": {}}),
     Verdict.WARNING, "no point-in-time recovery", "PointInTimeRecovery=true"),
    ("load", "state table on demand",
     answer("dynamodb", "describe_table", {"Table": {"BillingModeSummary": {"BillingMode": "PROVISIONED"}}}),
     Verdict.WARNING, "it is PROVISIONED", "deploy"),
    ("load", "stream outlasts the mapping", mapping("records", MaximumRecordAgeInSeconds=86_400), Verdict.FAILED,
     "records expire after 24 h", "StreamRetentionHours"),
    ("load", "resends are known", variable("dispatcher", EVENT_RETENTION_DAYS="30", DUPLICATE_WINDOW_HOURS="721"),
     Verdict.WARNING, "the log finished events 720 h: later than that a resend runs again", "lower DuplicateWindow"),
    ("load", "resends are known", variable("dispatcher", DUPLICATE_WINDOW_HOURS="23"), Verdict.WARNING,
     "for 23 h; the stream keeps records 24 h", "raise DuplicateWindowHours"),
    ("load", "payloads outlast the log",
     answer("s3", "get_bucket_lifecycle_configuration", {"Rules": [{"Expiration": {"Days": 400}}]}), Verdict.FAILED,
     "large payloads expire after 400 days, the log's items that name them live 400", "PayloadRetentionDays"),
    ("load", "queues drained",
     answer("sqs", "get_queue_attributes", {"Attributes": {"ApproximateNumberOfMessages": "1"}}),
     Verdict.WARNING, "1 messages in WakeDeadLetterQueue", "purge"),
    ("rights", "roles as deployed", answer("iam", "get_role_policy", {"PolicyDocument": WIDER}), Verdict.FAILED,
     "DispatcherFunctionRole grants dynamodb:DeleteTable besides", "deploy"),
    ("rights", "roles as deployed",
     answer("iam", "get_policy_version", {"PolicyVersion": {"Document": {"Statement": []}}}),
     Verdict.FAILED, "WorkerPolicy lacks dynamodb:GetItem, dynamodb:Query", "deploy"),
    ("rights", "roles as deployed", answer("iam", "list_attached_role_policies", {"AttachedPolicies": []}),
     Verdict.FAILED, "DispatcherFunctionRole lacks AWSLambdaBasicExecutionRole, stack-worker", "deploy"),
    ("rights", "rights in effect", answer("iam", "simulate_principal_policy", DENIED), Verdict.FAILED,
     "CanaryFunction may not dynamodb:BatchGetItem", "boundaries"),
    ("keeping", "stream encrypted",
     answer("kinesis", "describe_stream_summary", {"StreamDescriptionSummary": {"EncryptionType": "NONE"}}),
     Verdict.FAILED, "it is not", "deploy"),
    ("keeping", "buckets encrypted",
     answer("s3", "get_bucket_encryption", {"ServerSideEncryptionConfiguration": {"Rules": []}}),
     Verdict.FAILED, "not PayloadBucket", "deploy"),
    ("keeping", "queues encrypted", answer("sqs", "get_queue_attributes", {"Attributes": {}}), Verdict.FAILED,
     "not WakeDeadLetterQueue, WakeQueue", "deploy"),
    ("keeping", "logs expire",
     answer("logs", "describe_log_groups", {"logGroups": [{"logGroupName": "/aws/lambda/stack-dispatcher"}]}),
     Verdict.WARNING, "kept for ever: /aws/lambda/stack-dispatcher", "deploy"),
    ("keeping", "logs expire", answer("logs", "describe_log_groups", {"logGroups": []}), Verdict.FAILED,
     "somebody deleted /aws/lambda/stack-dispatcher", "deploy"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("group", "name", "break_it", "verdict", "told", "todo"),
    BROKEN,
    ids=[f"{group}-{told}" for group, _, _, _, told, _ in BROKEN],
)
def test_one_broken_thing_is_one_finding_that_says_what_to_do(
    patient: Patient, group: str, name: str, break_it: Break, verdict: Verdict, told: str, todo: str
) -> None:
    break_it(patient)
    found = patient.findings(CHECKS[group])
    assert found[name].verdict is verdict, found
    assert told in found[name].told
    assert todo in found[name].todo


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda there: there["routes"].pop("permit"), "not deployed: permit"),
        (lambda there: there["routes"].update(old={"workflow": "order", "kind": "express"}), "only deployed: old"),
        (lambda there: there["routes"]["permit"].update(max_attempts=9), "different: permit"),
    ],
)
def test_routes_that_differ_from_the_checkouts_are_named(
    patient: Patient, change: Callable[[Any], object], told: str
) -> None:
    """The operator function tells what it was deployed with."""
    there = json.loads(json.dumps(described(load_routes())))
    change(there)
    patient.deploys(there)
    finding = patient.findings(CHECKS["routes"])["routes as in this checkout"]
    assert (finding.verdict, finding.told) == (Verdict.WARNING, told)


def test_a_route_without_its_state_machine_is_found(patient: Patient) -> None:
    """Its keys would be parked, event by event."""
    there = json.loads(json.dumps(described(load_routes())))
    there["routes"]["permit"]["kind"] = "slow"
    patient.deploys(there)
    finding = patient.findings(CHECKS["routes"])["routes lead somewhere"]
    assert (finding.verdict, finding.told) == (Verdict.FAILED, "route permit has no state machine order-slow")


@pytest.mark.parametrize(
    ("code", "verdict", "told"),
    [
        ("AccessDeniedException", Verdict.NOT_CHECKED, "you may not call get_account_settings"),
        ("UnknownOperationException", Verdict.NOT_CHECKED, "this endpoint doesn't know get_account_settings"),
        ("TooManyRequestsException", Verdict.NOT_CHECKED, "AWS is busy: get_account_settings was throttled"),
        ("ValidationException", Verdict.FAILED, "get_account_settings was refused: ValidationException: because"),
    ],
)
def test_what_cannot_be_asked_stops_one_group_only(patient: Patient, code: str, verdict: Verdict, told: str) -> None:
    """And says why in a line."""
    patient.refuses("lambda", "get_account_settings", code)
    found = dict[str, list[Any]]()
    for group, finding in examine(patient.examination(is_with_canary=False)):
        found.setdefault(group, []).append(finding)
    (stopped,) = found["load"]
    assert (stopped.verdict, stopped.told) == (verdict, told)
    assert found.keys() == CHECKS.keys()


def test_a_wrong_setting_fails_the_checks_that_rest_on_it(patient: Patient) -> None:
    """In the words of the settings' own error."""
    variables = patient.functions["stack-dispatcher"]["Environment"]["Variables"]
    variables["MAX_IN_FLIGHT_RUNS"] = "0"
    found = [finding for group, finding in examine(patient.examination(is_with_canary=False)) if group == "load"]
    assert [(finding.verdict, "MAX_IN_FLIGHT_RUNS='0'" in finding.told) for finding in found] == [
        (Verdict.FAILED, True)
    ]


def test_a_stack_of_another_version_is_no_traceback(patient: Patient) -> None:
    """What it lacks is a finding, and so is a template that can't be read."""
    listed = patient.answers["cloudformation", "list_stack_resources"]["StackResourceSummaries"]
    listed[:] = [entry for entry in listed if entry["LogicalResourceId"] != "WatchdogFunctionWakeUps"]
    patient.answers["cloudformation", "get_template"] = {"TemplateBody": "Resources: {}"}
    found = {finding.told: finding for _, finding in examine(patient.examination(is_with_canary=False))}
    lacking = "the stack has no WatchdogFunctionWakeUps: it was deployed by another version than this command's"
    assert found[lacking].verdict is Verdict.FAILED
    assert found["CloudFormation tells no template as SAM has transformed it"].verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("rights", "rights in effect"),
        ("keeping", "stream encrypted"),
        ("load", "finished events expire"),
        ("load", "payloads outlast the log"),
    ],
)
def test_what_the_local_engine_does_not_do_is_not_checked(patient: Patient, group: str, name: str) -> None:
    """It is no fault of the stack's."""
    for call in (("dynamodb", "describe_time_to_live"), ("kinesis", "describe_stream_summary")):
        patient.answers[call] = {
            "TimeToLiveDescription": {},
            "StreamDescriptionSummary": {"EncryptionType": "NONE", "RetentionPeriodHours": 24},
        }
    assert patient.findings(CHECKS[group], is_local=True)[name].verdict is Verdict.NOT_CHECKED


def test_a_watchdog_that_was_deployed_just_now_may_not_have_come(patient: Patient) -> None:
    never_came(patient)
    soon = datetime.fromtimestamp(NOW_MS // 1000 - 60, UTC).isoformat()
    patient.functions["stack-watchdog"]["LastModified"] = soon
    finding = patient.findings(CHECKS["schedules"])["last pass of the watchdog"]
    assert finding.verdict is Verdict.NOT_CHECKED


def test_the_widest_fan_out_counts_branches_and_iterations() -> None:
    """Three workers side by side; or a Map of ten at once, each of two; one after the other isn't wide."""
    task = {"States": {"A": {"Type": "Task"}, "B": {"Type": "Task"}}}
    both = {"States": {"P": {"Type": "Parallel", "Branches": [task, task]}}}
    mapped = {"States": {"M": {"Type": "Map", "MaxConcurrency": 10, "ItemProcessor": both}, "W": {"Type": "Wait"}}}
    assert [widest(task), widest(both), widest(mapped)] == [1, 2, 20]
    assert widest({"States": {"M": {"Type": "Map", "Iterator": task}}}) == 40
