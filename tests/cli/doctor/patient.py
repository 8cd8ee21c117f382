"""A small stack in good health, as AWS would describe it; a test breaks one thing of it.

The state table is moto's. Everything else is an answer to one call: a value, or a function of the call's arguments.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from keyturn_cli.doctor.examination import Examination, Options
from keyturn_cli.doctor.finding import Finding
from keyturn_cli.target import Target
from keyturn_local.stack import StackOutputs

from keyturn.adapters.keys import KeyStore
from keyturn.adapters.passes import Passes
from keyturn.adapters.schemas import load_routes
from keyturn.adapters.table import Table
from keyturn.settings import SHARED_VARIABLES
from keyturn.shell.describe import described

NOW_MS = 1_800_000_000_000
MAPPINGS = {"records": "dispatcher", "wake-ups": "watchdog"}
FUNCTIONS = ("dispatcher", "sequencer", "watchdog", "operator", "canary")
WORKFLOWS = ("order-standard", "order-express", "order-nested", "lines-express", "tracking-express", "canary-express")
KINDS = {
    "DispatcherFunctionRecords": ("AWS::Lambda::EventSourceMapping", "records"),
    "WatchdogFunctionWakeUps": ("AWS::Lambda::EventSourceMapping", "wake-ups"),
    "ParkedAlarm": ("AWS::CloudWatch::Alarm", "stack-parked"),
    "WatchdogSilentAlarm": ("AWS::CloudWatch::Alarm", "stack-watchdog-silent"),
    "WatchdogFunctionEveryMinute": ("AWS::Scheduler::Schedule", "stack-watchdog"),
    "WatchdogFunctionRunEnded": ("AWS::Events::Rule", "stack-run-ended"),
    "WatchdogFunctionCanaryAlarm": ("AWS::Events::Rule", "stack-canary-alarm"),
    "DispatcherFunctionRole": ("AWS::IAM::Role", "stack-dispatcher-role"),
    "WorkerPolicy": ("AWS::IAM::ManagedPolicy", "arn:aws:iam::1:policy/stack-worker"),
    "PayloadBucket": ("AWS::S3::Bucket", "payloads"),
    "WakeQueue": ("AWS::SQS::Queue", "https://wake"),
    "WakeDeadLetterQueue": ("AWS::SQS::Queue", "https://dead"),
    "DispatcherLog": ("AWS::Logs::LogGroup", "/aws/lambda/stack-dispatcher"),
}
POLICY = {"Statement": [{"Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:Query"], "Resource": "*"}]}
DEFINITION = {"States": {"Work": {"Type": "Parallel", "Branches": [{"States": {"A": {"Type": "Task"}}}] * 3}}}


@dataclass
class Patient:
    """The stack. Break it by changing what it answers, then examine it."""

    table: Table
    now_ms: int = NOW_MS
    waited_s: float = 0
    functions: dict[str, dict[str, Any]] = field(default_factory=dict)
    mappings: dict[str, dict[str, Any]] = field(default_factory=dict)
    alarms: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    puts: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make it well."""
        environment = dict.fromkeys(SHARED_VARIABLES, "something") | {
            "CLOCK_MARGIN_S": "2",
            "INDEX_BUCKETS": "2",
            "INDEX_ROUNDING_S": "60",
            "EVENT_RETENTION_DAYS": "400",
            "TABLE_INCARNATION": "1",
            "MAX_IN_FLIGHT_RUNS": "3",
            "SLOT_QUANTUM_RUNS": "20",
            "SLOT_QUANTUM_S": "5",
            "STREAM_EPOCH": "1",
            "DUPLICATE_WINDOW_HOURS": "168",
            "AGGREGATED_RECORDS": "reject",
        }
        self.functions = {
            f"stack-{name}": {
                "FunctionName": f"stack-{name}",
                "State": "Active",
                "LastUpdateStatus": "Successful",
                "Timeout": 60,
                "Role": f"arn:aws:iam::1:role/stack-{name}",
                "LastModified": "2027-01-01T08:00:00.000+0000",
                "Layers": [{"Arn": "arn:aws:lambda:us-east-1:1:layer:stack-library:7"}],
                "Environment": {"Variables": environment | {"POWERTOOLS_SERVICE_NAME": name}},
            }
            for name in FUNCTIONS
        }
        self.mappings = {
            name: {
                "UUID": name,
                "State": "Enabled",
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "MaximumRetryAttempts": -1,
                "MaximumRecordAgeInSeconds": 72_000,
                "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::failures"}},
            }
            for name in MAPPINGS
        }
        self.alarms = {
            name: {"AlarmName": name, "ActionsEnabled": True, "AlarmActions": ["topic"], "StateValue": "OK"}
            for name in ("stack-parked", "stack-watchdog-silent")
        }
        self.answers = {
            ("cloudformation", "list_stack_resources"): {"StackResourceSummaries": list(_resources())},
            ("cloudformation", "get_template"): {
                "TemplateBody": {
                    "Resources": {
                        "DispatcherFunctionRole": {
                            "Properties": {
                                "Policies": [{"PolicyDocument": POLICY}],
                                "ManagedPolicyArns": [
                                    "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole",
                                    {"Fn::If": ["HasKey", {"Ref": "KeyPolicy"}, {"Ref": "AWS::NoValue"}]},
                                    {"Ref": "WorkerPolicy"},
                                ],
                            }
                        },
                        "WorkerPolicy": {"Properties": {"PolicyDocument": POLICY}},
                    }
                }
            },
            ("lambda", "get_function_configuration"): lambda FunctionName: self.functions[FunctionName],  # noqa: N803
            ("lambda", "get_event_source_mapping"): lambda UUID: self.mappings[UUID],  # noqa: N803
            ("lambda", "get_account_settings"): {"AccountLimit": {"UnreservedConcurrentExecutions": 1_000}},
            ("sts", "get_caller_identity"): {"Arn": "arn:aws:iam::1:user/sam"},
            ("cloudwatch", "describe_alarms"): lambda AlarmNames, **_: {  # noqa: N803
                "MetricAlarms": [self.alarms[name] for name in AlarmNames if name in self.alarms]
            },
            ("cloudwatch", "get_metric_statistics"): {"Datapoints": []},
            ("scheduler", "get_schedule"): {"State": "ENABLED", "ScheduleExpression": "rate(1 minute)"},
            ("events", "describe_rule"): {"State": "ENABLED"},
            ("events", "list_targets_by_rule"): {"Targets": [{"Id": "1"}]},
            ("stepfunctions", "describe_state_machine"): {"definition": json.dumps(DEFINITION)},
            ("kinesis", "describe_stream_summary"): {
                "StreamDescriptionSummary": {"RetentionPeriodHours": 24, "EncryptionType": "KMS"}
            },
            ("kinesis", "put_record"): self._put,
            ("s3", "get_bucket_lifecycle_configuration"): {"Rules": [{"Expiration": {"Days": 410}}]},
            ("dynamodb", "describe_time_to_live"): {
                "TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}
            },
            ("dynamodb", "describe_continuous_backups"): {
                "ContinuousBackupsDescription": {
                    "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED"}
                }
            },
            ("sqs", "get_queue_attributes"): {
                "Attributes": {"ApproximateNumberOfMessages": "0", "SqsManagedSseEnabled": "true"}
            },
            ("s3", "get_bucket_encryption"): {"ServerSideEncryptionConfiguration": {"Rules": [{}]}},
            ("logs", "describe_log_groups"): lambda logGroupNamePrefix, **_: {  # noqa: N803
                "logGroups": [{"logGroupName": logGroupNamePrefix, "retentionInDays": 30}]
            },
            ("iam", "list_role_policies"): {"PolicyNames": ["own"]},
            ("iam", "get_role_policy"): {"PolicyDocument": POLICY},
            ("iam", "list_attached_role_policies"): {
                "AttachedPolicies": [
                    {"PolicyArn": "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"},
                    {"PolicyArn": "arn:aws:iam::1:policy/stack-worker"},
                ]
            },
            ("iam", "get_policy"): {"Policy": {"DefaultVersionId": "v1"}},
            ("iam", "get_policy_version"): {"PolicyVersion": {"Document": POLICY}},
            ("iam", "simulate_principal_policy"): lambda ActionNames, **_: {  # noqa: N803
                "EvaluationResults": [
                    {"EvalActionName": action, "EvalDecision": "allowed" if _is_ordinary(action) else "implicitDeny"}
                    for action in ActionNames
                ]
            },
        }
        self.deploys(described(load_routes()))
        Passes(self.table).record("watchdog", NOW_MS - 30_000, NOW_MS - 29_000, {})

    @property
    def keys(self) -> KeyStore:
        """Writes key states as the stack does."""
        return KeyStore(self.table, index_buckets=2, index_rounding_ms=60_000)

    def target(self, *, is_local: bool = False) -> Target:
        """The stack, as a command reaches it."""
        names = StackOutputs.__dataclass_fields__
        outputs = StackOutputs(
            **{name: f"stack-{name.removesuffix('_function_name')}" for name in names}
            | {"state_table_name": self.table.name}
        )
        session: Any = _Session(self)
        return Target(session, {"config": Config()}, outputs, "stack", "AWS us-east-1", is_local)

    def examination(self, *, is_local: bool = False, **options: Any) -> Examination:
        """An examination whose clock moves only when it waits."""
        return Examination(self.target(is_local=is_local), Options(**options), lambda: self.now_ms, self._sleep)

    def findings(
        self, check: Callable[[Examination], Iterator[Finding]], *, is_local: bool = False, **options: Any
    ) -> dict[str, Finding]:
        """What a check says, by name."""
        return {finding.name: finding for finding in check(self.examination(is_local=is_local, **options))}

    def deploys(self, told: dict[str, Any]) -> None:
        """Let the operator function tell other routes than this checkout has."""
        self.answers["lambda", "invoke"] = lambda **_: {"Payload": io.BytesIO(json.dumps(told).encode())}

    def refuses(self, service: str, call: str, code: str) -> None:
        """Let AWS refuse a call."""

        def refuse(**_: Any) -> Any:
            raise ClientError({"Error": {"Code": code, "Message": "because"}}, call)

        self.answers[service, call] = refuse

    def _sleep(self, duration_s: float) -> None:
        self.now_ms += int(duration_s * 1000)
        self.waited_s += duration_s

    def _put(self, **record: Any) -> dict[str, str]:
        self.puts.append(record)
        return {"SequenceNumber": str(len(self.puts)), "ShardId": "shardId-000000000000"}


