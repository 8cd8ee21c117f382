"""A small stack in one process: the real shell over models of AWS (or moto), a stream, and a clock of its own.

The test decides what happens next; nothing happens by itself. `settle` does, in any order, what AWS would do then:
redeliver, retry, run executions, deliver messages, call the watchdog each minute.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import boto3
from moto import mock_aws

from keyturn.adapters import telemetry
from keyturn.adapters.process import Process
from keyturn.adapters.table import decode_item
from keyturn.adapters.workflows import REPLAY
from keyturn.core.event import Event
from keyturn.core.positions import position
from keyturn.core.replay_job import ReplayJob
from keyturn.core.replay_plan import PlannedKey
from keyturn.core.route import Kind, Routes, parse_routes
from keyturn.core.state import KeyState, Phase, violations
from keyturn.core.step_context import StepContext
from keyturn.core.task import Task
from keyturn.errors import KeyturnError, Permanent
from keyturn.settings import Settings
from keyturn.shell.dispatch import dispatch
from keyturn.shell.operator_requests import answer
from keyturn.shell.platform import Platform
from keyturn.shell.replay_work import work_on_replay
from keyturn.shell.sequence import sequence
from keyturn.shell.watch_sources import watch_for
from keyturn.shell.work import Workbench, work
from tests.adapters.aws import create_state_table
from tests.adapters.wire import record
from tests.guard.limits import check
from tests.models.dynamodb import DynamoDB
from tests.models.s3 import S3
from tests.shell.faults import Faults, FaultyClient, Killed
from tests.shell.step_functions import PREFIX, Execution, StepFunctions

STEPS: Final = ("inventory", "payment")
WORKER_TIMEOUT_MS: Final = 3_000
SLICE_MS: Final = 30_000
ROUTE: Final[Mapping[str, Any]] = {
    "workflow": "order",
    "kind": "standard",
    "run_timeout_s": 20,
    "worker_timeout_s": 3,
    "max_attempts": 2,
    "backoff": {"first_s": 1, "rate": 2.0, "max_s": 10},
    "on_exhaustion": "park",
    "batch": {"events": 1, "bytes": 180_000},
}
SETTINGS: Final = Settings(
    stack_name="keyturn",
    state_table="",
    payload_bucket="payloads",
    clock_margin_ms=1_000,
    index_buckets=2,
    index_rounding_ms=5_000,
    event_retention_s=30 * 86_400,
    table_incarnation=1,
    wake_queue_url="",
    state_machine_prefix=PREFIX,
    max_in_flight_runs=3,
    slot_quantum_runs=2,
    slot_quantum_ms=3_600_000,
    stream_epoch=1,
    duplicate_window_s=86_400,
    accepts_aggregated_records=False,
    stream_name="stream",
    archive_bucket="",
)


def routes(**changes: Any) -> Routes:
    """Return the routes of a world: `standard`, `express`, `nested`, `batch`, `skip` and `behind`, by event type."""
    entries: dict[str, dict[str, Any]] = {
        "standard": {},
        "express": {"kind": "express"},
        "nested": {"kind": "nested"},
        "batch": {"kind": "express", "batch": {"events": 3, "bytes": 180_000}},
        "skip": {"on_exhaustion": "skip"},
        "behind": {"on_exhaustion": "fail-behind"},
    }
    return parse_routes({"routes": [{**ROUTE, "name": n, "type": n, **e, **changes} for n, e in entries.items()]})


class Hang(BaseException):
    """The worker never answers: its task times out, and it may act until its Lambda's own timeout."""


class Vanish(BaseException):
    """The call to the worker breaks: Step Functions knows nothing of it, and it may act until its Lambda's timeout."""


@dataclass(frozen=True)
class Effect:
    """What a worker did, and until when it may have gone on doing so."""

    key: str
    run: str
    """First position of the run's slice."""
    position: str
    event_id: str
    step: str
    fence: int
    idempotency_key: str
    began_at_ms: int
    ended_by_ms: int

    @property
    def generation(self) -> int:
        """Which generation of results it belongs to: a replay may do finished steps again."""
        return int(self.idempotency_key.split("#")[2])


@dataclass(frozen=True)
class Message:
    """A wake-up message, not delivered before its time."""

    body: str
    due_ms: int


