"""What the checks look at: one deployed stack, each part of it read once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from keyturn.adapters.process import now_ms
from keyturn.adapters.table import Table
from keyturn.core.state import Clock
from keyturn.settings import Settings
from keyturn_cli.errors import NotFound
from keyturn_cli.operator import operate
from keyturn_cli.target import Target

FUNCTION: Final = "AWS::Lambda::Function"
STATE_MACHINE: Final = "AWS::StepFunctions::StateMachine"
ALARM: Final = "AWS::CloudWatch::Alarm"
SCHEDULE: Final = "AWS::Scheduler::Schedule"
RULE: Final = "AWS::Events::Rule"
ROLE: Final = "AWS::IAM::Role"
POLICY: Final = "AWS::IAM::ManagedPolicy"
BUCKET: Final = "AWS::S3::Bucket"
QUEUE: Final = "AWS::SQS::Queue"
TABLE: Final = "AWS::DynamoDB::Table"
LOG_GROUP: Final = "AWS::Logs::LogGroup"


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller wants checked."""

    is_with_canary: bool = True
    limit_s: float = 120
    """How long the canary may take."""
    is_thorough: bool = False
    """Look at every index entry and every key state, which scans the state table."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of the deployed stack."""

    logical_id: str
    kind: str
    id: str
    """Its physical id: a name, an ARN or an address."""


@dataclass(frozen=True)
class Examination:
    """A stack under examination; nothing in here changes it."""

    target: Target
    options: Options
    clock: Clock = now_ms
    sleep: Callable[[float], None] = time.sleep

    def client(self, service: str) -> Any:
        """A client of an AWS service."""
        return self.target.client(service)

    @cached_property
    def resources(self) -> Mapping[str, Resource]:
        """The stack's resources, by logical id."""
        found = (_resource(entry) for entry in self._listed())
        return {resource.logical_id: resource for resource in found}

    def of_kind(self, kind: str) -> list[Resource]:
        """The resources of one type."""
        return [resource for resource in self.resources.values() if resource.kind == kind]

    def resource(self, logical_id: str) -> Resource:
        """One resource of the stack. Raises NotFound."""
        if logical_id not in self.resources:
            raise NotFound(f"the stack has no {logical_id}: it was deployed by another version than this command's")
        return self.resources[logical_id]

    @cached_property
    def functions(self) -> Mapping[str, Mapping[str, Any]]:
        """The functions' configurations, by logical id."""
        aws = self.client("lambda")
        return {
            function.logical_id: aws.get_function_configuration(FunctionName=function.id)
            for function in self.of_kind(FUNCTION)
        }

    @cached_property
    def template(self) -> Mapping[str, Any]:
        """The resources of the template that was deployed, after SAM's transform. Raises NotFound."""
        answer = self.client("cloudformation").get_template(StackName=self.target.stack_name, TemplateStage="Processed")
        body = answer["TemplateBody"]
        if not isinstance(body, Mapping):  # botocore hands on as text what isn't JSON
            raise NotFound("CloudFormation tells no template as SAM has transformed it")
        resources: Mapping[str, Any] = body["Resources"]
        return resources

    @cached_property
    def settings(self) -> Settings:
        """The settings that the dispatcher runs with. Raises SettingsError."""
        return Settings.from_environment(self.target.environment)

    @cached_property
    def deployed(self) -> Mapping[str, Any]:
        """What the operator function tells of its deployment. Raises Refused."""
        return operate(self.target, "describe", "keyturn doctor")

    @cached_property
    def table(self) -> Table:
        """The state table."""
        return Table(self.client("dynamodb"), self.target.outputs.state_table_name)

    def short(self, name: str) -> str:
        """A name without its stack's."""
        return name.removeprefix(f"{self.target.stack_name}-")

    def _listed(self) -> Iterator[Mapping[str, Any]]:
        aws = self.client("cloudformation")
        page = aws.list_stack_resources(StackName=self.target.stack_name)
        while True:
            yield from page["StackResourceSummaries"]
            if not page.get("NextToken"):
                return
            page = aws.list_stack_resources(StackName=self.target.stack_name, NextToken=page["NextToken"])


def _resource(entry: Mapping[str, Any]) -> Resource:
    return Resource(entry["LogicalResourceId"], entry["ResourceType"], entry.get("PhysicalResourceId", ""))
