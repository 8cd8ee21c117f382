"""One simulation: a whole stack in virtual time, everything in it decided by its scenario's seed.

The shell's own functions run here, as their handlers call them, with models of AWS behind their clients. Faults come
first; once they have stopped, everything must come to rest by itself; then operators relieve what they held or what is
parked, and every key must drain.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from keyturn.adapters.keys import decode_state, key_of
from keyturn.adapters.rollouts import ROLLOUT, decode_rollout
from keyturn.adapters.steps import RESULT, decode_results
from keyturn.adapters.table import decode_item
from keyturn.core.event import Event
from keyturn.core.replay_job import JobState
from keyturn.core.route import Exhaustion, Kind, Routes, parse_routes
from keyturn.core.state import KeyState, Phase, WaitsFor
from keyturn.core.step_context import StepContext
from keyturn.core.task import Task
from keyturn.errors import Permanent, StepFailed, StoreError
from keyturn.shell.dispatch import dispatch
from keyturn.shell.operator_requests import answer
from keyturn.shell.platform import Platform
from keyturn.shell.replay_work import work_on_replay
from keyturn.shell.sequence import sequence
from keyturn.shell.sweep import sweep
from keyturn.shell.watch_sources import watch_for
from keyturn.shell.work import Workbench, work
from tests.models.dynamodb import DynamoDB, Nature, Place
from tests.models.expressions import Item
from tests.models.s3 import S3
from tests.shell.world import ROUTE, SETTINGS, rests, routes
from tests.simulator.history import Effect, History, Put, Saved
from tests.simulator.hub import Hub, owner
from tests.simulator.lambdas import Answer, Calls, Client, Failure, Invocation, Lambdas, process_of
from tests.simulator.scenario import KINDS, Asked, Doing, Order, Record, Scenario, Trouble
from tests.simulator.stream import Record as Taken
from tests.simulator.stream import Stream
from tests.simulator.workflows import PREFIX, STEPS, TIMES, Execution, Times, Workflows

START_MS: Final = 1_700_000_000_000
WORKER_TIMEOUT_MS: Final = 3_000
_PASS_EVERY_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
_WHILE_MS: Final = 20_000
"""How long a trouble lasts that lasts for a while."""
_REST_WITHIN_MS: Final = 3 * 3_600_000
"""Once faults have stopped, everything rests within this, or never will."""
_ROUTES: Final = {tempo: routes(run_timeout_s=times.run_ms // 1_000) for tempo, times in TIMES.items()}


class NeverRests(Exception):
    """Faults have stopped, and something is still not done."""


class Watched(DynamoDB):
    """The state table, which tells of every write."""

    on_write: Any = None

    def _write(self, place: Place, item: Item | None) -> None:
        old = self._standing(place)
        super()._write(place, item)
        self.on_write(place, old, item)


class Simulation:
    """A stack, and the world around it."""

    def __init__(self, scenario: Scenario) -> None:
        """Build everything; nothing happens yet."""
        self.scenario = scenario
        self.chance = random.Random(scenario.seed ^ 0x5EED)  # noqa: S311 - reproducible, no secret
        self.hub = Hub(self.chance, START_MS)
        self.history = History()
        self.settings = replace(
            SETTINGS,
            state_table="state",
            wake_queue_url="queue",
            max_in_flight_runs=scenario.slots,
            slot_quantum_runs=scenario.quantum,
            slot_quantum_ms=60_000,
        )
        self.table = Watched(lambda: self.hub.now_ms, self._nature(), checks_limits=False)
        self.table.on_write = self._on_write
        self.lambdas = Lambdas(self.hub, scenario.skews_ms)
        times = TIMES[scenario.tempo]
        self.workflows = Workflows(self.hub, self.lambdas, times, self._on_end, self._late_ms, self._tell)
        self.routes = _ROUTES[scenario.tempo]
        self.stream = Stream(
            self.hub, self.lambdas, scenario.batch, scenario.parallel, self._on_acknowledged, self._tell
        )
        self.calls = Calls(self.hub, scenario.struck, self._tell)
        self._doings: dict[str, Doing] = {}
        self._tries: dict[tuple[str, str], int] = {}
        self._is_calm = self._is_repaired = False
        self._no_watchdog_until_ms = self._lost_until_ms = 0
        self._wakes = 0
        self._once_parked: dict[str, Asked] = {}
        self._operating = 0
        self.s3 = S3()
        self.s3.create_bucket(Bucket=self.settings.payload_bucket)
        services = {
            "dynamodb": self.table,
            "s3": self.s3,
            "sqs": self,
            "stepfunctions": self.workflows,
            "kinesis": self.stream,
        }
        self._clients = {name: Client(self.calls, service) for name, service in services.items()}
        self._deploy()

    def _nature(self) -> Nature:
        chance, lag_ms, partial_ = self.chance, self.scenario.index_lag_ms, self.scenario.partial
        return Nature(
            lag_ms=lambda: chance.randrange(lag_ms) if lag_ms and not self._is_calm else 0,
            done_of=lambda size: chance.randint(0, size) if partial_ and chance.random() < partial_ else size,
            page_items=lambda: chance.choice((1, 2)) if partial_ and chance.random() < partial_ else 1_000_000,
        )

    def _deploy(self) -> None:
        deploy = self.lambdas.deploy
        deploy("dispatcher", 60_000, lambda call, event: dispatch(self._platform(call), event, call.has_time(5_000)))
        deploy("sequencer", 10_000, lambda call, event: sequence(self._platform(call), event))
        deploy("watchdog", 50_000, lambda call, event: watch_for(self._platform(call), event, call.has_time(12_000)))
        deploy("operator", 60_000, lambda call, event: answer(self._platform(call), event))
        deploy("sweeper", 900_000, lambda call, _event: sweep(self._platform(call), call.has_time(5_000)))
        deploy("replayer", 30_000, self._replayer)
        deploy("worker", WORKER_TIMEOUT_MS, self._worker)

    def _platform(self, call: Invocation) -> Platform:
        memory = call.environment.memory
        if memory is None or memory.routes is not self.routes:
            process = process_of(call, self.hub)
            call.environment.memory = Platform.build(self.settings, self.routes, self._clients.__getitem__, process)
        platform: Platform = call.environment.memory
        return platform

    def _replayer(self, call: Invocation, event: Mapping[str, Any]) -> dict[str, Any]:
        return work_on_replay(self._platform(call), event, call.has_time(5_000), call.remaining_ms())

    # Workers

    def _worker(self, call: Invocation, payload: Mapping[str, Any]) -> dict[str, Any]:
        if call.environment.memory is None:
            process = process_of(call, self.hub)
            call.environment.memory = Workbench.build(self.settings, self._clients.__getitem__, process)
        task = Task.from_payload(payload)
        try:
            answered = work(call.environment.memory, task, call.remaining_ms, partial(self._do, call, task))
        except StepFailed as error:
            if not isinstance(error.__cause__, StoreError):
                self.history.answered.add(call.number)
            raise
        self.history.answered.add(call.number)
        return answered

    def _do(self, call: Invocation, task: Task, event: Event, step: StepContext) -> dict[str, str]:
        """Do a step for an event, as its producer wanted it done."""
        doing = self._doings.get(event.id, Doing.WELL) if step.step == "inventory" else Doing.WELL
        tries = self._count(event.id, step.step)
        if self.scenario.is_bad and task.header.release == 2 and not self._is_repaired:
            doing = Doing.FAILS
        elif self._is_repaired or (doing.value.endswith("once") and tries > 1):
            doing = Doing.WELL
        if doing is Doing.PERMANENT:
            raise Permanent("no such card")
        self._effect(call, task, event, step, is_end=False)
        took_ms = self.chance.randrange(20, 400)
        match doing:
            case Doing.HANGS | Doing.HANGS_ONCE:
                took_ms = 2 * WORKER_TIMEOUT_MS
            case Doing.SLOW | Doing.LATE_ONCE | Doing.LATE:
                took_ms = max(1, call.remaining_ms() - 150)
            case Doing.KILLED_ONCE:
                self.hub.after(took_ms // 2, lambda: call.end(Answer(error=Failure.CRASHED), dies=True))
            case _:
                pass
        self.hub.pause(took_ms)
        if doing in {Doing.FAILS, Doing.FAILS_ONCE}:
            raise OSError("no answer from the provider")
        self._effect(call, task, event, step, is_end=True)
        return {"did": f"{step.step} of {event.id}"}

    def _count(self, event_id: str, step: str) -> int:
        tries = self._tries.get((event_id, step), 0) + 1
        self._tries[event_id, step] = tries
        return tries

    def _effect(self, call: Invocation, task: Task, event: Event, step: StepContext, *, is_end: bool) -> None:
        self.history.facts.append(
            Effect(
                self.hub.now_ms, step.key, step.position, event.id, step.step, step.fence, step.idempotency_key,
                is_end, task.execution_id, call.number,
            )
        )  # fmt: skip

    def _late_ms(self, step: str, execution: Execution) -> int:
        """Have the Lambda of a step begin when its task has timed out, or is about to."""
        if step != "inventory" or self._is_repaired:
            return 0
        for entry in execution.at["events"]:
            event_id = entry.get("event", {}).get("id", "")
            doing = self._doings.get(event_id)
            is_first = doing is Doing.LATE_ONCE and not self._tries.get((event_id, step))
            if is_first or (doing is Doing.LATE and self.chance.random() < 0.6):
                task_ms = self.workflows.times.task_ms
                return self.chance.randrange(task_ms - 2_500, task_ms + 2_000)
        return 0

    # The world around

    def send_message(self, **call: Any) -> dict[str, Any]:
        """Take a wake-up message of the watchdog's queue."""
        if self.hub.now_ms >= self._lost_until_ms:
            self._wakes += 1
            self.hub.after(call["DelaySeconds"] * 1_000 + self.chance.randrange(300), lambda: self._wake(call, 1))
        return {}

    def _wake(self, call: Mapping[str, Any], receives: int) -> None:
        def hear(answered: Answer) -> None:
            if (answered.error or answered.value["batchItemFailures"]) and receives < 5:
                self.hub.after(60_000, lambda: self._wake(call, receives + 1))
            else:
                self._wakes -= 1

        record = {"messageId": "m", "body": call["MessageBody"]}
        self.lambdas.invoke("watchdog", {"Records": [record]}, hear)

    def _pass(self) -> None:
        if self.hub.now_ms >= self._no_watchdog_until_ms:
            self.lambdas.invoke("watchdog", {}, lambda _answer: None)
        self.hub.after(_PASS_EVERY_MS, self._pass)

    def _on_end(self, execution: Execution) -> None:
        """AWS tells of a Standard execution that failed, timed out or was aborted."""
        self._tell(f"{execution.name}: {execution.status}")
        detail = {
            "stateMachineArn": PREFIX + execution.machine,
            "name": execution.name,
            "status": execution.status,
            "input": json.dumps(execution.input),
        }
        event = {"detail-type": "Step Functions Execution Status Change", "detail": detail}
        if self.hub.now_ms >= self._lost_until_ms:
            self.hub.after(
                self.chance.randrange(100, 1_500),
                lambda: self.lambdas.invoke("watchdog", event, lambda _answer: None),
            )

    def _put(self, number: int, record: Record) -> None:
        event_id = f"e{number}"
        self._doings[event_id] = record.doing
        event = {"specversion": "1.0", "id": event_id, "source": "/test", "type": record.kind, "data": {}}
        data = json.dumps(event).encode() if record.kind else b"{no JSON"
        self._take(record.key, data, event_id if record.kind else "")
        if record.sends_again:
            self.hub.after(self.chance.randrange(1, 8_000), lambda: self._take(record.key, data, event_id))

    def _take(self, key: str, data: bytes, event_id: str) -> None:
        taken = self.stream.put(key, data)
        self.history.facts.append(Put(self.hub.now_ms, key, taken.place[1], event_id))

    def _on_acknowledged(self, record: Taken) -> None:
        key, place = record.place
        partition = self.table.partitions.get(f"key#{key}")
        is_in_log = partition is not None and f"event#{place}" in partition.items
        is_elsewhere = (key, place) in self.history.duplicates or place in self.history.quarantined
        if not is_in_log and not is_elsewhere:
            self.history.broken.append(f"nothing lost: record {record.number} of {key} was acknowledged and is nowhere")
        self.history.acknowledged.add((key, place))

    def _trouble(self, trouble: Trouble) -> None:
        self._tell(trouble.value)
        until_ms = self.hub.now_ms + _WHILE_MS
        match trouble:
            case Trouble.NO_WATCHDOG:
                self._no_watchdog_until_ms = self.hub.now_ms + 3_600_000
            case Trouble.LOST_MESSAGES:
                self._lost_until_ms = until_ms
            case Trouble.NO_INVOKES:
                self.lambdas.throttled_until_ms = until_ms
            case Trouble.DEPLOYED:
                self.routes = _other_routes(self.chance, self.workflows.times)
            case _:
                self._trouble_workflows(trouble, until_ms)

    def _trouble_workflows(self, trouble: Trouble, until_ms: int) -> None:
        match trouble:
            case Trouble.ABORTED:
                self.workflows.abort_one()
            case Trouble.LOST:
                self.workflows.lose_one()
            case Trouble.STARTED_TWICE:
                self.workflows.doubled_until_ms = until_ms
            case Trouble.THROTTLED_STARTS:
                self.workflows.throttled_until_ms = until_ms
            case Trouble.LOST_ANSWERS:
                self.workflows.unheard_until_ms = until_ms
            case Trouble.CALLED_AGAIN:
                self.workflows.called_again_until_ms = until_ms
            case _:
                self._trouble_stream(trouble)

    def _trouble_stream(self, trouble: Trouble) -> None:
        match trouble:
            case Trouble.DELIVERED_TWICE:
                self.stream.twice += 1
            case Trouble.OVERLAPPING:
                self.stream.overlapping += 1
            case Trouble.SET_ASIDE:
                self.stream.to_set_aside += 1
            case Trouble.RESHARD:
                self.stream.reshard()
            case Trouble.FROM_THE_START:
                self.stream.read_from_the_start()
            case _:
                assert trouble is Trouble.A_YEAR, trouble  # at the end, see `run`

    # Operators

    def _ask(self, asked: Asked) -> None:
        self._operating += 1
        self.hub.spawn(partial(self._operate, asked))

    def _operate(self, asked: Asked) -> None:
        self._tell(f"{asked.key}: {asked.order.value}" if asked.key else asked.order.value)
        match asked.order:
            case Order.HOLD | Order.RELEASE | Order.SKIP | Order.RESUME:
                self._request(command=asked.order.value, key=asked.key)
            case Order.RESUME_FRESH:
                self._request(command="resume", key=asked.key, is_fresh=True)
            case Order.HOLD_ROUTE | Order.RELEASE_ROUTE:
                self._request(command=asked.order.value, route="standard")
            case Order.REPLAY | Order.REPLAY_FRESH:
                self._replay(asked.key, is_new_generation=asked.order is Order.REPLAY_FRESH)
            case Order.CANARY:
                self._request(command=asked.order.value, number=2, share=5_000, ended_min=3)
            case Order.PROMOTE | Order.ROLL_BACK:
                self._request(command=asked.order.value)
            case Order.CANCEL:
                for job in sorted(self._jobs()):
                    self._request(command="replay-cancel", id=job)
        self._operating -= 1

    def _publish(self) -> None:
        """Publish two releases, as `keyturn release publish` does."""
        for number in (1, 2):
            self._request(command="release-begin")
            machines = {f"order-{kind}": f"{PREFIX}order-{kind}:{number}" for kind in Kind}
            workers = {step: f"arn:{step}:{number}" for step in STEPS}
            self._request(command="release-publish", number=number, machines=machines, workers=workers)
        self._operating -= 1

    def _replay(self, key: str, *, is_new_generation: bool) -> None:
        planned = self._request(command="replay-plan", keys=[key], is_new_generation=is_new_generation)
        while planned and self._jobs().get(planned.get("id", "")) == JobState.PLANNING:
            self.hub.pause(1_000)
        if planned and "id" in planned:
            self._request(command="replay-apply", id=planned["id"])

    def _request(self, **request: Any) -> dict[str, Any]:
        """Invoke the operator function and wait; empty when it failed."""
        answers: list[Answer] = []
        self.lambdas.invoke("operator", request | {"by": "sam", "reason": "a test"}, answers.append)
        while not answers:
            self.hub.pause(20)
        return answers[0].value or {}

    def _jobs(self) -> dict[str, str]:
        """Return the state of each replay."""
        return {
            pk.partition("#")[2]: partition.items["job"]["state"]["S"]
            for pk, partition in self.table.partitions.items()
            if pk.startswith("replay#") and "job" in partition.items
        }

    @property
    def was_set_aside(self) -> bool:
        """Whether the stream's reader set a record aside."""
        return self.stream.has_set_aside

    def rolled_back(self) -> tuple[int, ...]:
        """Return the releases that were rolled back."""
        controls = self.table.partitions.get("control")
        rollout = controls.items.get(ROLLOUT) if controls else None
        return decode_rollout(decode_item(rollout)).rolled_back if rollout else ()

    # The table

    def _on_write(self, place: Place, old: Item | None, new: Item | None) -> None:
        pk, sk = place
        if sk == "state" and pk.startswith("key#") and new is not None:
            state = decode_state(key_of(pk), decode_item(new))
            log = tuple(name[6:] for name in self.table.partitions[pk].sort_keys if name.startswith("event#"))
            self.history.facts.append(Saved(self.hub.now_ms, state, log, *_finisher(state.key)))
            if state.parked is not None and state.key in self._once_parked:
                asked = self._once_parked.pop(state.key)
                self._operating += 1
                self.hub.after(asked.at_ms, partial(self.hub.spawn, partial(self._operate, asked)))
        elif pk.startswith("deadletter#") and new is not None:
            self.history.dead.add((new["key"]["S"], new["position"]["S"]))
        elif sk.startswith(RESULT) and new is not None:
            stored = decode_results(decode_item(new))
            for one in stored.results:
                name = f"{key_of(pk)}#{one.position}#{stored.generation}#{stored.step}"
                self.history.stored.setdefault(name, self.hub.now_ms)
        elif sk.startswith("duplicate#") and new is not None:
            self.history.duplicates.add((key_of(pk), sk.partition("#")[2]))
        elif pk.startswith("quarantine#") and new is not None and old is None:
            self.history.quarantined[sk.partition("#")[2]] = new["reason"]["S"]
        elif sk.startswith("event#") and old is not None:
            self._check_log(pk, sk, old, new)

    def _check_log(self, pk: str, sk: str, old: Item, new: Item | None) -> None:
        """Replay moves the cursor, never the log; and nothing that is unfinished expires."""
        if new is not None:
            kept = [{name: one for name, one in item.items() if name not in _MAY_CHANGE} for item in (old, new)]
            if kept[0] != kept[1]:
                self.history.broken.append(f"the log stays: {pk} {sk} was rewritten")
            return
        state = self.states().get(key_of(pk))
        if state is not None and _is_unfinished(state, sk[6:]):
            self.history.broken.append(f"nothing lost: {pk} {sk} expired before it was finished")

    def states(self) -> dict[str, KeyState]:
        """Return the state of each key."""
        return {
            key_of(pk): decode_state(key_of(pk), decode_item(partition.items["state"]))
            for pk, partition in self.table.partitions.items()
            if pk.startswith("key#") and "state" in partition.items
        }

    def _tell(self, text: str) -> None:
        self.history.tell(self.hub.now_ms, text)

    # From the beginning to the end

    def run(self) -> History:
        """Let everything happen; raises NeverRests when it doesn't end."""
        scenario = self.scenario
        self.stream.open(scenario.shards)
        if scenario.has_releases:
            self._operating += 1
            self.hub.spawn(self._publish)
            while self._operating:
                self.hub.step()
        began_ms = self.hub.now_ms
        for number, record in enumerate(scenario.records):
            self.hub.after(record.at_ms, partial(self._put, number, record))
        for happening in scenario.happenings:
            self.hub.after(happening.at_ms, partial(self._trouble, happening.trouble))
        for asked in scenario.asked:
            if asked.once_parked:
                self._once_parked[asked.key] = asked
            else:
                self.hub.after(asked.at_ms, partial(self._ask, asked))
        self.hub.after(self.chance.randrange(_PASS_EVERY_MS), self._pass)
        times = [record.at_ms for record in scenario.records] + [one.at_ms for one in scenario.happenings]
        last_ms = max([*times, *(asked.at_ms for asked in scenario.asked)], default=0)
        self._until(began_ms + last_ms + _WHILE_MS)
        self._settle()
        if any(happening.trouble is Trouble.A_YEAR for happening in scenario.happenings):
            self._half_a_year()
        self._relieve()
        return self.history

    def _until(self, at_ms: int) -> None:
        self.hub.after(at_ms - self.hub.now_ms, lambda: None)
        while self.hub.now_ms < at_ms:
            self.hub.step()

    def _settle(self) -> None:
        """Let what goes on by itself go on, until nothing does."""
        until_ms = max(self.hub.now_ms, self._no_watchdog_until_ms) + _REST_WITHIN_MS
        while not self._is_settled():
            if self.hub.now_ms > until_ms:
                raise NeverRests(", ".join(self._restless()) or "something is under way for hours")
            self._until(self.hub.now_ms + 5_000)

    def _is_settled(self) -> bool:
        is_quiet = not self._operating and self.lambdas.under_way == 0 and self._wakes == 0
        return is_quiet and self.stream.is_drained and not self._restless() and not self._is_executing()

    def _is_executing(self) -> bool:
        """Whether an execution runs; a replay may for as long as some key waits to be released."""
        waits = any(state.waits_for is WaitsFor.RELEASE for state in self.states().values())
        return any(not execution.is_replay or not waits for execution in self.workflows.running)

    def _restless(self) -> list[str]:
        return [f"{key} is {state.phase}" for key, state in self.states().items() if not _may_rest(state)]

    def _half_a_year(self) -> None:
        """Let half a year pass, with a sweep each day; what has expired is deleted."""
        for _ in range(182):
            self.hub.leap(_DAY_MS)
            answers: list[Answer] = []
            self.lambdas.invoke("sweeper", {}, answers.append)
            while not answers:
                self.hub.step()
            self.table.expire(self.hub.now_ms)
        self._settle()

    def _relieve(self) -> None:
        """Release and resume whatever is held or parked, until every key is idle; providers are back now."""
        self._is_calm = self._is_repaired = True
        for _ in range(20):
            states = self.states()
            for job, stands in self._jobs().items():
                if stands == JobState.PLANNED:
                    self._ask_all(command="replay-cancel", id=job)
            self._ask_all(command="release-route", route="standard")
            for key, state in states.items():
                if state.hold is not None:
                    self._ask_all(command="release-key", key=key)
                if state.phase is Phase.PARKED:
                    self._ask_all(command=self.chance.choice(("resume", "skip")), key=key)
            self._settle()
            if all(state.phase is Phase.IDLE for state in self.states().values()):
                return
        raise NeverRests("keys were resumed and skipped twenty times, and never drained")

    def _ask_all(self, **request: Any) -> None:
        self._operating += 1

        def operate() -> None:
            self._request(**request)
            self._operating -= 1

        self.hub.spawn(operate)


