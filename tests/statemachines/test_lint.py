"""Each rule of the lint finds the machine that breaks it, and nothing in the machines that this project ships."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.statemachines.conftest import ROOT
from tools.draining import derived_files, draining
from tools.lint_statemachines.__main__ import lint
from tools.lint_statemachines.definition import places
from tools.lint_statemachines.durations import EndlessPathError, longest_path_s, retry_wait_s
from tools.lint_statemachines.nesting import check_nesting
from tools.lint_statemachines.shape import check_shape
from tools.lint_statemachines.stack import Machine, Route, Stack, routes_from, stack_from_template

Definition = dict[str, Any]

MACHINE = Machine(
    logical_id="OrderStandard",
    name="order-standard",
    kind="standard",
    file="order.asl.json",
    substitutions={
        "Partition": None,
        "InventoryFunctionArn": "Inventory",
        "PaymentFunctionArn": "Payment",
        "NotificationFunctionArn": "Notification",
        "SequencerFunctionArn": "Sequencer",
    },
)
STACK = Stack({"Inventory": 3, "Payment": 3, "Notification": 2, "Sequencer": 10}, (MACHINE,))
ROUTE = Route(name="order", workflow="order", kind="standard", run_timeout_s=900, worker_timeout_s=3)


DRAINING_STACK = Stack(
    STACK.function_timeouts_s,
    (
        Machine(
            "OrderExpress",
            "order-express",
            "express",
            "order.asl.json",
            MACHINE.substitutions,
        ),
    ),
)
DRAINING_ROUTE = Route(name="order", workflow="order", kind="express", run_timeout_s=140, worker_timeout_s=3)


@pytest.fixture
def drains(order: Definition) -> Definition:
    """The draining definition of the order workflow, to break."""
    return draining(order, "order.asl.json")


def worker(definition: Definition) -> dict[str, Any]:
    """The first worker's task."""
    state: dict[str, Any] = definition["States"]["Work"]["Branches"][0]["States"]["Inventory"]
    return state


def test_the_project_has_no_problems() -> None:
    """`python -m tools.lint_statemachines` is clean."""
    assert lint(ROOT) == []


def no_task_timeout(definition: Definition) -> None:
    del worker(definition)["TimeoutSeconds"]


def no_execution_timeout(definition: Definition) -> None:
    del definition["TimeoutSeconds"]


def retries_a_timeout(definition: Definition) -> None:
    worker(definition)["Retry"][0]["ErrorEquals"].append("States.Timeout")


def retries_everything(definition: Definition) -> None:
    worker(definition)["Retry"][0]["ErrorEquals"] = ["States.ALL"]


def retries_the_fan_out(definition: Definition) -> None:
    definition["States"]["Work"]["Retry"] = worker(definition)["Retry"]


def no_jitter(definition: Definition) -> None:
    worker(definition)["Retry"][0]["JitterStrategy"] = "NONE"


def no_longest_delay(definition: Definition) -> None:
    del worker(definition)["Retry"][0]["MaxDelaySeconds"]


def too_many_attempts(definition: Definition) -> None:
    worker(definition)["Retry"][0]["MaxAttempts"] = 9


def throttled_sequencer_is_given_up(definition: Definition) -> None:
    del definition["States"]["Sequence"]["Retry"][0]


def worker_whatever_the_release(definition: Definition) -> None:
    worker(definition)["Parameters"]["FunctionName"] = "${InventoryFunctionArn}"
    del worker(definition)["Parameters"]["FunctionName.$"]


def branch_without_catch(definition: Definition) -> None:
    worker(definition)["Catch"] = []


def branch_without_data_limit(definition: Definition) -> None:
    del worker(definition)["Catch"][0]


def catch_all_first(definition: Definition) -> None:
    worker(definition)["Catch"].reverse()


def fan_out_without_catch(definition: Definition) -> None:
    del definition["States"]["Work"]["Catch"]


def catch_loses_the_run(definition: Definition) -> None:
    del definition["States"]["Work"]["Catch"][1]["ResultPath"]


def ends_without_the_sequencer(definition: Definition) -> None:
    del definition["States"]["Work"]["Next"]
    definition["States"]["Work"]["End"] = True
    definition["States"]["Work"]["Catch"] = []


def catch_ends_in_fail(definition: Definition) -> None:
    definition["States"]["Work"]["Catch"][1]["Next"] = "GiveUp"
    definition["States"]["GiveUp"] = {"Type": "Fail"}


def forgotten_state(definition: Definition) -> None:
    definition["States"]["Work"]["Branches"][0]["States"]["Forgotten"] = {"Type": "Pass", "End": True}


