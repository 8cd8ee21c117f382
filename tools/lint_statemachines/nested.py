"""Rules on a Standard machine around an Express one: it must outlast that, and report what that couldn't."""

from collections.abc import Iterator, Mapping

from tools.lint_statemachines.definition import SEQUENCER, Scope
from tools.lint_statemachines.machines import machine_names_fit, placeholders_are_known
from tools.lint_statemachines.problem import Problem
from tools.lint_statemachines.roles import role_may_do_what_nested_ones_do
from tools.lint_statemachines.stack import Machine, Stack

_EXPRESS = "ExpressArn"
"""The substitution under which it knows the Express machine."""


def check_nested(stack: Stack, machine: Machine, definitions: Mapping[str, Scope]) -> Iterator[Problem]:
    """All problems of one such machine."""
    yield from machine_names_fit(machine)
    definition = definitions[machine.file]
    yield from placeholders_are_known(machine, definition)
    inside = stack.named(f"{machine.workflow}-express")
    if inside is None or machine.substitutions.get(_EXPRESS) != inside.logical_id:
        yield Problem(
            f"template.yaml, {machine.logical_id}",
            f"does not run {machine.workflow}-express",
            f"Let {_EXPRESS} be a Ref to the machine of that name",
        )
        return
    yield from role_may_do_what_nested_ones_do(stack, machine, inside.logical_id)
    yield from it_outlasts_what_it_runs(stack, machine, definition, definitions[inside.file])
    yield from it_reports_every_error(machine, definition)


def it_outlasts_what_it_runs(stack: Stack, machine: Machine, definition: Scope, inside: Scope) -> Iterator[Problem]:
    """Else it reports a run as failed whose Express execution is at work."""
    run, report = definition["States"]["Run"], definition["States"]["Report"]
    sequencer_s = stack.function_timeouts_s.get(machine.substitutions.get(SEQUENCER) or "", 0)
    tries = 1 + sum(retrier["MaxAttempts"] for retrier in report["Retry"])
    waits_s = sum(retrier["MaxDelaySeconds"] * retrier["MaxAttempts"] for retrier in report["Retry"])
    longest_s = run["TimeoutSeconds"] + tries * report["TimeoutSeconds"] + waits_s
    for what, has_s, needs_s in (
        ('state "Run"', run["TimeoutSeconds"], inside["TimeoutSeconds"]),
        ('state "Report"', report["TimeoutSeconds"], sequencer_s),
        ("the execution", definition["TimeoutSeconds"], longest_s),
    ):
        if has_s <= needs_s:
            yield Problem(
                f"{machine.file}, {what}",
                f"TimeoutSeconds is {has_s}, what it waits for may take {needs_s} s",
                f"Raise it above {needs_s}",
            )


def it_reports_every_error(machine: Machine, definition: Scope) -> Iterator[Problem]:
    """States.ALL does not catch States.DataLimitExceeded, which is why both are named."""
    caught = [(*catcher["ErrorEquals"], catcher["Next"]) for catcher in definition["States"]["Run"].get("Catch", ())]
    if caught != [("States.DataLimitExceeded", "Report"), ("States.ALL", "Report")]:
        yield Problem(
            f'{machine.file}, state "Run"',
            "has errors that it does not report",
            'Let it catch States.DataLimitExceeded, then States.ALL, and go to "Report"',
        )
