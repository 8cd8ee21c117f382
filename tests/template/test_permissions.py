"""Each role may do what its function does, and nothing that its function never does.

Every function is driven through all that it is for, over models of AWS. What it called is held against the policies of
the transformed template, both ways: each call is allowed, each grant is used or stands in a table with the reason why
not. The end-to-end tests hold what the deployed functions really call against the same policies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final

import pytest

from keyturn.adapters.table import encode_item
from keyturn.core.event import Event
from keyturn.core.replay_plan import Fate
from keyturn.core.route import Routes, parse_routes
from keyturn.core.state import KeyState
from keyturn.core.step_context import StepContext
from keyturn.shell.sweep import sweep
from keyturn_sample.ledger import Ledger
from tests.guard.calls import Need, needs
from tests.models.dynamodb import DynamoDB
from tests.shell.faults import Faults, FaultyClient, throttled
from tests.shell.step_functions import PREFIX, Execution
from tests.shell.world import ROUTE, World
from tests.template.policies import Grant, Policies
from tests.template.stack import KEY_ARN, resources, transformed
from tests.template.test_template import GRANTS, SCHEDULERS

STACK: Final = "keyturn"
NAMES: Final = {
    "StateTable": "state",
    "LedgerTable": "ledger",
    "PayloadBucket": "payloads",
    "ArchiveBucket": "archive",
    "FailureBucket": "failures",
    "Stream": "stream",
    "WakeQueue": "queue",
    "KeyArn": KEY_ARN,
}
"""What the world calls them."""

BY_THE_MAPPING: Final = "Lambda's event source mapping reads with the function's role"
BY_AWS: Final = "AWS itself decrypts and encrypts with the role's right to the key; no function calls KMS"
BY_STEP_FUNCTIONS: Final = "Step Functions calls with the workflow's role: see the test of what workflows invoke"
NEVER_CALLED: Final[Mapping[tuple[str, str], str]] = {
    **{
        ("DispatcherFunctionRole", f"kinesis:{action}"): BY_THE_MAPPING
        for action in (
            *("DescribeStream", "DescribeStreamSummary", "GetRecords", "GetShardIterator", "ListShards"),
            "ListStreams",
        )
    },
    ("DispatcherFunctionRole", "s3:ListBucket"): "the mapping's on-failure destination",
    ("DispatcherFunctionRole", "s3:PutObject arn:aws:s3:::failures"): "a bucket's own ARN fits no object",
    ("DispatcherFunctionRole", "s3:PutObject arn:aws:s3:::failures/*"): "the mapping's on-failure destination",
    **{
        ("WatchdogFunctionRole", f"sqs:{action}"): BY_THE_MAPPING
        for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
    },
    ("ArchiveReadPolicy", "s3:GetObject arn:aws:s3:::archive"): "a bucket's own ARN fits no object",
    ("ArchiveReadPolicy", "s3:ListBucket arn:aws:s3:::archive/*"): "an object's ARN fits no bucket",
    **{("KeyPolicy", action): BY_AWS for action in GRANTS["KeyPolicy"]},
    **{("WorkflowLogPolicy", action): BY_STEP_FUNCTIONS for action in GRANTS["WorkflowLogPolicy"]},
    **{
        (holder, "lambda:InvokeFunction"): BY_STEP_FUNCTIONS
        for holder, actions in GRANTS.items()
        if "lambda:InvokeFunction" in actions
    },
    ("OrderNestedRole", "states:StartSyncExecution"): BY_STEP_FUNCTIONS,
}
"""(holder, action) or (holder, action and resource) -> why no function calls it."""


@cache
def policies() -> Policies:
    """Of a stack that has everything that can be switched on."""
    return Policies(transformed({"KeyArn": KEY_ARN, "ArchiveEnabled": "true"}), STACK, NAMES)


@dataclass
class Recorder(Faults):
    """Notes what each function calls, by the world's clients."""

    function: str = ""
    needed: set[tuple[str, Need]] = field(default_factory=set)

    def around(self, name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Note a call, and make it."""
        service = {"DynamoDB": "dynamodb", "S3": "s3", "Queue": "sqs", "Kinesis": "kinesis"}.get(
            type(getattr(call, "__self__", None)).__name__,
            "stepfunctions",
        )
        operation = "".join(part.capitalize() for part in name.split("_"))
        if self.function:
            self.needed.update((self.function, need) for need in needs(service, operation, arguments))
        return super().around(name, call, arguments)


class RecordedWorld(World):
    """A world that knows which function is at work."""

    recorder: Recorder

    def __init__(self, the_routes: Routes, **settings: Any) -> None:
        """Record from the first call on."""
        super().__init__(the_routes, **settings)
        self.recorder = Recorder(self.tick)
        for client in self._clients.values():
            client._faults = self.recorder
        self.faults = self.recorder

    def at_work(self, function: str) -> RecordedWorld:
        """Say who calls from now on."""
        self.recorder.function = f"{STACK}-{function}"
        return self

    def key_states(self) -> dict[str, KeyState]:
        self.recorder.function = ""  # it is the test that looks
        return super().key_states()

    def dispatch(self, batch: list[dict[str, Any]], has_time: Callable[[], bool] = lambda: True) -> Any:
        return World.dispatch(self.at_work("dispatcher"), batch, has_time)

    def work(self, execution: Execution, step: str) -> dict[str, Any]:
        return World.work(self.at_work(step), execution, step)

    def finish(self, execution: Execution) -> None:
        World.finish(self.at_work("sequencer"), execution)

    def ask_watchdog(self, event: Mapping[str, Any]) -> Any:
        return World.ask_watchdog(self.at_work("watchdog"), event)

    def ask(self, command: str, **subject: Any) -> dict[str, Any]:
        return World.ask(self.at_work("operator"), command, **subject)

    def slice_of(self, execution: Execution, pieces: int = 1_000) -> None:
        World.slice_of(self.at_work("replayer"), execution, pieces)

    def sweep(self) -> None:
        """Call the sweeper."""
        sweep(self.at_work("sweeper").platform, lambda: True)


BREAKER = {"keys": 2, "window_s": 60, "probe_after_s": 1, "probe_after_max_s": 9}
KINDS = {"standard": {}, "express": {"kind": "express"}, "skip": {"on_exhaustion": "skip"}, "broken": {"breaker": "b"}}
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def needed() -> set[tuple[str, Need]]:
    """All that each function calls in a life with everything in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Keyturn")
        entries = [{**ROUTE, "name": name, "type": name, **more} for name, more in KINDS.items()]
        routes = parse_routes({"routes": entries, "breakers": {"b": BREAKER}})
        world = RecordedWorld(routes, archive_bucket="archive", max_in_flight_runs=2)
        for chapter in (
            _work,
            _heartbeats,
            _failures,
            _operators,
            _replays,
            _refusals,
            _breaker,
            _releases,
            _sweeping,
            _another_version,
        ):
            chapter(world)
            world.settle()
        world.check()
        return world.recorder.needed | _ledger()


def _work(world: RecordedWorld) -> None:
    """Many keys, a large event, one that comes twice, more keys than slots."""
    for number in range(6):
        world.put(f"k{number % 4}", "express" if number % 2 else "standard")
    world.put("twice", event_id="again")
    world.put("twice", event_id="again")
    world.put("large", blob="x" * 150_000)
    world.put_raw("bad", b"{")
    world.put_raw("large and bad", b"x" * 250_000)


def _heartbeats(world: RecordedWorld) -> None:
    """A worker that takes long, and says that it is still at work."""
    usual = world.function_of

    def slow(execution: Execution, began_at_ms: int) -> Callable[[Event, StepContext], Any]:
        function = usual(execution, began_at_ms)

        def beating(event: Event, step: StepContext) -> Any:
            world.now_ms += 2_500
            step.heartbeat()
            return function(event, step)

        return beating

    world.function_of = slow
    world.put("slow")
    world.settle()
    world.function_of = usual


def _failures(world: RecordedWorld) -> None:
    """Workers that fail, hang and give up; a start that is lost."""
    for kind, wanted in (
        ("standard", "fail once"),
        ("express", "hang once"),
        ("skip", "permanent"),
        ("standard", "fail"),
    ):
        world.put(f"{kind} {wanted}", kind, inventory=wanted)
    world.settle()
    world.put("parked", inventory="permanent")
    world.put("hung", "standard")
    world.deliver()
    world.now_ms += 120_000  # its workers never came
    world.watch()


def _operators(world: RecordedWorld) -> None:
    """Everything that a person can ask of keys, routes and open items."""
    world.ask("describe")
    for command in ("hold-key", "release-key"):
        world.ask(command, key="k1")
    world.ask("hold-route", route="standard")
    for number in range(3):
        world.put(f"held {number}")
    world.deliver()
    world.ask("release-route", route="standard")
    world.go_on(400)
    world.ask("resume", key="parked", is_fresh=True)
    world.settle()
    world.ask("skip", key="parked")
    quarantined = [[item["pk"], item["sk"]] for item in world.items("quarantine#") if "closed" not in item]
    given_up = [[item["pk"], item["sk"]] for item in world.items("deadletter#") if "closed" not in item]
    world.ask("quarantine-redrive", places=quarantined, is_forced=True)
    world.ask("deadletter-redrive", places=given_up)
    world.settle()
    again = [[item["pk"], item["sk"]] for item in world.items("quarantine#") if "closed" not in item]
    world.ask("discard", places=again[:1])


def _replays(world: RecordedWorld) -> None:
    """By key, by time from the stream and from the archive, by a scan; one is cancelled, one handed over."""
    world.replay(keys=["k1"], is_new_generation=True)
    world.replay(from_ms=world.now_ms - 3_600_000)
    world.outage.add("inventory")
    world.put("given up", "skip")
    world.settle()
    world.outage.clear()
    world.replay(outcome="dead-lettered")
    assert "scan" in world.ask("replay-plan", type="standard")
    world.replay(type="standard", accepts_scan=True)
    cancelled = world.plan(keys=["k2"]).id
    world.ask("replay-cancel", id=cancelled)
    handed_over = world.plan(keys=["k3"], is_new_generation=True).id
    world.ask("replay-apply", id=handed_over)
    world.replaying()[0].input["turn"] = 1_500
    world.slice_of(world.replaying()[0], 0)
    world.ask("replay-apply", id=handed_over)
    world.settle()
    first_ms = min(item["arrived_at_ms"] for item in world.items("key#", "event#"))
    world.platform = replace(world.platform, settings=replace(world.settings, event_retention_s=3_600))
    for item in world.items("key#large", "event#"):
        world.dynamodb.delete_item(TableName="state", Key={name: {"S": item[name]} for name in ("pk", "sk")})
    world.now_ms = first_ms + 2 * DAY_MS
    world.next_pass_ms = world.now_ms + 60_000
    world.replay(from_ms=first_ms, to_ms=first_ms + DAY_MS, is_new_generation=True)


def _refusals(world: RecordedWorld) -> None:
    """A plan that a key has left behind, and a claimed run whose start was throttled: who refuses doesn't start it."""
    world.ask("hold-key", key="k0")
    planned = world.plan(keys=["k0"], is_new_generation=True).id
    world.ask("release-key", key="k0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.states, "start_execution", _throttle)
        world.put("k0")
        world.deliver()
    assert world.state("k0").is_unstarted
    world.ask("replay-apply", id=planned)
    world.slice_of(world.replaying()[0])
    assert world.planned(planned)["k0"].fate is Fate.REFUSED


def _throttle(**_call: Any) -> Any:
    raise throttled("StartExecution")


def _breaker(world: RecordedWorld) -> None:
    """Its downstream fails, and comes back."""
    world.outage.add("payment")
    for number in range(3):
        world.put(f"broken {number}", "broken")
    world.deliver()
    world.go_on(5)
    world.outage.clear()
    world.ask("release-route", route="broken", closes_breaker=True)


def _releases(world: RecordedWorld) -> None:
    """One is everybody's, one fails and is rolled back by itself, its keys are resumed; one more by an alarm."""
    for number in (1, 2, 3):
        assert world.ask("release-begin") == {"number": number}
        world.states.versions |= {f"order-{kind}": number for kind in ("standard", "express")}
        machines = {f"order-{kind}": f"{PREFIX}order-{kind}:{number}" for kind in ("standard", "express")}
        world.ask("release-publish", number=number, machines=machines, workers={})
    world.ask("release-canary", number=2, share=10_000, ended_min=2)
    for number in range(3):
        world.put(f"tried {number}", inventory="permanent")
    world.settle()
    world.ask("release-canary", number=3, share=10_000)
    alarm = {"alarmName": "keyturn-canary-mine", "state": {"value": "ALARM"}}
    rolled_back = world.ask_watchdog({"detail-type": "CloudWatch Alarm State Change", "detail": alarm})
    assert rolled_back == {"status": "rolled back", "release": 3}
    world.recorder.function = ""
    assert world.platform.controls.read().rollout.rolled_back == (2, 3)


def _sweeping(world: RecordedWorld) -> None:
    """Half a life later: what is unfinished is renewed, with its object."""
    world.ask("hold-key", key="late")
    world.put("late", blob="x" * 150_000)
    world.deliver()
    world.put("parked for long", blob="x" * 150_000, inventory="permanent")
    world.settle()
    world.now_ms += 60 * DAY_MS
    world.sweep()


def _another_version(world: RecordedWorld) -> None:
    """A key state that a later version wrote, among others that are renewed and mended."""
    (item,) = world.items("key#parked for long", "state")
    for phase in ("hibernating", item["phase"]):
        world.dynamodb.put_item(TableName="state", Item=encode_item(item | {"phase": phase}))
        world.sweep()
        world.watch()


def _ledger() -> set[tuple[str, Need]]:
    """What the sample's workers do besides."""
    recorder = Recorder(function=f"{STACK}-inventory")
    step = StepContext("inventory", "k", "p", "f", 1, 1, "i", 1)
    event: Any = type("Event", (), {"id": "e", "data": {"n": 1}})
    ledger = Ledger(FaultyClient(DynamoDB(), recorder), "ledger")
    ledger.record(event, step, 1)
    ledger.tries(step)
    return recorder.needed


def test_every_call_of_a_function_is_allowed(needed: set[tuple[str, Need]]) -> None:
    """By its own role."""
    roles = policies().roles()
    refused = [(function, *need) for function, need in needed if not policies().granting(roles[function], need)]
    assert not refused, refused


def test_what_another_function_may_do_is_refused() -> None:
    """The evaluator says no as well as yes."""
    roles = policies().roles()
    for function, action, resource in (
        ("sequencer", "dynamodb:Scan", "table/state"),
        ("inventory", "dynamodb:UpdateItem", "table/state"),
        ("inventory", "dynamodb:PutItem", "table/another"),
        ("dispatcher", "s3:PutObject", "object/another/x"),
        ("sweeper", "states:StartExecution", "arn:aws:states:us-east-1:1:stateMachine:keyturn-order-standard"),
        ("operator", "states:StartExecution", f"arn:aws:states:us-east-1:{1:012d}:stateMachine:keyturn-order-standard"),
    ):
        assert policies().granting(roles[f"{STACK}-{function}"], (action, resource)) == [], (function, action)


def test_every_grant_is_used(needed: set[tuple[str, Need]]) -> None:
    """By some function in the tests, or it stands in the table with the reason why not."""
    roles = policies().roles()
    used = {grant for function, need in needed for grant in policies().granting(roles[function], need)}
    grants = [grant for grant in policies().grants() if grant.holder not in SCHEDULERS]
    idle = [grant for grant in grants if grant not in used and not _is_explained(grant)]
    assert not idle, idle


def test_no_explanation_is_out_of_date(needed: set[tuple[str, Need]]) -> None:
    """What is in the table is granted, and isn't used after all."""
    roles = policies().roles()
    used = {grant for function, need in needed for grant in policies().granting(roles[function], need)}
    for holder, what in NEVER_CALLED:
        meant = [one for one in policies().grants() if one.holder == holder and what in _names(one)]
        assert meant, (holder, what)
        assert not used.intersection(meant), (holder, what)


def _names(grant: Grant) -> tuple[str, str]:
    return grant.action, f"{grant.action} {grant.resource}"


def _is_explained(grant: Grant) -> bool:
    # An index can only be read: that an action on the table names the index too gives nobody anything.
    is_of_index = "/index/" in grant.resource and grant.action not in {"dynamodb:Query", "dynamodb:Scan"}
    return is_of_index or any((grant.holder, name) in NEVER_CALLED for name in _names(grant))


def test_a_workflow_may_invoke_what_it_names_and_nothing_else() -> None:
    """Each role's functions are those of the definitions that run with it; workers in any version, the rest in none."""
    template = policies().template
    named: dict[str, set[str]] = {}
    for machine in resources(template, "AWS::StepFunctions::StateMachine").values():
        role = machine["Properties"]["RoleArn"]["Fn::GetAtt"][0]
        given = json.dumps(machine["Properties"]["DefinitionSubstitutions"])
        named.setdefault(role, set()).update(
            name for name in resources(template, "AWS::Lambda::Function") if f'"{name}"' in given
        )
    assert named
    for role, functions in named.items():
        grants = [
            grant for grant in policies().grants() if (grant.holder, grant.action) == (role, "lambda:InvokeFunction")
        ]
        names = {grant.resource.removesuffix(":*").rpartition(":")[2] for grant in grants}
        assert (
            names == {policies()._text(template["Resources"][one]["Properties"]["FunctionName"]) for one in functions}
            or names == functions
        ), role