def no_execution_id(definition: Definition) -> None:
    del definition["States"]["Work"]["Parameters"]["execution_id.$"]


def worker_without_run(definition: Definition) -> None:
    del worker(definition)["Parameters"]["Payload"]["run.$"]


def sequencer_without_steps(definition: Definition) -> None:
    del definition["States"]["Sequence"]["Parameters"]["Payload"]["steps.$"]


def long_state_name(definition: Definition) -> None:
    branch = definition["States"]["Work"]["Branches"][0]
    branch["StartAt"] = "I" * 81
    branch["States"]["I" * 81] = branch["States"].pop("Inventory")


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (no_task_timeout, 'state "Work > Inventory": has no TimeoutSeconds.'),
        (no_execution_timeout, "order.asl.json: has no TimeoutSeconds at the top."),
        (retries_a_timeout, "retries States.Timeout, after which the Lambda may still be at work."),
        (retries_everything, "retries States.ALL, after which the Lambda may still be at work."),
        (retries_the_fan_out, "retries a whole fan-out."),
        (no_jitter, "retry of StepFailed, Runtime.HandlerError: has no jitter."),
        (no_longest_delay, "lacks MaxDelaySeconds."),
        (too_many_attempts, "has 9 attempts."),
        (throttled_sequencer_is_given_up, 'state "Sequence": calls a throttled sequencer 0 times more.'),
        (worker_whatever_the_release, "calls ${InventoryFunctionArn} whatever the run's release is."),
        (branch_without_catch, 'state "Work > Inventory": does not catch States.ALL by itself.'),
        (branch_without_data_limit, "does not catch States.DataLimitExceeded by itself."),
        (catch_all_first, "catches States.ALL before the last place."),
        (fan_out_without_catch, 'state "Work": does not catch States.ALL by itself.'),
        (catch_loses_the_run, "has a Catch that replaces its input by the error."),
        (ends_without_the_sequencer, 'state "Work": ends the execution without the sequencer.'),
        (catch_ends_in_fail, 'state "GiveUp": ends the execution without the sequencer.'),
        (forgotten_state, 'state "Forgotten": is never reached.'),
        (no_execution_id, "is no Parallel that makes execution_id by States.UUID()."),
        (worker_without_run, "does not pass on run."),
        (sequencer_without_steps, "does not pass on steps."),
        (long_state_name, "has a name of 81 characters."),
    ],
)
def test_a_rule_names_what_breaks_it(order: Definition, spoil: Callable[[Definition], None], finding: str) -> None:
    """One change to a sound machine is found, with its place and a remedy."""
    assert check_shape("order.asl.json", order) == []
    spoil(order)
    assert finding in "\n".join(map(str, check_shape("order.asl.json", order)))


def test_derived_files_are_what_their_sources_come_to() -> None:
    """`python -m tools.draining` has nothing to write."""
    files = derived_files(ROOT)
    assert {path.name for path in files} == {f"{name}.draining.asl.json" for name in ("order", "lines", "tracking")}
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python -m tools.draining"


def test_a_draining_definition_has_no_problems(drains: Definition) -> None:
    """The shape's rules and the nesting hold for one round."""
    assert check_shape("order.asl.json", drains) == []
    assert nesting(drains, DRAINING_STACK, DRAINING_ROUTE) == ""


def goes_round_whatever_the_answer(definition: Definition) -> None:
    definition["States"]["Sequence"]["Next"] = "Work"


def goes_on_elsewhere(definition: Definition) -> None:
    definition["States"]["More"]["Choices"][0]["Next"] = "Sequence"


def ends_in_a_failure(definition: Definition) -> None:
    definition["States"]["Done"] = {"Type": "Fail"}


def does_not_tell_when_it_began(definition: Definition) -> None:
    del definition["States"]["Sequence"]["Parameters"]["Payload"]["execution"]["started_at.$"]


def does_not_tell_its_id(definition: Definition) -> None:
    del definition["States"]["Sequence"]["Parameters"]["Payload"]["execution"]["id.$"]


def keeps_the_state_that_came_with_the_run(definition: Definition) -> None:
    del definition["States"]["Sequence"]["Parameters"]["Payload"]["seen.$"]


def begins_a_bound_run_anew(definition: Definition) -> None:
    definition["States"]["More"]["Choices"][0]["Next"] = "Begin"


def does_not_begin_another_run_anew(definition: Definition) -> None:
    definition["States"]["More"]["Choices"][1]["Next"] = "Work"


