"""Rules on a state machine as the template has it: its name, and what its definition's placeholders stand for."""

import re
from collections.abc import Iterator
from typing import Final

from tools.lint_statemachines.definition import Scope
from tools.lint_statemachines.problem import Problem
from tools.lint_statemachines.stack import Machine, Stack

MACHINE_NAME_CHARACTERS_MAX: Final = 80
"""Source: CreateStateMachine API reference, `name`."""

STACK_NAME_CHARACTERS: Final = 40
"""Room that a workflow's name leaves for the stack's."""


def machine_names_fit(machine: Machine) -> Iterator[Problem]:
    """Functions find a workflow by STACK-WORKFLOW-KIND."""
    where = f"template.yaml, {machine.logical_id}"
    if not machine.name.endswith(f"-{machine.kind}"):
        yield Problem(
            where,
            f"is named {machine.name} and is of type {machine.kind}",
            f'Let StateMachineName be "${{AWS::StackName}}-WORKFLOW-{machine.kind}"',
        )
    characters = STACK_NAME_CHARACTERS + 1 + len(machine.name)
    if characters > MACHINE_NAME_CHARACTERS_MAX:
        yield Problem(
            where,
            f"has a name of {characters} characters in a stack whose name has {STACK_NAME_CHARACTERS}",
            f"Shorten the workflow's name by {characters - MACHINE_NAME_CHARACTERS_MAX}",
        )


def placeholders_are_known(machine: Machine, definition: Scope) -> Iterator[Problem]:
    """An unknown ${Name} would stand in the deployed definition as it is."""
    used = set(re.findall(r"\$\{(\w+)\}", str(definition)))
    for name in sorted(used - set(machine.substitutions)):
        yield Problem(
            f"{machine.file}, ${{{name}}}",
            f"{machine.logical_id} does not say what it stands for",
            "Add it to DefinitionSubstitutions in template.yaml",
        )
    for name in sorted(set(machine.substitutions) - used):
        yield Problem(
            f"template.yaml, {machine.logical_id}",
            f"substitutes {name}, which {machine.file} does not use",
            "Take it out of DefinitionSubstitutions",
        )


def functions_are_there(stack: Stack, machine: Machine) -> Iterator[Problem]:
    """A deploy would fail."""
    for placeholder, function in machine.substitutions.items():
        if placeholder.endswith("FunctionArn") and function is not None and function not in stack.function_timeouts_s:
            yield Problem(
                f"template.yaml, {machine.logical_id}",
                f"{placeholder} is of {function}, and there is no such AWS::Serverless::Function",
                "Add it to the Resources, or mend its name in DefinitionSubstitutions",
            )
