"""Rules between definitions, template and routes: timeouts nest, names fit.

worker's Lambda < its task < execution (with its longest path) < run_timeout_s of every route that uses it
"""

from collections.abc import Iterator, Mapping

from keyturn.core.draining import RESERVE_MS
from keyturn.limits import EXPRESS_EXECUTION_S_MAX
from tools.lint_statemachines.definition import SEQUENCER, Scope, drains, function_of, places
from tools.lint_statemachines.durations import EndlessPathError, longest_path_s
from tools.lint_statemachines.machines import functions_are_there, machine_names_fit, placeholders_are_known
from tools.lint_statemachines.nested import check_nested
from tools.lint_statemachines.problem import Problem
from tools.lint_statemachines.roles import role_may_call_its_functions
from tools.lint_statemachines.stack import NESTED, Machine, Route, Stack

Definitions = Mapping[str, Scope]
"""File of a definition -> definition."""


def check_nesting(stack: Stack, definitions: Definitions, routes: tuple[Route, ...]) -> list[Problem]:
    """All problems between the three."""
    return [
        *(problem for machine in stack.workflows for problem in _check_machine(stack, machine, definitions)),
        *(problem for machine in stack.nested for problem in check_nested(stack, machine, definitions)),
        *(problem for route in routes for problem in _check_route(stack, definitions, route)),
    ]


def _check_machine(stack: Stack, machine: Machine, definitions: Definitions) -> Iterator[Problem]:
    definition = definitions[machine.file]
    yield from machine_names_fit(machine)
    yield from placeholders_are_known(machine, definition)
    yield from functions_are_there(stack, machine)
    yield from role_may_call_its_functions(stack, machine, definition)
    yield from tasks_outlast_their_functions(stack, machine, definition)
    yield from the_execution_outlasts_its_longest_path(machine, definition)
    yield from only_express_drains(machine, definition)


def tasks_outlast_their_functions(stack: Stack, machine: Machine, definition: Scope) -> Iterator[Problem]:
    """A task that times out first leaves a Lambda at work behind it."""
    for place in places(definition):
        function = _function_id(machine, place.state)
        task_s = place.state.get("TimeoutSeconds", 0)
        function_s = stack.function_timeouts_s.get(function or "", 0)
        if function is not None and task_s <= function_s:
            yield Problem(
                f"{machine.file}, {place}",
                f"TimeoutSeconds is {task_s}, its function {function} may take {function_s} s",
                f"Raise it above {function_s}, or lower the function's Timeout in template.yaml",
            )


def the_execution_outlasts_its_longest_path(machine: Machine, definition: Scope) -> Iterator[Problem]:
    """No Catch runs when an execution times out, so it must never be what ends a run."""
    execution_s = definition.get("TimeoutSeconds", 0)
    try:
        longest_s = longest_path_s(definition)
    except EndlessPathError as error:
        yield Problem(f'{machine.file}, state "{error}"', "leads back to itself", "Give the path an end")
        return
    if execution_s <= longest_s:
        yield Problem(
            machine.file,
            f"TimeoutSeconds is {execution_s}, its longest path is {longest_s:g} s",
            f"Raise TimeoutSeconds above {longest_s:g}, or lower its tasks' timeouts and retries",
        )
    if machine.kind == "express" and execution_s > EXPRESS_EXECUTION_S_MAX:
        yield Problem(
            machine.file,
            f"TimeoutSeconds is {execution_s}, and {machine.logical_id} is Express, which ends after "
            f"{EXPRESS_EXECUTION_S_MAX} s",
            f"Lower it to {EXPRESS_EXECUTION_S_MAX} at most, or use a standard workflow",
        )


def only_express_drains(machine: Machine, definition: Scope) -> Iterator[Problem]:
    """A Standard workflow would pay a transition for the choice whether to go on, and save none."""
    if machine.kind == "standard" and drains(definition):
        yield Problem(
            f"template.yaml, {machine.logical_id}",
            f"is Standard, and {machine.file} drains",
            "Name the definition that it is derived from, without .draining",
        )


def _check_route(stack: Stack, definitions: Definitions, route: Route) -> Iterator[Problem]:
    where = f'routes.json, route "{route.name}"'
    name = f"{route.workflow}-{route.kind}"
    machine = stack.working_for(route.workflow, route.kind)
    if machine is None or stack.named(name) not in (*stack.workflows, *stack.nested):
        known = ", ".join(sorted(machine.name for machine in (*stack.workflows, *stack.nested)))
        yield Problem(
            where,
            f"its workflow {name} is not in template.yaml",
            f"Name one of {known}, or add a state machine named ${{AWS::StackName}}-{name}",
        )
        return
    yield from run_outlasts_execution(where, route, machine, definitions[machine.file])
    yield from route_knows_its_workers(where, route, stack, machine, definitions[machine.file])


def run_outlasts_execution(where: str, route: Route, machine: Machine, definition: Scope) -> Iterator[Problem]:
    """At the run's deadline the key is taken away from the execution, so that must have ended by then."""
    if drains(definition):
        yield from a_round_fits_twice(where, route, machine, definition)
        return
    execution_s = definition.get("TimeoutSeconds", 0)
    if route.run_timeout_s <= execution_s:
        yield Problem(
            where,
            f"run_timeout_s is {route.run_timeout_s}, its workflow may take {execution_s} s",
            f"Raise run_timeout_s above {execution_s}, or lower TimeoutSeconds in {machine.file}",
        )


def a_round_fits_twice(where: str, route: Route, machine: Machine, definition: Scope) -> Iterator[Problem]:
    """A run ends before its deadline; and an execution that drains goes on with a run only if all its time fits."""
    try:
        longest_s, execution_s = longest_path_s(definition), definition.get("TimeoutSeconds", 0)
    except EndlessPathError:
        return  # told of by the_execution_outlasts_its_longest_path
    if route.run_timeout_s <= longest_s:
        yield Problem(
            where,
            f"run_timeout_s is {route.run_timeout_s}, a run of {machine.file} may take {longest_s:g} s",
            f"Raise run_timeout_s above {longest_s:g}, or lower the timeouts and retries of its tasks",
        )
    if route.kind != NESTED and route.run_timeout_s + RESERVE_MS / 1_000 >= execution_s:
        yield Problem(
            where,
            f"run_timeout_s is {route.run_timeout_s}, and an execution of {machine.file} lasts {execution_s} s: "
            "it will never go on with a second run",
            f"Lower run_timeout_s below {execution_s - RESERVE_MS / 1_000:g}, or name a definition that doesn't drain",
        )


def route_knows_its_workers(
    where: str, route: Route, stack: Stack, machine: Machine, definition: Scope
) -> Iterator[Problem]:
    """worker_timeout_s is how long a superseded worker may still be at work: too short breaks order, too long waits."""
    timeouts_s = [
        stack.function_timeouts_s.get(function, 0)  # one that is missing is told by functions_are_there
        for place in places(definition)
        if function_of(place.state) != SEQUENCER and (function := _function_id(machine, place.state)) is not None
    ]
    longest_s = max(timeouts_s, default=0)
    if route.worker_timeout_s != longest_s:
        yield Problem(
            where,
            f"worker_timeout_s is {route.worker_timeout_s}, the longest Timeout of its workers is {longest_s} s",
            f"Set worker_timeout_s to {longest_s}",
        )


def _function_id(machine: Machine, state: Mapping[str, object]) -> str | None:
    return machine.substitutions.get(function_of(state) or "")