def tells_a_longer_time_than_it_has(definition: Definition) -> None:
    definition["TimeoutSeconds"] = 200


@pytest.mark.parametrize(
    "spoil",
    [
        goes_round_whatever_the_answer,
        goes_on_elsewhere,
        ends_in_a_failure,
        does_not_tell_when_it_began,
        does_not_tell_its_id,
        keeps_the_state_that_came_with_the_run,
        begins_a_bound_run_anew,
        does_not_begin_another_run_anew,
        tells_a_longer_time_than_it_has,
    ],
)
def test_only_the_next_run_follows_the_sequencer(drains: Definition, spoil: Callable[[Definition], None]) -> None:
    """Whatever else came behind it would run when the key is somebody else's."""
    spoil(drains)
    found = "\n".join(map(str, check_shape("order.asl.json", drains)))
    assert 'state "Sequence": is followed by something else than the key\'s next run.' in found


def begins_without_an_id(definition: Definition) -> None:
    definition["States"]["Begin"]["Parameters"]["execution_id.$"] = "$.run.key"


def makes_an_id_in_each_round(definition: Definition) -> None:
    definition["States"]["Work"]["Parameters"]["execution_id.$"] = "States.UUID()"


def begins_with_the_sequencer(definition: Definition) -> None:
    definition["States"]["Begin"]["Next"] = "Sequence"


@pytest.mark.parametrize("spoil", [begins_without_an_id, makes_an_id_in_each_round, begins_with_the_sequencer])
def test_an_execution_that_drains_has_one_id(drains: Definition, spoil: Callable[[Definition], None]) -> None:
    """Made by its first state and taken by its fan-out: the runs that it goes on with are bound to that."""
    spoil(drains)
    assert "is no Parallel that makes execution_id" in "\n".join(map(str, check_shape("order.asl.json", drains)))


def test_a_run_that_drains_outlasts_one_round(drains: Definition) -> None:
    """At run_timeout_s the key is taken from the execution, whatever further runs it may go on with."""
    longest_s = int(longest_path_s(drains))
    found = nesting(drains, DRAINING_STACK, replace(DRAINING_ROUTE, run_timeout_s=longest_s))
    assert f"run_timeout_s is {longest_s}, a run of order.asl.json may take {longest_s} s." in found


def test_a_run_that_drains_fits_behind_another(drains: Definition) -> None:
    """An execution of 300 s never goes on with a run that may take 285."""
    assert nesting(drains, DRAINING_STACK, replace(DRAINING_ROUTE, run_timeout_s=284)) == ""
    found = nesting(drains, DRAINING_STACK, replace(DRAINING_ROUTE, run_timeout_s=285))
    assert "it will never go on with a second run.\nLower run_timeout_s below 285" in found


def test_standard_does_not_drain(drains: Definition) -> None:
    """Its choice whether to go on would cost a transition an event."""
    found = nesting(drains, route=with_route(run_timeout_s=140))
    assert "OrderStandard: is Standard, and order.asl.json drains." in found


NESTED = Machine(
    "OrderNested",
    "order-nested",
    "nested",
    "nested.asl.json",
    {"Partition": None, "ExpressArn": "OrderExpress", "SequencerFunctionArn": "Sequencer"},
)


def nested_problems(definition: Definition, inside: Definition, machine: Machine = NESTED, run_s: int = 140) -> str:
    """What the nesting rules say of a machine around the draining one, and of a route that uses it."""
    stack = Stack(STACK.function_timeouts_s, (*DRAINING_STACK.machines, machine))
    route = replace(DRAINING_ROUTE, kind="nested", run_timeout_s=run_s)
    files = {"order.asl.json": inside, machine.file: definition}
    return "\n".join(map(str, check_nesting(stack, files, (route,))))


@pytest.fixture
def nested(definitions: dict[str, Definition]) -> Definition:
    """A copy of the nested definition, to break."""
    return copy.deepcopy(definitions["nested"])


def test_a_machine_around_another_has_no_problems(nested: Definition, drains: Definition) -> None:
    """It outlasts what it runs; the route knows the workers inside."""
    assert nested_problems(nested, drains) == ""


def run_ends_first(definition: Definition) -> None:
    definition["States"]["Run"]["TimeoutSeconds"] = 300


def report_ends_before_the_sequencer(definition: Definition) -> None:
    definition["States"]["Report"]["TimeoutSeconds"] = 10


def ends_before_its_report(definition: Definition) -> None:
    definition["TimeoutSeconds"] = 350