def _other_routes(chance: random.Random, times: Times) -> Routes:
    """Return routes of the same event types, each with another kind, batch, attempts and policy."""
    return parse_routes(
        {
            "routes": [
                {
                    **ROUTE,
                    "name": kind,
                    "type": kind,
                    "run_timeout_s": times.run_ms // 1_000,
                    "kind": chance.choice([*Kind]).value,
                    "batch": {"events": chance.choice((1, 2, 3, 5)), "bytes": 180_000},
                    "max_attempts": chance.choice((1, 2, 3)),
                    "on_exhaustion": chance.choice([*Exhaustion]).value,
                }
                for kind in dict.fromkeys(KINDS)
            ]
        }
    )


def _is_unfinished(state: KeyState, place: str) -> bool:
    """Whether an event is yet to be run, for the first time or by a replay. What a replay goes past is done."""
    replay = state.replay
    behind = state.cursor if replay is None or replay.is_noted else replay.resume_at
    is_replayed = replay is not None and any(span.first <= place <= span.last for span in replay.spans)
    return place > behind or is_replayed


def _finisher(key: str) -> tuple[int, str]:
    """Return the attempt and the execution whose sequencer is writing a key, if one of its own is."""
    call = owner()
    if not isinstance(call, Invocation) or call.function.name != "sequencer" or call.event["run"]["key"] != key:
        return 0, ""
    executions = [step["execution_id"] for step in call.event["steps"] if isinstance(step, dict)]
    return call.event["run"]["fence"], executions[0] if executions else ""


_MAY_CHANGE: Final = frozenset({"expires_at", "admitted_at_ms"})


def _may_rest(state: KeyState) -> bool:
    """Whether nothing goes on by itself: idle, parked, or waiting for somebody to release it."""
    return rests(state) or state.waits_for is WaitsFor.RELEASE
