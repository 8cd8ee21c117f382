"""What the template says of functions and state machines, and the routes of workflows, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from samcli.yamlhelper import yaml_parse

from keyturn.core.canary import CANARY

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

    @property
    def workflow(self) -> str:
        return self.name.rpartition("-")[0]


@dataclass(frozen=True, slots=True)
class Stack:
    """The part of the template that nesting depends on."""

    function_timeouts_s: Mapping[str, int]
    machines: tuple[Machine, ...]

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
    """Read functions and state machines from a SAM template."""
    template = yaml_parse(text)
    default_s = template.get("Globals", {}).get("Function", {}).get("Timeout", 3)
    resources: Mapping[str, Any] = template["Resources"]
    return Stack(
        function_timeouts_s={
            logical_id: resource["Properties"].get("Timeout", default_s)
            for logical_id, resource in resources.items()
            if resource["Type"] == "AWS::Serverless::Function"
        },
        machines=tuple(
            _machine(logical_id, resource["Properties"])
            for logical_id, resource in resources.items()
            if resource["Type"] == "AWS::StepFunctions::StateMachine"
        ),
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


def _machine(logical_id: str, properties: Mapping[str, Any]) -> Machine:
    name, kind = properties["StateMachineName"]["Fn::Sub"].removeprefix(STACK_PREFIX), properties["StateMachineType"]
    return Machine(
        logical_id=logical_id,
        name=name,
        kind=NESTED if kind == "STANDARD" and name.endswith(f"-{NESTED}") else kind.lower(),
        file=properties["DefinitionS3Location"],
        substitutions={
            placeholder: _function_id(value)
            for placeholder, value in properties.get("DefinitionSubstitutions", {}).items()
        },
    )


def _function_id(value: Mapping[str, Any]) -> str | None:
    match value:
        case {"Fn::GetAtt": [str(logical_id), "Arn"]} | {"Ref": str(logical_id)} if "::" not in logical_id:
            return logical_id
        case _:
            return None