def does_not_report_too_much_data(definition: Definition) -> None:
    del definition["States"]["Run"]["Catch"][0]


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (run_ends_first, 'state "Run": TimeoutSeconds is 300, what it waits for may take 300 s.'),
        (report_ends_before_the_sequencer, 'state "Report": TimeoutSeconds is 10, what it waits for may take 10 s.'),
        (ends_before_its_report, "the execution: TimeoutSeconds is 350, what it waits for may take 354 s."),
        (does_not_report_too_much_data, 'state "Run": has errors that it does not report.'),
    ],
)
def test_a_machine_around_another_outlasts_it_and_reports(
    nested: Definition, drains: Definition, spoil: Callable[[Definition], None], finding: str
) -> None:
    """Else it calls a run failed that is at work, or leaves one to its deadline."""
    spoil(nested)
    assert finding in nested_problems(nested, drains)


def test_a_machine_around_another_runs_its_own_workflow(nested: Definition, drains: Definition) -> None:
    """The one that is named like it, Express."""
    other = replace(NESTED, substitutions={**NESTED.substitutions, "ExpressArn": "LinesExpress"})
    assert "OrderNested: does not run order-express." in nested_problems(nested, drains, other)


def test_a_nested_run_outlasts_the_path_inside(nested: Definition, drains: Definition) -> None:
    """As long as one round may take: it doesn't go on with a second."""
    assert nested_problems(nested, drains, run_s=299) == ""
    assert "run_timeout_s is 120, a run of order.asl.json may take" in nested_problems(nested, drains, run_s=120)


def nesting(definition: Definition, stack: Stack = STACK, route: Route = ROUTE) -> str:
    """What the nesting rules say, as a user reads it."""
    return "\n".join(map(str, check_nesting(stack, {"order.asl.json": definition}, (route,))))


def with_machine(**changes: Any) -> Stack:
    """The stack with its machine changed."""
    fields = {field: getattr(MACHINE, field) for field in Machine.__slots__}
    return Stack(STACK.function_timeouts_s, (Machine(**{**fields, **changes}),))


def with_route(**changes: Any) -> Route:
    """The route with fields changed."""
    return Route(**{**{field: getattr(ROUTE, field) for field in Route.__slots__}, **changes})


def test_nested_timeouts_are_no_problem(order: Definition) -> None:
    """Worker < task, longest path < execution < run."""
    assert nesting(order) == ""


def test_a_task_outlasts_its_function(order: Definition) -> None:
    """A task that may end first would leave a Lambda at work behind it; equal is too short."""
    worker(order)["TimeoutSeconds"] = 3
    assert 'state "Work > Inventory": TimeoutSeconds is 3, its function Inventory may take 3 s' in nesting(order)


def test_an_execution_outlasts_its_longest_path(order: Definition) -> None:
    """An execution that times out reaches no Catch and no sequencer; equal is too short."""
    longest_s = int(longest_path_s(order))
    order["TimeoutSeconds"] = longest_s
    assert f"order.asl.json: TimeoutSeconds is {longest_s}, its longest path is {longest_s} s." in nesting(order)


def test_an_express_execution_lives_five_minutes(order: Definition) -> None:
    """AWS ends an Express execution after 300 s, whatever its definition says."""
    order["TimeoutSeconds"] = 301
    stack = with_machine(name="order-express", kind="express")
    found = nesting(order, stack, with_route(kind="express"))
    assert "OrderStandard is Express, which ends after 300 s" in found


def test_a_run_outlasts_its_execution(order: Definition) -> None:
    """At run_timeout_s the key is taken from the execution, so that must have ended."""
    order["TimeoutSeconds"] = 130
    found = nesting(order, route=with_route(run_timeout_s=130))
    assert 'routes.json, route "order": run_timeout_s is 130, its workflow may take 130 s.\nRaise' in found


@pytest.mark.parametrize("worker_timeout_s", [2, 4])
def test_a_route_knows_its_longest_worker(order: Definition, worker_timeout_s: int) -> None:
    """not_before is reckoned from worker_timeout_s: too short breaks order, too long wastes time."""
    found = nesting(order, route=with_route(worker_timeout_s=worker_timeout_s))
    assert f"worker_timeout_s is {worker_timeout_s}, the longest Timeout of its workers is 3 s." in found


def test_a_route_names_a_workflow_of_the_template(order: Definition) -> None:
    """A route to nowhere would fail at StartExecution, event after event."""
    found = nesting(order, route=with_route(kind="express"))
    assert "its workflow order-express is not in template.yaml.\nName one of order-standard" in found


