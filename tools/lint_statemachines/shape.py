"""Rules on one definition alone: what makes a workflow fit the protocol."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from tools.lint_statemachines.definition import (
    FALLIBLE,
    SEQUENCER,
    Place,
    Scope,
    State,
    followers,
    function_of,
    inner_scopes,
    is_sequencer,
    places,
    takes_release,
)
from tools.lint_statemachines.durations import THROTTLED
from tools.lint_statemachines.problem import Problem

RETRYABLE: Final = frozenset({"StepFailed", "Runtime.HandlerError", THROTTLED})
"""Errors after which the Lambda has surely ended or never ran. After any other (States.Timeout, Lambda.Unknown,
Lambda.SdkClientException ...) it may still be at work, and a retry would run beside it."""

MAX_ATTEMPTS: Final = 5
_THROTTLED_ATTEMPTS_MIN: Final = 3
STATE_NAME_CHARACTERS_MAX: Final = 80
"""Source: AWS Step Functions Developer Guide, "Service quotas"."""

Rule = Callable[[str, Scope], Iterator[Problem]]


def every_name_is_a_state(file: str, definition: Scope) -> Iterator[Problem]:
    """Step Functions refuses a definition that leads to a state it doesn't have; no other rule can follow it."""
    for scope in _scopes(definition):
        named = {scope["StartAt"], *(name for state in scope["States"].values() for name in followers(state))}
        for name in sorted(named - set(scope["States"])):
            yield Problem(f'{file}, state "{name}"', "is led to, and isn't there", "Write it, or mend its name")


def every_task_has_a_timeout(file: str, definition: Scope) -> Iterator[Problem]:
    """Without TimeoutSeconds a lost answer holds a run for ever (a year, Standard's limit)."""
    for place in places(definition):
        if place.state["Type"] == "Task" and not isinstance(place.state.get("TimeoutSeconds"), int):
            yield Problem(f"{file}, {place}", "has no TimeoutSeconds", "Give it a whole number of seconds")


def the_execution_has_a_timeout(file: str, definition: Scope) -> Iterator[Problem]:
    """The execution must end by itself before the run's deadline, when the watchdog takes the key away from it."""
    if not isinstance(definition.get("TimeoutSeconds"), int):
        yield Problem(file, "has no TimeoutSeconds at the top", "Give it one above its longest path")


def only_safe_errors_are_retried(file: str, definition: Scope) -> Iterator[Problem]:
    """A worker is retried only when its Lambda has surely ended; the sequencer, being idempotent, after anything."""
    for place in places(definition):
        if function_of(place.state) == SEQUENCER:
            continue
        if place.state["Type"] in {"Parallel", "Map"} and "Retry" in place.state:
            yield Problem(f"{file}, {place}", "retries a whole fan-out", "Retry its tasks instead")
            continue
        for error in (error for retrier in place.state.get("Retry", ()) for error in retrier["ErrorEquals"]):
            if error not in RETRYABLE:
                allowed = ", ".join(sorted(RETRYABLE))
                yield Problem(
                    f"{file}, {place}",
                    f"retries {error}, after which the Lambda may still be at work",
                    f"Retry only {allowed}; the run's next attempt takes care of the rest",
                )


def retries_are_bounded_and_jittered(file: str, definition: Scope) -> Iterator[Problem]:
    """Bounds make the longest path finite and short; jitter keeps what failed together from coming back together."""
    for place in places(definition):
        for retrier in place.state.get("Retry", ()):
            where = f"{file}, {place}, retry of {', '.join(retrier['ErrorEquals'])}"
            missing = [
                field
                for field in ("IntervalSeconds", "BackoffRate", "MaxAttempts", "MaxDelaySeconds")
                if not isinstance(retrier.get(field), int | float)
            ]
            if missing:
                yield Problem(where, f"lacks {', '.join(missing)}", "Write them out, so that its length can be read")
            if retrier.get("JitterStrategy") != "FULL":
                yield Problem(where, "has no jitter", 'Set "JitterStrategy": "FULL"')
            if retrier.get("MaxAttempts", 0) > MAX_ATTEMPTS:
                yield Problem(
                    where,
                    f"has {retrier['MaxAttempts']} attempts",
                    f"Allow at most {MAX_ATTEMPTS}; minutes are for the run's next attempt",
                )


