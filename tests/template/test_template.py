"""What the template promises: it lints in every variant, grants little, encrypts all, keeps what it must keep."""

import json
import re
import subprocess
import sys
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint

from keyturn.adapters import telemetry
from keyturn.adapters.clients import client
from keyturn.settings import Settings
from tests.shell.world import World
from tests.template.stack import (
    BASIC_EXECUTION,
    KEY_ARN,
    ROOT,
    as_list,
    default,
    resources,
    source,
    statements,
    transformed,
)

DATA = ("AWS::Kinesis::Stream", "AWS::DynamoDB::Table", "AWS::S3::Bucket")
FUNCTIONS = resources(source(), "AWS::Serverless::Function")

STATE = {
    "dynamodb:GetItem",
    "dynamodb:BatchGetItem",
    "dynamodb:Query",
    "dynamodb:PutItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:UpdateItem",
}
READ_STREAM = {
    "kinesis:DescribeStream",
    "kinesis:DescribeStreamSummary",
    "kinesis:GetRecords",
    "kinesis:GetShardIterator",
    "kinesis:ListShards",
    "kinesis:ListStreams",
}
LOG_DELIVERY = {
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
}
GRANTS = {
    "DispatcherFunctionRole": STATE
    | READ_STREAM
    | {"s3:PutObject", "s3:ListBucket", "states:StartExecution", "sqs:SendMessage"},
    "SequencerFunctionRole": STATE - {"dynamodb:BatchGetItem", "dynamodb:BatchWriteItem"}
    | {"states:StartExecution", "sqs:SendMessage"},
    "OperatorFunctionRole": STATE
    | {"dynamodb:DescribeTable", "s3:GetObject", "sqs:SendMessage"}
    | {"kinesis:PutRecord", "kinesis:DescribeStreamSummary"}
    | {"states:StartExecution", "states:DescribeExecution"},
    "ReplayerFunctionRole": STATE
    | {"dynamodb:Scan", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"}
    | {"s3:PutObject", "states:DescribeStateMachine", "states:StartExecution", "sqs:SendMessage"},
    "WatchdogFunctionRole": STATE - {"dynamodb:BatchWriteItem"}
    | {"dynamodb:DeleteItem", "states:StartExecution", "states:StopExecution"}
    | {"sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"},
    "SweeperFunctionRole": {
        *("dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:UpdateItem", "dynamodb:PutItem"),
        *("s3:GetObject", "s3:PutObject"),
    },
    "WorkerPolicy": {
        "dynamodb:BatchGetItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "s3:GetObject",
    },
    "ArchiveWritePolicy": {"s3:PutObject"},
    "ArchiveReadPolicy": {"s3:GetObject", "s3:ListBucket"},
    "ArchiveListPolicy": {"s3:ListBucket"},
    "LedgerPolicy": {"dynamodb:PutItem", "dynamodb:UpdateItem"},
    "KeyPolicy": {"kms:Decrypt", "kms:GenerateDataKey"},
    "WorkflowLogPolicy": LOG_DELIVERY,
    "OrderRole": {"lambda:InvokeFunction"},
    "OrderNestedRole": {"states:StartSyncExecution", "lambda:InvokeFunction"},
    "LinesRole": {"lambda:InvokeFunction"},
    "TrackingRole": {"lambda:InvokeFunction"},
    "CanaryRole": {"lambda:InvokeFunction"},
    "ReplayRole": {"lambda:InvokeFunction"},
}
"""Who may do what, and nothing else."""

GRANTS |= {role: {"lambda:InvokeFunction"} for role in resources(source(), "AWS::IAM::Role") if role not in GRANTS}
"""A workflow that somebody adds has a role that calls its workers; what else it may is written above."""

SCHEDULERS = ("WatchdogFunctionEveryMinuteRole", "SweeperFunctionEveryDayRole")
"""SAM makes the roles that let schedules invoke their functions."""

WITHOUT_RESOURCE = LOG_DELIVERY | {"kinesis:ListStreams"}
"""Actions for which IAM knows no narrower resource than all."""


def test_sam_finds_no_fault() -> None:
    """`sam validate --lint` is clean."""
    sam = Path(sys.executable).with_name("sam")
    done = subprocess.run(
        [sam, "validate", "--lint", "--region", "us-east-1"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("key_arn", "architecture"), list(product(("", KEY_ARN), ("x86_64", "arm64"))))
def test_the_transformed_template_lints(key_arn: str, architecture: str) -> None:
    """Nor has what SAM makes of it any fault, with AWS's keys or one of the customer's, for either processor."""
    template = transformed({"KeyArn": key_arn, "Architecture": architecture, "RetainData": "true"})
    template = {**template, "Transform": "AWS::LanguageExtensions"}  # for the conditions in DeletionPolicy
    # W3005, a dependency that a Ref implies already, is SAM's own writing
    found = lint(json.dumps(template), config=ManualArgs(regions=["us-east-1"], ignore_checks=["W3005"]))
    assert [str(match) for match in found] == []


def test_every_grant_is_in_the_table() -> None:
    """A new permission is a decision: it is written here as well as in the template."""
    granted: dict[str, set[str]] = {}
    for holder, statement in statements(transformed()):
        granted.setdefault(holder, set()).update(as_list(statement["Action"]))
    for role in SCHEDULERS:
        del granted[role]
    assert granted == GRANTS


def test_no_statement_covers_more_than_it_must() -> None:
    """No wildcard in an action; all resources only for actions that know no narrower one."""
    for holder, statement in statements(transformed()):
        actions = set(as_list(statement["Action"]))
        assert not any("*" in action for action in actions), holder
        if "*" in as_list(statement["Resource"]):
            assert actions <= WITHOUT_RESOURCE, holder


def test_roles_take_no_managed_policy_of_aws_but_logging() -> None:
    """AWS's policies for streams and queues would open every stream and queue of the account."""
    for name, role in resources(transformed(), "AWS::IAM::Role").items():
        given = [arn for arn in role["Properties"].get("ManagedPolicyArns", []) if isinstance(arn, str)]
        assert all(arn.endswith(f":policy/{BASIC_EXECUTION}") for arn in given), name


def test_nothing_is_open_to_the_public() -> None:
    """No URL, no API, no permission for everybody; buckets are closed and refuse plain connections."""
    template = transformed()
    kinds = {resource["Type"] for resource in template["Resources"].values()}
    assert not kinds & {"AWS::Lambda::Url", "AWS::ApiGateway::RestApi", "AWS::ApiGatewayV2::Api"}
    for permission in resources(template, "AWS::Lambda::Permission").values():
        assert permission["Properties"]["Principal"] == "events.amazonaws.com"
    policies = [policy["Properties"] for policy in resources(template, "AWS::S3::BucketPolicy").values()]
    buckets = resources(template, "AWS::S3::Bucket")
    assert {policy["Bucket"]["Ref"] for policy in policies} == set(buckets)
    assert all(policy["PolicyDocument"]["Statement"][0]["Effect"] == "Deny" for policy in policies)
    for bucket in buckets.values():
        assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}


ENCRYPTION = {
    "AWS::Kinesis::Stream": "StreamEncryption",
    "AWS::DynamoDB::Table": "SSESpecification",
    "AWS::S3::Bucket": "BucketEncryption",
    "AWS::SQS::Queue": "KmsMasterKeyId",
    "AWS::Logs::LogGroup": "KmsKeyId",
    "AWS::Lambda::Function": "KmsKeyArn",
    "AWS::StepFunctions::StateMachine": "EncryptionConfiguration",
}
"""Type -> the property that takes the customer's key."""


@pytest.mark.parametrize("kind", ENCRYPTION)
def test_one_customer_key_encrypts_everything(kind: str) -> None:
    """Whatever holds data takes KeyArn when there is one."""
    found = resources(transformed(), kind)
    assert found
    for name, resource in found.items():
        assert '{"Ref": "KeyArn"}' in json.dumps(resource["Properties"][ENCRYPTION[kind]]), name


def test_every_role_may_use_the_customer_key() -> None:
    """With a customer key, a role that can't use it can't read or write anything."""
    for name, role in resources(transformed(), "AWS::IAM::Role").items():
        if name not in SCHEDULERS:  # the scheduler only invokes
            assert '{"Ref": "KeyPolicy"}' in json.dumps(role["Properties"]["ManagedPolicyArns"]), name


def test_logs_do_not_stay_for_ever() -> None:
    """Every function and Express workflow has a log group of its own, and each has a retention."""
    groups = resources(source(), "AWS::Logs::LogGroup")
    assert all("RetentionInDays" in group["Properties"] for group in groups.values())
    named = {group["Properties"]["LogGroupName"]["Fn::Sub"] for group in groups.values()}
    functions = {name["Properties"]["FunctionName"]["Fn::Sub"] for name in FUNCTIONS.values()}
    workflows = {
        f"/aws/vendedlogs/states/{workflow['Properties']['StateMachineName']['Fn::Sub']}": workflow["Properties"]
        for workflow in resources(source(), "AWS::StepFunctions::StateMachine").values()
    }
    express = {group for group, workflow in workflows.items() if workflow["StateMachineType"] == "EXPRESS"}
    of_functions = {f"/aws/lambda/{function}" for function in functions}
    assert of_functions | express <= named <= of_functions | set(workflows)


@pytest.mark.parametrize("kind", DATA)
def test_data_stays_when_production_is_deleted(kind: str) -> None:
    """RetainData decides, for deletion and for replacement alike."""
    for name, resource in resources(source(), kind).items():
        condition, kept, otherwise = resource["DeletionPolicy"]["Fn::If"]
        assert (condition, otherwise) == ("RetainsData", "Delete"), name
        assert kept in {"Retain", "RetainExceptOnCreate"}, name
        assert resource["UpdateReplacePolicy"] == {"Fn::If": ["RetainsData", "Retain", "Delete"]}, name


def test_a_first_deploy_that_fails_leaves_no_stream_behind() -> None:
    """It is billed by the hour, and the next deploy makes another one. A protected table can't be taken back."""
    kept = {
        name: resource["DeletionPolicy"]["Fn::If"][1]
        for kind in DATA
        for name, resource in resources(source(), kind).items()
    }
    assert {name for name, policy in kept.items() if policy == "Retain"} == {"StateTable", "LedgerTable"}
    assert kept["Stream"] == "RetainExceptOnCreate"


def test_nothing_is_archived_unless_asked_for() -> None:
    """An archive costs a request a batch and its storage: bucket, policies and output come with ArchiveEnabled only."""
    assert source()["Parameters"]["ArchiveEnabled"]["Default"] == "false"
    made = {name: entry for name, entry in source()["Resources"].items() if "Archive" in name}
    assert {entry.get("Condition") for entry in made.values()} == {"Archives"}
    assert source()["Globals"]["Function"]["Environment"]["Variables"]["ARCHIVE_BUCKET"] == {
        "Fn::If": ["Archives", {"Ref": "ArchiveBucket"}, ""]
    }


def test_a_payload_that_no_item_names_any_more_goes_away_by_itself() -> None:
    """The bucket's lifecycle removes what nothing renews, and not before the item that would name it has expired."""
    (rule,) = source()["Resources"]["PayloadBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", {"Ref": "PayloadRetentionDays"})
    assert default("PayloadRetentionDays") > default("EventRetentionDays")


def test_no_concurrency_is_reserved() -> None:
    """A new account's limit of 10 refuses any reservation."""
    assert "ReservedConcurrentExecutions" not in json.dumps(transformed())


def test_the_build_needs_no_runtime_of_lambdas() -> None:
    """Functions are taken as they lie; the layer is built by make, for whatever Python is here."""
    assert all(function["Metadata"] == {"SkipBuild": True} for function in FUNCTIONS.values())
    assert source()["Resources"]["KeyturnLayer"]["Metadata"] == {"BuildMethod": "makefile"}


WORKERS = {
    name: function
    for name, function in FUNCTIONS.items()
    if {"Ref": "WorkerPolicy"} in function["Properties"].get("Policies", [])
}


def test_a_deploy_publishes_no_versions() -> None:
    """`keyturn release publish` does. A deploy that did it would fail wherever Lambda has that version already.

    As behind a deploy that was taken back, or when nothing but tags changed (serverless-application-model, issue 3281).
    """
    assert WORKERS
    kinds = {resource["Type"] for resource in transformed()["Resources"].values()}
    assert not kinds & {"AWS::Lambda::Version", "AWS::Lambda::Alias"}


def test_workflows_may_run_every_version_of_their_workers() -> None:
    """A run of a release names its workers' versions; without the right to them every such run would fail."""
    for name, role in resources(source(), "AWS::IAM::Role").items():
        (policy,) = role["Properties"]["Policies"]
        (statement,) = (
            one for one in policy["PolicyDocument"]["Statement"] if one["Action"] == "lambda:InvokeFunction"
        )
        granted = as_list(statement["Resource"])
        workers = [one["Fn::GetAtt"][0] for one in granted if "Fn::GetAtt" in one and one["Fn::GetAtt"][0] in WORKERS]
        versions = [{"Fn::Sub": f"${{{worker}.Arn}}:*"} for worker in workers]
        assert versions == [one for one in granted if "Fn::Sub" in one], name


def test_a_nested_workflow_may_run_every_version_of_its_express_one_and_nothing_else() -> None:
    """Its release's, or the newest."""
    (policy,) = source()["Resources"]["OrderNestedRole"]["Properties"]["Policies"]
    (granted,) = (
        one["Resource"] for one in policy["PolicyDocument"]["Statement"] if one["Action"] == "states:StartSyncExecution"
    )
    assert granted == [{"Ref": "OrderExpress"}, {"Fn::Sub": "${OrderExpress}:*"}]


def test_functions_find_their_settings() -> None:
    """Every variable that keyturn reads is set, within its bounds, by the defaults."""
    environment = {}
    for name, value in source()["Globals"]["Function"]["Environment"]["Variables"].items():
        parameter = source()["Parameters"].get(value.get("Ref")) if isinstance(value, dict) else None
        environment[name] = str(parameter["Default"]) if parameter else "something"
    assert Settings.from_environment(environment).max_in_flight_runs == default("MaxInFlightRuns")


def test_a_lost_answer_of_the_table_leaves_every_function_time_to_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that ends with it has done its effect and stored nothing: it would come a second time."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made = client.__wrapped__("dynamodb")  # not kept: it has no credentials, and other tests would be given it
    longest_s = made.meta.config.read_timeout
    assert all(longest_s <= function["Properties"]["Timeout"] - 1 for function in FUNCTIONS.values())


def test_a_batch_is_given_up_after_its_dispatcher_ended() -> None:
    """No dispatcher of a given-up batch may still be writing."""
    timeout_s = FUNCTIONS["DispatcherFunction"]["Properties"]["Timeout"]
    assert source()["Parameters"]["RecordAgeMaxSeconds"]["MinValue"] > timeout_s


def test_a_wake_up_stays_hidden_while_the_watchdog_is_at_it() -> None:
    """Lambda asks for six times the function's timeout."""
    visible_after_s = source()["Resources"]["WakeQueue"]["Properties"]["VisibilityTimeout"]
    assert visible_after_s >= 6 * FUNCTIONS["WatchdogFunction"]["Properties"]["Timeout"]


def test_a_throttled_wake_up_is_not_given_up_at_once() -> None:
    """A receipt that Lambda throttles counts: five at least (Lambda Developer Guide, "Using Lambda with Amazon SQS").

    All of them fit the time that a message lives.
    """
    queue = source()["Resources"]["WakeQueue"]["Properties"]
    receipts = queue["RedrivePolicy"]["maxReceiveCount"]
    assert receipts >= 5
    assert receipts * queue["VisibilityTimeout"] < queue["MessageRetentionPeriod"]


def test_fifteen_sweeps_may_fail() -> None:
    """Items are renewed at half of their life, and the shortest life that can be set has fifteen days in its half."""
    assert source()["Parameters"]["EventRetentionDays"]["MinValue"] / 2 >= 15
    schedule = FUNCTIONS["SweeperFunction"]["Properties"]["Events"]["EveryDay"]["Properties"]
    assert schedule["ScheduleExpression"] == "rate(1 day)"


def test_outputs_and_parameters_are_described() -> None:
    """`sam deploy --guided` and the console show these lines."""
    for entry in (*source()["Outputs"].values(), *source()["Parameters"].values()):
        assert entry["Description"].strip()


def test_every_alarm_is_named_by_its_stack_and_says_what_is_wrong() -> None:
    """Alarms of two stacks in one account must not collide."""
    alarms = resources(source(), "AWS::CloudWatch::Alarm").values()
    assert all(alarm["Properties"]["AlarmName"]["Fn::Sub"].startswith("${AWS::StackName}-") for alarm in alarms)
    assert all(alarm["Properties"]["AlarmDescription"] for alarm in alarms)
    assert {alarm["Condition"] for alarm in alarms} == {"HasAlarms", "WatchesIntake"}


def test_an_alarm_of_the_canary_reaches_what_rolls_it_back() -> None:
    """The rule knows alarms by the beginning of their names: a renamed one would roll nothing back any more."""
    rules = [rule["Properties"]["EventPattern"] for rule in resources(transformed(), "AWS::Events::Rule").values()]
    (pattern,) = [one for one in rules if one["source"] == ["aws.cloudwatch"]]
    prefix = pattern["resources"][0]["prefix"]["Fn::Sub"].rpartition(":alarm:")[2]
    alarms = resources(source(), "AWS::CloudWatch::Alarm")
    found = [name for name, one in alarms.items() if one["Properties"]["AlarmName"]["Fn::Sub"].startswith(prefix)]
    assert found == ["CanaryFailedAlarm"]
    assert pattern["detail"] == {"state": {"value": ["ALARM"]}}


def test_an_alarm_of_the_canary_comes_again_when_the_watchdog_failed() -> None:
    """It is told once: dropped while Lambda throttles, it would roll nothing back. As long as its rule sends it."""
    watchdog = FUNCTIONS["WatchdogFunction"]["Properties"]
    kept, sent = watchdog["EventInvokeConfig"], watchdog["Events"]["CanaryAlarm"]["Properties"]["RetryPolicy"]
    for name in ("MaximumEventAgeInSeconds", "MaximumRetryAttempts"):
        assert kept[name] >= sent[name] > 0, name


def test_alarms_watch_metrics_that_are_sent() -> None:
    """A metric that was renamed in the code would leave its alarm silent for ever."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "keyturn").rglob("*.py"))
    for name, alarm in resources(source(), "AWS::CloudWatch::Alarm").items():
        if alarm["Properties"].get("Namespace") == "Keyturn":
            assert f'"{alarm["Properties"]["MetricName"]}"' in code, name


def test_a_watchdog_that_is_only_woken_counts_as_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wake-ups go on when its schedule is switched off, and mend no overdue run: what a pass alone sends is watched."""
    silent = resources(source(), "AWS::CloudWatch::Alarm")["WatchdogSilentAlarm"]["Properties"]
    assert (silent["Statistic"], silent["TreatMissingData"]) == ("SampleCount", "breaching")
    world, sent = World(), list[str]()
    monkeypatch.setattr(telemetry, "count", lambda name, value=1: sent.append(name))  # noqa: ARG005
    world.fill()
    assert silent["MetricName"] not in sent
    world.watch()
    assert silent["MetricName"] in sent


def test_an_intake_that_stands_still_rings() -> None:
    """A mapping that somebody switched off, or that lost its key, invokes nothing: no metric of invocations tells."""
    alarm = resources(source(), "AWS::CloudWatch::Alarm")["DispatcherSilentAlarm"]["Properties"]
    watched = {one["Id"]: one["MetricStat"]["Metric"] for one in alarm["Metrics"] if "MetricStat" in one}
    assert {name: (one["Namespace"], one["MetricName"]) for name, one in watched.items()} == {
        "incoming": ("AWS/Kinesis", "IncomingRecords"),
        "invocations": ("AWS/Lambda", "Invocations"),
    }
    assert re.findall(r"FILL\((\w+), 0\)", alarm["Metrics"][0]["Expression"]) == list(watched)


ENVIRONMENTS: dict[str, Any] = {
    name: content
    for name, content in tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8")).items()
    if isinstance(content, dict)
}


def overrides(environment: str) -> dict[str, str]:
    """The parameters of one environment of samconfig.toml."""
    given = ENVIRONMENTS[environment]["deploy"]["parameters"].get("parameter_overrides", [])
    pairs = given.split() if isinstance(given, str) else given
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_sets_what_the_template_allows(environment: str) -> None:
    """Names exist; values keep to lists and bounds; what depends on each other fits."""
    values = {name: str(entry["Default"]) for name, entry in source()["Parameters"].items()}
    for name, value in overrides(environment).items():
        entry = source()["Parameters"][name]
        assert value in map(str, entry.get("AllowedValues", [value])), name
        if entry["Type"] == "Number":
            assert entry.get("MinValue", 0) <= int(value) <= entry.get("MaxValue", int(value)), name
        values[name] = value
    assert int(values["RecordAgeMaxSeconds"]) < 3600 * int(values["StreamRetentionHours"])
    assert int(values["PayloadRetentionDays"]) > int(values["EventRetentionDays"])
    assert values["AggregatedRecords"] == "reject" or values["ParallelizationFactor"] == "1"


def test_production_protects_what_it_holds() -> None:
    """On-demand capacity, deletion protection, point-in-time recovery, retained data and alarms."""
    assert (
        overrides("production").items()
        >= {
            "StreamMode": "ON_DEMAND",
            "DeletionProtection": "true",
            "PointInTimeRecovery": "true",
            "RetainData": "true",
            "AlarmsEnabled": "true",
        }.items()
    )


def test_local_keeps_its_build_apart() -> None:
    """Its artefacts lie where the engine's other files lie, and never end in an upload to AWS."""
    local = ENVIRONMENTS["local"]
    assert local["build"]["parameters"]["build_dir"] == ".keyturn/build"
    assert local["build"]["parameters"]["cache_dir"] == ".keyturn/cache"
    assert local["deploy"]["parameters"]["template_file"] == ".keyturn/build/template.yaml"
    assert local["deploy"]["parameters"]["confirm_changeset"] is False