def test_a_machines_name_tells_its_type(order: Definition) -> None:
    """Functions find a workflow by stack, workflow and kind."""
    assert "is named order-standard and is of type express" in nesting(order, with_machine(kind="express"))


def test_a_machines_name_leaves_room_for_the_stacks(order: Definition) -> None:
    """80 characters are all that Step Functions takes."""
    name = "o" * 40 + "-standard"
    assert "Shorten the workflow's name by 10." in nesting(
        order, with_machine(name=name), with_route(workflow="o" * 40)
    )


def test_placeholders_and_substitutions_match(order: Definition) -> None:
    """An unknown ${Name} would be deployed as it stands."""
    substitutions = {**MACHINE.substitutions, "Spare": None}
    del substitutions["PaymentFunctionArn"]
    found = nesting(order, with_machine(substitutions=substitutions))
    assert "${PaymentFunctionArn}: OrderStandard does not say what it stands for" in found
    assert "substitutes Spare, which order.asl.json does not use" in found


def test_a_loop_is_a_problem(order: Definition) -> None:
    """Nothing bounds a path that leads back to itself."""
    order["States"]["Work"]["Branches"][0]["States"]["InventoryFailed"].update({"Next": "Inventory"})
    with pytest.raises(EndlessPathError):
        longest_path_s(order)
    assert "leads back to itself" in nesting(order)


def test_the_longest_path_counts_tries_and_waits() -> None:
    """3 tries of 4 s, waits of 1 and 2 s, twice, for 40 items 20 at a time; a Wait counts as it says."""
    task = {
        "Type": "Task",
        "TimeoutSeconds": 4,
        "Retry": [{"ErrorEquals": ["StepFailed"], "IntervalSeconds": 1, "BackoffRate": 2, "MaxAttempts": 2}],
        "End": True,
    }
    fan_out = {
        "Type": "Map",
        "MaxConcurrency": 20,
        "ItemProcessor": {"StartAt": "T", "States": {"T": task}},
        "Next": "W",
    }
    scope = {"StartAt": "M", "States": {"M": fan_out, "W": {"Type": "Wait", "Seconds": 5, "End": True}}}
    assert longest_path_s(scope) == 2 * (3 * 4 + 1 + 2) + 5


def test_a_throttled_try_takes_no_time() -> None:
    """It is refused at once: the longest path has its waits of 2 and 4 s, and a second for each refusal."""
    retrier = {"IntervalSeconds": 2, "BackoffRate": 2, "MaxAttempts": 2}
    task = {"Type": "Task", "TimeoutSeconds": 20, "End": True}
    throttled = task | {"Retry": [{"ErrorEquals": ["Lambda.TooManyRequestsException"], **retrier}]}
    either = task | {"Retry": [{"ErrorEquals": ["Lambda.TooManyRequestsException", "StepFailed"], **retrier}]}
    assert longest_path_s({"StartAt": "T", "States": {"T": throttled}}) == 20 + 2 + 4 + 2
    assert longest_path_s({"StartAt": "T", "States": {"T": either}}) == 3 * 20 + 2 + 4


def test_waits_stop_growing_at_their_longest() -> None:
    """1, 2, 4, 4 s."""
    assert retry_wait_s({"IntervalSeconds": 1, "BackoffRate": 2, "MaxAttempts": 4, "MaxDelaySeconds": 4}) == 11


def test_places_are_named_by_their_way(lines: Definition) -> None:
    """A finding inside a Map inside a branch says where it is."""
    assert 'state "Work > PickLines > Picking"' in {str(place) for place in places(lines)}


def test_the_template_is_read_as_it_is_written() -> None:
    """Timeouts, names and substitutions, with SAM's default where a function says nothing."""
    stack = stack_from_template("""
Resources:
  Sample: {Type: AWS::Serverless::Function, Properties: {}}
  Flow:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      StateMachineName: !Sub ${AWS::StackName}-my-flow-express
      StateMachineType: EXPRESS
      DefinitionS3Location: flow.asl.json
      DefinitionSubstitutions: {SampleArn: !GetAtt Sample.Arn, Partition: !Ref AWS::Partition}
""")
    machine = Machine("Flow", "my-flow-express", "express", "flow.asl.json", {"SampleArn": "Sample", "Partition": None})
    assert stack == Stack({"Sample": 3}, (machine,))
    assert machine.workflow == "my-flow"


def test_routes_are_read_by_what_the_lint_needs() -> None:
    """Other fields are the route schema's affair."""
    route = {field: getattr(ROUTE, field) for field in Route.__slots__}
    assert routes_from({"routes": [{**route, "type": "a.b", "batch": {}}]}) == (ROUTE,)