def a_throttled_sequencer_is_called_again(file: str, definition: Scope) -> Iterator[Problem]:
    """A run that it doesn't end waits for its deadline, and at a small concurrency two calls in a row are refused."""
    for place in places(definition):
        if not is_sequencer(place.state):
            continue
        retriers = place.state.get("Retry", ())
        granted = next((one.get("MaxAttempts", 0) for one in retriers if THROTTLED in one["ErrorEquals"]), 0)
        if granted < _THROTTLED_ATTEMPTS_MIN:
            yield Problem(
                f"{file}, {place}",
                f"calls a throttled sequencer {granted} times more",
                f"Retry {THROTTLED} by itself, {_THROTTLED_ATTEMPTS_MIN} times at least: see order.asl.json",
            )


def workers_take_the_runs_release(file: str, definition: Scope) -> Iterator[Problem]:
    """A worker that is called by its plain name runs what was deployed last, whatever release its key is on."""
    for place in places(definition):
        function = function_of(place.state)
        if function in {None, SEQUENCER} or takes_release(place.state):
            continue
        yield Problem(
            f"{file}, {place}",
            f"calls ${{{function}}} whatever the run's release is",
            f"""Write "FunctionName.$": "States.Format('${{{function}}}{{}}', $.run.qualifier)\"""",
        )


def branches_catch_their_own_errors(file: str, definition: Scope) -> Iterator[Problem]:
    """An uncaught error in a branch stops its siblings' states while their Lambdas run on; and what may fail at the top
    must still reach the sequencer. States.ALL does not catch States.DataLimitExceeded, which is why both are named."""
    for place in places(definition):
        if place.state["Type"] not in FALLIBLE or _is_last(place):
            continue
        caught = [tuple(catcher["ErrorEquals"]) for catcher in place.state.get("Catch", ())]
        for error in ("States.DataLimitExceeded", "States.ALL"):
            if (error,) not in caught:
                yield Problem(
                    f"{file}, {place}",
                    f"does not catch {error} by itself",
                    f'Add {{"ErrorEquals": ["{error}"], ...}} to its Catch',
                )
        if ("States.ALL",) in caught[:-1]:
            yield Problem(f"{file}, {place}", "catches States.ALL before the last place", "Move it to the end of Catch")


def catches_keep_the_input(file: str, definition: Scope) -> Iterator[Problem]:
    """The sequencer needs the run; a Catch without ResultPath puts the error in its place."""
    for place in places(definition):
        for catcher in place.state.get("Catch", ()):
            if catcher.get("ResultPath", "$") in {"$", None}:
                yield Problem(
                    f"{file}, {place}",
                    "has a Catch that replaces its input by the error",
                    'Give it a ResultPath, such as "$.error"',
                )


def every_way_ends_in_the_sequencer(file: str, definition: Scope) -> Iterator[Problem]:
    """A way that ends elsewhere leaves its key running until the watchdog finds it at the deadline."""
    for name in _reachable_without_the_sequencer(definition):
        state = definition["States"][name]
        if not followers(state) and not is_sequencer(state):
            yield Problem(
                f'{file}, state "{name}"',
                "ends the execution without the sequencer",
                f"Lead it to the task that invokes ${{{SEQUENCER}}}",
            )


def only_the_next_round_follows_the_sequencer(file: str, definition: Scope) -> Iterator[Problem]:
    """The run is finished there. What its answer brings is the next run, for which the round begins anew: at the
    fan-out where that run is bound to this execution, else with a new id. The sequencer can only know how much time is
    left if the execution says when it began and how long it may take."""
    for name, state in definition["States"].items():
        if not is_sequencer(state) or not followers(state):
            continue
        told = {
            "id.$": "$.execution_id",
            "name.$": "$$.Execution.Name",
            "started_at.$": "$$.Execution.StartTime",
            "timeout_s": definition.get("TimeoutSeconds"),
        }
        more = definition["States"].get(state.get("Next"), {})
        ends = definition["States"].get(more.get("Default"), {})
        goes_round = more.get("Choices") == [
            {"Variable": "$.execution_id", "IsPresent": True, "Next": _fan_out_of(definition)},
            {"Variable": "$.run", "IsPresent": True, "Next": definition["StartAt"]},
        ]
        payload = state["Parameters"].get("Payload", {})
        passes_time = payload.get("execution") == told and payload.get("seen.$") == "$.seen"
        if not (goes_round and passes_time and ends.get("Type") == "Succeed"):
            yield Problem(
                f'{file}, state "{name}"',
                "is followed by something else than the key's next run",
                'Let it end the execution ("End": true), or have the definition made by tools/draining.py',
            )


