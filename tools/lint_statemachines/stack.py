"""What the template says of functions and state machines, and the routes of workflows, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from samcli.yamlhelper import yaml_parse

from keyturn.core.canary import CANARY
from tools.lint_statemachines.grants import Grant, grants_in
from tools.lint_statemachines.problem import UnreadableError

STACK_PREFIX: Final = "${AWS::StackName}-"

NESTED: Final = "nested"
"""The kind of a machine that has its workflow's Express machine do the run."""

REPLAY: Final = "replay-standard"
"""Loops until a replay is through, so it has neither a run's shape nor a longest path; tests hold it to its own."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A state machine of the template."""

    logical_id: str
    name: str
    """Without the stack's name: `order-standard`."""
    kind: str
    """`standard` or `express`, from its type; `nested` for a Standard one that is named so."""
    file: str
    substitutions: Mapping[str, str | None]
    """Placeholder -> logical id of the function or machine it stands for; None if it stands for something else."""
    role: str | None = None
    """Logical id; None if it is no role of this template."""

    @property
    def workflow(self) -> str:
        return self.name.rpartition("-")[0]


@dataclass(frozen=True, slots=True)
class Stack:
    """The part of the template that nesting depends on."""

    function_timeouts_s: Mapping[str, int]
    machines: tuple[Machine, ...]
    grants: Mapping[str, frozenset[Grant]] = field(default_factory=dict)
    """Role -> what it may do. Not there: a role of which that isn't known."""
    code_folders: Mapping[str, str] = field(default_factory=dict)
    """Function -> its CodeUri, where that is a folder of the project."""

    @property
    def workflows(self) -> tuple[Machine, ...]:
        """The machines that runs are worked on by: not the one that drives the replayer, nor those around others."""
        return tuple(machine for machine in self.machines if machine.name != REPLAY and machine.kind != NESTED)

    @property
    def nested(self) -> tuple[Machine, ...]:
        """Those that have another machine do a run."""
        return tuple(machine for machine in self.machines if machine.kind == NESTED)

    def named(self, name: str) -> Machine | None:
        """Return the machine of a name, if there is one."""
        return next((machine for machine in self.machines if machine.name == name), None)

    def working_for(self, workflow: str, kind: str) -> Machine | None:
        """Return the machine that has the workers of a workflow and kind."""
        return self.named(f"{workflow}-{'express' if kind == NESTED else kind}")


@dataclass(frozen=True, slots=True)
class Route:
    """The part of a route that its workflow has to fit."""

    name: str
    workflow: str
    kind: str
    run_timeout_s: int
    worker_timeout_s: int


BUILT_IN: Final = Route(
    name=CANARY.name,
    workflow=CANARY.workflow,
    kind=CANARY.kind.value,
    run_timeout_s=CANARY.run_timeout_s,
    worker_timeout_s=CANARY.worker_timeout_s,
)
"""Every deployment has it besides the routes of its file."""


def stack_from_template(text: str) -> Stack:
    """Read functions and state machines from a SAM template. Raises UnreadableError."""
    try:
        template = yaml_parse(text)
    except yaml.YAMLError as error:
        raise UnreadableError("template.yaml", f"is no YAML: {' '.join(str(error).split())}", "Correct it") from error
    default_s = template.get("Globals", {}).get("Function", {}).get("Timeout", 3)
    resources: Mapping[str, Any] = template["Resources"]
    return Stack(
        function_timeouts_s={
            logical_id: _timeout_s(logical_id, resource["Properties"].get("Timeout", default_s))
            for logical_id, resource in resources.items()
            if resource["Type"] == "AWS::Serverless::Function"
        },
        machines=tuple(
            _machine(logical_id, resource["Properties"])
            for logical_id, resource in resources.items()
            if resource["Type"] == "AWS::StepFunctions::StateMachine"
        ),
        grants=grants_in(resources),
        code_folders={
            logical_id: resource["Properties"]["CodeUri"]
            for logical_id, resource in resources.items()
            if resource["Type"] == "AWS::Serverless::Function"
            and isinstance(resource["Properties"].get("CodeUri"), str)
        },
    )


def routes_from(document: Mapping[str, Any]) -> tuple[Route, ...]:
    """Read the routes file, which its own schema has checked."""
    return tuple(
        Route(
            name=route["name"],
            workflow=route["workflow"],
            kind=route["kind"],
            run_timeout_s=route["run_timeout_s"],
            worker_timeout_s=route["worker_timeout_s"],
        )
        for route in document["routes"]
    )


def _timeout_s(logical_id: str, timeout: Any) -> int:
    if not isinstance(timeout, int):
        raise UnreadableError(
            f"template.yaml, {logical_id}",
            "Timeout is no number, so that nothing can be held to it",
            "Write the number",
        )
    return timeout


def _machine(logical_id: str, properties: Mapping[str, Any]) -> Machine:
    match properties:
        case {
            "StateMachineName": {"Fn::Sub": str(full_name)},
            "StateMachineType": str(kind),
            "DefinitionS3Location": str(file),
        } if full_name.startswith(STACK_PREFIX):
            name = full_name.removeprefix(STACK_PREFIX)
        case _:
            raise UnreadableError(
                f"template.yaml, {logical_id}",
                f"wants StateMachineName (!Sub {STACK_PREFIX}WORKFLOW-KIND), StateMachineType and DefinitionS3Location",
                "Write them as OrderStandard does",
            )
    return Machine(
        logical_id=logical_id,
        name=name,
        kind=NESTED if kind == "STANDARD" and name.endswith(f"-{NESTED}") else kind.lower(),
        file=file,
        substitutions={
            placeholder: _named(value) for placeholder, value in properties.get("DefinitionSubstitutions", {}).items()
        },
        role=_named(properties.get("RoleArn")),
    )


def _named(value: Any) -> str | None:
    """The resource of the template that a value stands for."""
    match value:
        case {"Fn::GetAtt": [str(logical_id), "Arn"]} | {"Ref": str(logical_id)} if "::" not in logical_id:
            return logical_id
        case _:
            return None