class Queue:
    """SQS, whose messages the world delivers by its own clock."""

    def __init__(self, world: World) -> None:
        """Send into the world."""
        self.world = world

    def send_message(self, **call: Any) -> Any:
        """Note a message for the world."""
        check("sqs", "SendMessage", call)
        self.world.messages.append(Message(call["MessageBody"], self.world.now_ms + call["DelaySeconds"] * 1_000))
        return {}


class Kinesis:
    """The stream as whoever puts into it, or reads it again, sees it."""

    def __init__(self, world: World) -> None:
        """Put into the world's stream."""
        self.world = world

    def put_record(self, **call: Any) -> Any:
        """Take a record, behind all others."""
        self.world.put_raw(call["PartitionKey"], call["Data"])
        return {"SequenceNumber": str(len(self.world.records)), "ShardId": "shardId-000000000000"}

    def describe_stream_summary(self, **_call: Any) -> Any:
        """Tell how long records are kept, and since when there is a stream."""
        created = datetime.fromtimestamp(self.world.stream_created_ms / 1_000, UTC)
        retention_h = self.world.stream_retention_h
        return {"StreamDescriptionSummary": {"RetentionPeriodHours": retention_h, "StreamCreationTimestamp": created}}

    def list_shards(self, **_call: Any) -> Any:
        """Have one shard."""
        return {"Shards": [{"ShardId": "shardId-000000000000"}]}

    def get_shard_iterator(self, **call: Any) -> Any:
        """Begin at a time, or behind a record."""
        if call["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER":
            return {"ShardIterator": call["StartingSequenceNumber"]}
        from_s = call["Timestamp"].timestamp()
        before = [one for one in self.world.records if one["kinesis"]["approximateArrivalTimestamp"] < from_s]
        return {"ShardIterator": str(len(before))}

    def get_records(self, **call: Any) -> Any:
        """Give two records at a time."""
        start = int(call["ShardIterator"])
        found = [one["kinesis"] for one in self.world.records[start : start + 2]]
        records = [
            {
                "SequenceNumber": one["sequenceNumber"],
                "PartitionKey": one["partitionKey"],
                "Data": base64.b64decode(one["data"]),
                "ApproximateArrivalTimestamp": datetime.fromtimestamp(one["approximateArrivalTimestamp"], UTC),
            }
            for one in found
        ]
        behind = len(self.world.records) - start - len(found)
        return {"Records": records, "NextShardIterator": str(start + len(found)), "MillisBehindLatest": behind}


@dataclass(frozen=True)
class Services:
    """Where items and objects lie."""

    dynamodb: Any
    table: str
    s3: Any


def models() -> Services:
    """Lie in this process's memory."""
    return Services(DynamoDB(), "state", S3())


def on_moto() -> Services:
    """Lie on moto, which must be on."""
    dynamodb = boto3.client("dynamodb")
    return Services(dynamodb, create_state_table(dynamodb), boto3.client("s3"))


class World:
    """A stack with one shard."""

    make_services: ClassVar[Callable[[], Services]] = staticmethod(models)
    """What a test of both runs on is set by `conftest`."""

    steps: Sequence[str] = STEPS
    """What a run's fan-out does."""

    def __init__(self, the_routes: Routes | None = None, **settings: Any) -> None:
        """Make the table, the bucket and the queue."""
        telemetry.metrics().clear_metrics()
        self.now_ms = 1_700_000_000_000
        self.records: list[dict[str, Any]] = []
        self.ids: dict[tuple[str, str], str] = {}
        self.checkpoint = 0
        self.stream_retention_h = 24
        self.stream_created_ms = 0
        self.effects: list[Effect] = []
        self.outage: set[str] = set()
        """Steps whose downstream is down."""
        self.messages: list[Message] = []
        self.pauses: dict[int, int] = {}
        self.reported: set[int] = set()
        self.next_pass_ms = self.now_ms + 60_000
        self.faults = Faults(self.tick)
        self.function_of: Callable[[Execution, int], Callable[[Event, StepContext], Any]] = self._function
        machines = {f"order-{kind}" for kind in Kind} | {REPLAY}
        self.states = StepFunctions(frozenset(machines), lambda: self.now_ms)
        self.settings = replace(SETTINGS, **settings)
        self._make_resources()
        process = Process(clock=lambda: self.now_ms, sleep=self.pass_time, chance=random.Random(0))  # noqa: S311 - no secret
        self.platform = Platform.build(self.settings, the_routes or routes(), self.client, process)
        self.bench = Workbench.build(self.settings, self.client, process)

    def _make_resources(self) -> None:
        services = type(self).make_services()
        self.dynamodb, self.s3 = services.dynamodb, services.s3
        for bucket in filter(None, (self.settings.payload_bucket, self.settings.archive_bucket)):
            self.s3.create_bucket(Bucket=bucket)
        self.settings = replace(self.settings, state_table=services.table, wake_queue_url="queue")
        self._clients = {
            "dynamodb": FaultyClient(self.dynamodb, self.faults),
            "s3": FaultyClient(self.s3, self.faults),
            "sqs": FaultyClient(Queue(self), self.faults),
            "stepfunctions": FaultyClient(self.states, self.faults),
            "kinesis": FaultyClient(Kinesis(self), self.faults),
        }

    def client(self, service: str) -> Any:
        """Return the client of a service."""
        return self._clients[service]

    def redeploy(self, the_routes: Routes) -> None:
        """Deploy other routes over what the table holds."""
        self.platform = replace(self.platform, routes=the_routes)

    def tick(self) -> None:
        """Let a call take its millisecond."""
        self.now_ms += 1

    # The stream

    def put(self, key: str, kind: str = "standard", event_id: str | None = None, **data: Any) -> str:
        """Put an event; `data` says what its workers do. Return its position."""
        number = str(len(self.records) + 1)
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": event_id or f"e-{number}",
            "source": "/test",
            "type": kind,
            "data": data,
        }
        return self.put_raw(key, json.dumps(event).encode(), event["id"])

    def put_raw(self, key: str, data: bytes, event_id: str = "") -> str:
        """Put any bytes."""
        number = str(len(self.records) + 1)
        wire = record(data, key, number)
        wire["kinesis"]["approximateArrivalTimestamp"] = self.now_ms / 1_000
        self.records.append(wire)
        place = position(1, number)
        self.ids[key, place] = event_id
        return place

    def deliver(self, at_most: int = 100, has_time: Callable[[], bool] = lambda: True) -> bool:
        """Deliver the next batch as the event source mapping does; True when it was taken in whole."""
        batch = self.records[self.checkpoint : self.checkpoint + at_most]
        if not batch:
            return True
        answer = self.dispatch(batch, has_time)
        if answer is None:
            return False
        failures = answer["batchItemFailures"]
        if failures:
            self.checkpoint = int(failures[0]["itemIdentifier"]) - 1
            return False
        self.checkpoint += len(batch)
        return True

    def dispatch(
        self, batch: list[dict[str, Any]], has_time: Callable[[], bool] = lambda: True
    ) -> dict[str, Any] | None:
        """Call the dispatcher; None when it died."""
        answer: dict[str, Any] | None = self._call(lambda: dispatch(self.platform, {"Records": batch}, has_time))
        return answer

    # Executions

    def live(self) -> list[Execution]:
        """Executions of runs that run."""
        return [one for one in self.states.executions if one.status == "RUNNING" and one.machine != REPLAY]

    def replaying(self) -> list[Execution]:
        """Executions of the replay workflow that run."""
        return [one for one in self.states.executions if one.status == "RUNNING" and one.machine == REPLAY]

    def step(self, execution: Execution, step: str) -> None:
        """Run one worker of an execution's fan-out, with the tries that the state machine grants."""
        for _ in range(2):
            outcome = self.work(execution, step)
            execution.answers[step] = outcome
            if outcome.get("error", {}).get("Error") != "StepFailed":
                return
            self.now_ms += 500

    def work(self, execution: Execution, step: str) -> dict[str, Any]:
        """Invoke a worker once; return its answer, or what the branch catches."""
        task = Task.from_payload({"step": step, "execution_id": execution.execution_id, **execution.input})
        began_at_ms = self.now_ms
        self.faults.revive()
        try:
            return work(
                self.bench,
                task,
                lambda: began_at_ms + WORKER_TIMEOUT_MS - self.now_ms,
                self.function_of(execution, began_at_ms),
            )
        except Hang:
            self.now_ms += 4_000
            error, cause = "States.Timeout", ""
        except (Killed, Vanish):
            error, cause = "Lambda.Unknown", ""
        except KeyturnError as raised:
            error, cause = type(raised).__name__, str(raised)
        return {"step": step, "execution_id": execution.execution_id, "error": {"Error": error, "Cause": cause}}

    def _function(self, execution: Execution, began_at_ms: int) -> Callable[[Event, StepContext], Any]:
        """Make a worker's function: it does what the event's data ask of this step."""

        def function(event: Event, step: StepContext) -> dict[str, str]:
            wanted = event.data.get(step.step, "")
            tries = sum(effect.idempotency_key == step.idempotency_key for effect in self.effects)
            hangs = wanted == "hang" or (wanted == "hang once" and tries == 0)
            vanishes = wanted == "vanish once" and tries == 0
            ended_by_ms = began_at_ms + WORKER_TIMEOUT_MS if hangs or vanishes else self.now_ms
            if step.step in self.outage:
                raise OSError("the provider is down")
            if wanted == "permanent":
                raise Permanent("no such card")
            self.effects.append(
                Effect(
                    step.key, execution.input["run"]["first"], step.position, event.id, step.step, step.fence,
                    step.idempotency_key, self.now_ms, ended_by_ms,
                )
            )  # fmt: skip
            if hangs:
                raise Hang
            if vanishes:
                raise Vanish
            if wanted == "fail" or (wanted == "fail once" and tries == 0):
                raise OSError("no answer from the provider")
            return {"did": step.step}

        return function

    def finish(self, execution: Execution) -> None:
        """Run the last state of an execution, tried twice at most; then it goes on with another run, or ends."""
        if execution.sequenced == 0:
            self._give_id(execution)
        payload = execution.payload
        execution.sequenced += 1
        done = self._call(lambda: json.loads(json.dumps(sequence(self.platform, payload))))
        if done is not None:
            execution.go_on(done)
        elif execution.sequenced == 2:
            self.fail(execution)

    def _give_id(self, execution: Execution) -> None:
        """Answers travel as JSON."""
        execution.answers = json.loads(json.dumps(execution.answers))

    def fail(self, execution: Execution, status: str = "FAILED") -> None:
        """End an execution without a finish; AWS tells of Standard ones."""
        execution.status = status

    def run(self, execution: Execution) -> None:
        """Run an execution from where it is to the end of its run."""
        for step in self.steps:
            if step not in execution.answers:
                self.step(execution, step)
        runs = len(execution.runs)
        while execution.status == "RUNNING" and len(execution.runs) == runs:
            self.finish(execution)

    # The watchdog

    def watch(self) -> Any:
        """Call the watchdog by its schedule."""
        return self.ask_watchdog({})

    def ask_watchdog(self, event: Mapping[str, Any]) -> Any:
        """Call the watchdog."""
        return self._call(lambda: watch_for(self.platform, event, lambda: True))

    def fill(self) -> None:
        """Have free slots given away, as a wake-up message does."""
        self.ask_watchdog({"Records": [{"messageId": "m", "body": json.dumps({"key": "", "at_ms": 0})}]})

    def status_change(self, execution: Execution) -> dict[str, Any]:
        """Return the EventBridge event of an execution that ended."""
        return {
            "detail-type": "Step Functions Execution Status Change",
            "detail": {
                "stateMachineArn": PREFIX + execution.machine,
                "name": execution.name,
                "status": execution.status,
                "input": json.dumps(execution.input),
            },
        }

    def wake(self, message: Message) -> None:
        """Deliver a message; SQS delivers it again when that fails."""
        self.messages.remove(message)
        answer = self.ask_watchdog({"Records": [{"messageId": "m", "body": message.body}]})
        if answer is None or answer["batchItemFailures"]:
            self.messages.append(replace(message, due_ms=self.now_ms + 1_000))

    def _call(self, invoke: Callable[[], Any]) -> Any:
        """Invoke a function in a process of its own; None when it died or raised."""
        self.faults.revive()
        try:
            return invoke()
        except (Killed, KeyturnError):
            return None
        finally:
            telemetry.metrics().clear_metrics()

    # Replays

    def ask(self, command: str, **subject: Any) -> dict[str, Any]:
        """Ask the operator function; empty when it died."""
        request = {"command": command, "by": "sam", "reason": "a test", **subject}
        return self._call(lambda: answer(self.platform, request)) or {}

    def slice_of(self, execution: Execution, pieces: int = 1_000) -> None:
        """Let the replay workflow call the replayer once, for so many pieces of work; a failed call comes again."""
        turns = iter(range(pieces))
        request = {"id": execution.input["id"], "turn": execution.input["turn"]}
        said = self._call(
            lambda: work_on_replay(self.platform, request, lambda: next(turns, None) is not None, SLICE_MS)
        )
        if said is None:
            self.pauses[execution.number] = self.now_ms + 1_000
            return
        execution.input["turn"] = said["turn"]
        self.pauses[execution.number] = self.now_ms + said["wait_s"] * 1_000
        if said["is_through"]:
            execution.status = "SUCCEEDED"

    def pass_time(self, seconds: float) -> None:
        """Let time pass that a function waits for."""
        self.now_ms += round(seconds * 1_000)

    def replay(self, **selection: Any) -> ReplayJob:
        """Plan and apply a replay, and wait until everything rests."""
        job_id = self.plan(**selection).id
        assert "refused" not in self.ask("replay-apply", id=job_id)
        self.settle()
        return self.job(job_id)

    def plan(self, **selection: Any) -> ReplayJob:
        """Plan a replay."""
        asked = self.ask("replay-plan", **selection)
        assert "id" in asked, asked
        self.settle()
        return self.job(asked["id"])

    def job(self, job_id: str) -> ReplayJob:
        """Return a replay as it stands."""
        self.faults.revive()
        found = self.platform.replays.load(job_id)
        assert found is not None
        return found

    def planned(self, job_id: str) -> dict[str, PlannedKey]:
        """Return what a replay is to do with each key, or did."""
        return {one.key: one for _, one in self.platform.replays.keys(job_id, "")}

    # Time

    def moves(self) -> list[Callable[[], None]]:
        """List what AWS could do next."""
        found: list[Callable[[], None]] = []
        if self.checkpoint < len(self.records):
            found.append(lambda: void(self.deliver(7)))
        for execution in self.live():
            found += self._moves_of(execution)
        found += [_bind(self.wake, message) for message in self.messages if message.due_ms <= self.now_ms]
        found += [
            _bind(self.slice_of, one) for one in self.replaying() if self.pauses.get(one.number, 0) <= self.now_ms
        ]
        for execution in self.states.executions:
            is_told = (
                execution.machine != REPLAY
                and execution.status in {"FAILED", "TIMED_OUT", "ABORTED"}
                and execution.is_standard
            )
            if is_told and execution.number not in self.reported:
                found.append(_bind(self._tell, execution))
        if self.now_ms >= self.next_pass_ms:
            found.append(self._pass)
        return found

    def _moves_of(self, execution: Execution) -> list[Callable[[], None]]:
        open_steps = [step for step in self.steps if step not in execution.answers]
        if open_steps:
            return [_bind(self.step, execution, step) for step in open_steps]
        return [_bind(self.finish, execution)]

    def _tell(self, execution: Execution) -> None:
        self.ask_watchdog(self.status_change(execution))
        self.reported.add(execution.number)

    def _pass(self) -> None:
        self.watch()
        self.next_pass_ms = self.now_ms + 60_000

    def go_on(self, s: float) -> None:
        """Let AWS do what it can for so long, first things first."""
        until_ms = self.now_ms + int(s * 1000)
        while self.now_ms < until_ms:
            found = self.moves()
            if found:
                found[0]()
            else:
                self.now_ms = min(until_ms, max(self.now_ms + 1, self._next_ms()))

    def settle(self, chance: random.Random | None = None, moves_max: int = 3_000) -> None:
        """Let AWS go on until every key rests; fails when one never does."""
        chance = chance or random.Random(0)  # noqa: S311 - reproducible, no secret
        for _ in range(moves_max):
            found = self.moves()
            self.faults.revive()
            if found:
                chance.choice(found)()
            elif self.is_settled():
                return
            else:
                self.now_ms = max(self.now_ms + 1, self._next_ms()) + chance.choice([0, 500, 5_000])
        raise AssertionError(f"keys never came to rest: {[s for s in self.key_states().values() if not rests(s)]}")

    def _next_ms(self) -> int:
        """When something happens next that nobody need wait for."""
        pauses = [self.pauses.get(one.number, 0) for one in self.replaying()]
        return min([self.next_pass_ms, *(message.due_ms for message in self.messages), *pauses])

    def is_settled(self) -> bool:
        """Whether every key is idle, or parked with nothing to divert, and nothing runs."""
        return not self.live() and not self.replaying() and all(rests(state) for state in self.key_states().values())

    # What came of it

    def items(self, prefix: str = "", sk: str = "") -> list[dict[str, Any]]:
        """Return the items of the table whose keys begin so."""
        found = [decode_item(raw) for raw in self._scanned()]
        return [one for one in found if one["pk"].startswith(prefix) and one["sk"].startswith(sk)]

    def _scanned(self) -> Iterator[dict[str, Any]]:
        page: dict[str, Any] = {"TableName": self.settings.state_table, "ConsistentRead": True}
        while True:
            answer = self.dynamodb.scan(**page)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            page["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def key_states(self) -> dict[str, KeyState]:
        """Return the state of each key."""
        self.faults.revive()
        return self.platform.keys.load_many({key for key, _ in self.ids})

    def state(self, key: str) -> KeyState:
        """Return a key's state."""
        return self.platform.keys.load(key)

    def check(self) -> None:
        """Hold the guarantees against what workers did and what the table holds."""
        states = self.key_states()
        for state in states.values():
            assert violations(state) == [], state
        for key in {key for key, _ in self.ids}:
            self._check_order(key)
        self._check_nothing_lost(states)
        self._check_once()

    def _check_order(self, key: str) -> None:
        """Allowed: 1 1 2; forbidden: 1 2 1, and 2 while 1 may still act. Within one run, per step and attempt.

        A replay that does finished steps again has a generation of its own.
        """
        effects = [effect for effect in self.effects if effect.key == key]
        for at, later in enumerate(effects):
            for earlier in effects[:at]:
                is_same = (earlier.step, earlier.fence) == (later.step, later.fence)
                is_same_pass = earlier.generation == later.generation
                assert not is_same_pass or earlier.run <= later.run, f"{key}: {later} came after {earlier}"
                assert not is_same or earlier.position <= later.position, f"{key}: {later} came after {earlier}"
        for at, later in enumerate(effects):
            for earlier in effects[:at]:
                is_same_attempt = earlier.fence == later.fence
                assert is_same_attempt or earlier.ended_by_ms <= later.began_at_ms, f"{earlier} overlaps {later}"

    def _check_nothing_lost(self, states: Mapping[str, KeyState]) -> None:
        items = self.items()
        quarantined = {item["sk"].partition("#")[2] for item in items if item["pk"].startswith("quarantine#")}
        duplicates = {
            (item["pk"], item["sk"].partition("#")[2]) for item in items if item["sk"].startswith("duplicate#")
        }
        dead = {(item["key"], item["position"]) for item in items if item["pk"].startswith("deadletter#")}
        for key, place in self.ids:
            done = {effect.step for effect in self.effects if (effect.key, effect.position) == (key, place)}
            is_behind = states[key].phase is Phase.PARKED and place > states[key].cursor
            is_accounted_for = (
                done == set(self.steps)
                or place in quarantined
                or (f"key#{key}", place) in duplicates
                or (key, place) in dead
                or is_behind
            )
            assert is_accounted_for, f"{key}: {place} is lost; {states[key]}"

    def _check_once(self) -> None:
        """However often an effect is tried, its idempotency key tells the provider that it is the same one."""
        for effect in self.effects:
            same = [one for one in self.effects if one.idempotency_key == effect.idempotency_key]
            assert {(one.position, one.step) for one in same} == {(effect.position, effect.step)}
        per_event: dict[tuple[str, str, int], set[str]] = {}
        for effect in self.effects:
            per_event.setdefault((effect.event_id, effect.step, effect.generation), set()).add(effect.idempotency_key)
        assert all(len(names) == 1 for names in per_event.values()), "an event had an effect under two names"


def rests(state: KeyState) -> bool:
    """Whether nothing more is to be done for a key."""
    if state.parked is not None:
        return not (state.parked.diverts and state.has_pending)
    return state.phase is Phase.IDLE


def void(_value: object) -> None:
    """Drop a value."""


def _bind(call: Callable[..., None], *arguments: Any) -> Callable[[], None]:
    return lambda: call(*arguments)


@contextmanager
def moto() -> Iterator[None]:
    """Turn moto on, and make worlds on it."""
    made_before = World.make_services
    World.make_services = staticmethod(on_moto)
    try:
        with mock_aws():
            yield
    finally:
        World.make_services = staticmethod(made_before)