def every_state_is_reachable(file: str, definition: Scope) -> Iterator[Problem]:
    """A state that nothing leads to is a Catch or Choice that somebody forgot."""
    for scope in _scopes(definition):
        for name in sorted(set(scope["States"]) - set(_reachable(scope))):
            yield Problem(f'{file}, state "{name}"', "is never reached", "Lead to it, or take it out")


def the_fan_out_names_the_execution(file: str, definition: Scope) -> Iterator[Problem]:
    """An attempt belongs to one execution: Express may start twice, so each makes an id of its own.

    In its fan-out; or before it, where it goes on with further runs, all of which belong to it.
    """
    name = _fan_out_of(definition)
    fan_out, first = definition["States"].get(name, {}), definition["States"][definition["StartAt"]]
    makes = "$.execution_id" if first["Type"] == "Pass" else "States.UUID()"
    has_id = first.get("Parameters", {}).get("execution_id.$") == "States.UUID()"
    takes_id = fan_out.get("Parameters", {}).get("execution_id.$") == makes
    if fan_out.get("Type") != "Parallel" or not (has_id and takes_id):
        yield Problem(
            f'{file}, state "{name}"',
            "is no Parallel that makes execution_id by States.UUID()",
            "Start with one; see statemachines/order.asl.json, or have the definition made by tools/draining.py",
        )


def _fan_out_of(definition: Scope) -> str:
    """Name the state that the workers are in: the first, or the second where one makes the execution's id before."""
    first: Mapping[str, Any] = definition["States"][definition["StartAt"]]
    return str(first.get("Next")) if first["Type"] == "Pass" else str(definition["StartAt"])


def tasks_pass_on_what_is_needed(file: str, definition: Scope) -> Iterator[Problem]:
    """A worker checks its fence with run and execution_id; the sequencer reads run and steps."""
    for place in places(definition):
        function = function_of(place.state)
        if function is None:
            continue
        payload: Mapping[str, Any] = place.state["Parameters"].get("Payload", {})
        needed = ("run", "steps") if function == SEQUENCER else ("step", "execution_id", "run", "events")
        missing = [field for field in needed if field not in payload and f"{field}.$" not in payload]
        if missing:
            yield Problem(f"{file}, {place}", f"does not pass on {', '.join(missing)}", "Add it to Parameters.Payload")


def state_names_are_short(file: str, definition: Scope) -> Iterator[Problem]:
    """Step Functions refuses longer ones; the emulator doesn't."""
    for place in places(definition):
        if len(place.name) > STATE_NAME_CHARACTERS_MAX:
            yield Problem(
                f"{file}, {place}",
                f"has a name of {len(place.name)} characters",
                f"Shorten it to {STATE_NAME_CHARACTERS_MAX}",
            )


RULES: Final[Sequence[Rule]] = (
    the_execution_has_a_timeout,
    the_fan_out_names_the_execution,
    every_task_has_a_timeout,
    only_safe_errors_are_retried,
    retries_are_bounded_and_jittered,
    a_throttled_sequencer_is_called_again,
    workers_take_the_runs_release,
    branches_catch_their_own_errors,
    catches_keep_the_input,
    every_way_ends_in_the_sequencer,
    only_the_next_round_follows_the_sequencer,
    every_state_is_reachable,
    tasks_pass_on_what_is_needed,
    state_names_are_short,
)


def check_shape(file: str, definition: Scope) -> list[Problem]:
    """All problems of one definition, in the order of the rules; of one with a name that is no state, no others."""
    return list(every_name_is_a_state(file, definition)) or [
        problem for rule in RULES for problem in rule(file, definition)
    ]


def _scopes(definition: Scope) -> Iterator[Scope]:
    """Yield the definition, and every branch and iteration in it."""
    yield definition
    yield from (inner for place in places(definition) for inner in inner_scopes(place.state))


def _is_last(place: Place) -> bool:
    """The sequencer's task: nothing comes after it that could be told of its error."""
    return not place.is_nested and is_sequencer(place.state)


def _reachable(scope: Scope, stop: Callable[[State], bool] = lambda _state: False) -> list[str]:
    found: dict[str, None] = {}
    todo = [scope["StartAt"]]
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = None
            todo.extend(() if stop(scope["States"][name]) else followers(scope["States"][name]))
    return list(found)


def _reachable_without_the_sequencer(scope: Scope) -> list[str]:
    return _reachable(scope, stop=is_sequencer)
