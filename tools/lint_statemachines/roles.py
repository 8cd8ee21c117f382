"""Rules on a state machine's role. The local engine asks for no rights, so one that is missing shows on AWS only."""

from collections.abc import Iterator

from tools.lint_statemachines.definition import SEQUENCER, Scope, function_of, places, takes_release
from tools.lint_statemachines.grants import INVOKE, RUN_EXPRESS
from tools.lint_statemachines.problem import Problem
from tools.lint_statemachines.stack import Machine, Stack


def role_may_call_its_functions(stack: Stack, machine: Machine, definition: Scope) -> Iterator[Problem]:
    """Each worker as it is and in the versions of releases; the sequencer as it is."""
    for place in places(definition):
        function = machine.substitutions.get(function_of(place.state) or "")
        if function is not None:
            wanted = {function: f"!GetAtt {function}.Arn"}
            if takes_release(place.state):
                wanted[f"{function}:*"] = f"!Sub ${{{function}.Arn}}:*"
            yield from _role_may(stack, machine, INVOKE, wanted)


def role_may_do_what_nested_ones_do(stack: Stack, machine: Machine, express: str) -> Iterator[Problem]:
    """Run the Express machine, as it is and in the versions of releases, and call the sequencer."""
    wanted = {express: f"!Ref {express}", f"{express}:*": f"!Sub ${{{express}}}:*"}
    yield from _role_may(stack, machine, RUN_EXPRESS, wanted)
    sequencer = machine.substitutions.get(SEQUENCER)
    if sequencer is not None:
        yield from _role_may(stack, machine, INVOKE, {sequencer: f"!GetAtt {sequencer}.Arn"})


def _role_may(stack: Stack, machine: Machine, action: str, wanted: dict[str, str]) -> Iterator[Problem]:
    """A role of which it isn't known what it may do is believed."""
    granted = stack.grants.get(machine.role or "")
    if granted is None:
        return
    missing = [text for resource, text in wanted.items() if (action, resource) not in granted]
    if missing:
        yield Problem(
            f"template.yaml, {machine.role}",
            f"{machine.logical_id} may not {action} {', '.join(missing)}",
            "Add that to the role's policy, as OrderRole and OrderNestedRole have it",
        )