@dataclass
class _Session:
    patient: Patient

    def client(self, service: str, **_: Any) -> _Client:
        return _Client(self.patient, service)


@dataclass
class _Client:
    patient: Patient
    service: str

    def __getattr__(self, call: str) -> Callable[..., Any]:
        answer = self.patient.answers.get((self.service, call))
        if answer is None and self.service == "dynamodb":
            real: Callable[..., Any] = getattr(self.patient.table.client, call)
            return real
        assert answer is not None, f"the patient doesn't know {self.service}.{call}"
        return answer if callable(answer) else lambda **_: answer


def _resources() -> Iterator[dict[str, str]]:
    for name in FUNCTIONS:
        yield _resource(f"{name.capitalize()}Function", "AWS::Lambda::Function", f"stack-{name}")
    for name in WORKFLOWS:
        arn = f"arn:aws:states:us-east-1:1:stateMachine:stack-{name}"
        yield _resource(name, "AWS::StepFunctions::StateMachine", arn)
    for name, (kind, identifier) in KINDS.items():
        yield _resource(name, kind, identifier)


def _resource(logical_id: str, kind: str, identifier: str) -> dict[str, str]:
    return {"LogicalResourceId": logical_id, "ResourceType": kind, "PhysicalResourceId": identifier}


def _is_ordinary(action: str) -> bool:
    return not any(word in action for word in ("Delete", "UpdateTable", "Backup"))
