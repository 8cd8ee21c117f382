"""The six invariants of the design, after every step of random interleavings with lost answers, zombies and crashes."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keyturn.core import commands as ask
from keyturn.core.route import Exhaustion, Kind
from keyturn.core.run_header import RunHeader
from keyturn.core.state import KeyState, Phase, violations
from keyturn.core.task import Permission, Task, TaskEvent, permission
from tests.core.world import RULES, SKEW_MS, WORKER_TIMEOUT_MS, Effect, Execution, World, route

KEYS = ("a", "b", "c")
keys = st.sampled_from(KEYS)
chance = st.booleans()
skews = st.integers(-SKEW_MS, SKEW_MS)


def task_of(execution: Execution, world: World) -> Task:
    """Make the task that an execution hands to a worker."""
    run = execution.run
    places = [p for p in world.keys[execution.key].log if run.slice.first <= p <= run.slice.last]
    header = RunHeader(
        key=execution.key, fence=execution.fence, attempt=run.attempt, generation=0, route="sample",
        first=run.slice.first, count=run.slice.count, deadline_ms=run.deadline_ms, flow_id="f", arrived_at_ms=1,
        is_personal=False,
    )  # fmt: skip
    return Task("step", execution.execution_id, header, [TaskEvent(p, "f", {}) for p in places], {})


class Protocol(RuleBasedStateMachine):
    """Producers, dispatchers, executions, workers, a watchdog and a clock, in any order."""

    world: World
    stale: dict[str, KeyState]

    @initialize(exhaustion=st.sampled_from(Exhaustion), kind=st.sampled_from(Kind), batch=st.sampled_from([1, 3]))
    def begin(self, exhaustion: Exhaustion, kind: Kind, batch: int) -> None:
        self.world = World(KEYS, route(exhaustion, kind, batch))
        self.stale = {}

    @rule(key=keys, has_slot=chance, loses_actions=chance)
    def an_event_arrives(self, key: str, has_slot: bool, loses_actions: bool) -> None:
        self.world.produce(key)
        self.world.admit(key, has_slot=has_slot, loses_actions=loses_actions)

    @rule(key=keys)
    def a_dispatcher_dies_between_log_and_admit(self, key: str) -> None:
        self.world.produce(key)

    @rule(key=keys, has_slot=chance)
    def a_batch_is_redelivered(self, key: str, has_slot: bool) -> None:
        self.world.admit(key, has_slot=has_slot, is_redelivery=True)

    @rule(key=keys)
    def somebody_loads_a_key_and_pauses(self, key: str) -> None:
        self.stale[key] = self.world.keys[key].state

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), has_slot=chance)
    def the_paused_one_goes_on(self, data: st.DataObject, has_slot: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.stale)))
        self.world.admit(key, has_slot=has_slot, stale=self.stale.pop(key))

    @rule(key=keys, has_slot=chance, loses_actions=chance)
    def a_waiting_key_is_woken(self, key: str, has_slot: bool, loses_actions: bool) -> None:
        self.world.claim(key, has_slot=has_slot, loses_actions=loses_actions)

    @precondition(lambda self: self.world.executions)
    @rule(data=st.data(), skew=skews)
    def a_worker_begins(self, data: st.DataObject, skew: int) -> None:
        world = self.world
        execution = data.draw(st.sampled_from(world.executions))
        if not execution.has_finished:
            self.begin_worker(execution, skew)

    def begin_worker(self, execution: Execution, skew: int) -> None:
        world = self.world
        task = task_of(execution, world)
        state = world.keys[execution.key].state
        ends_by_ms = world.now_ms + skew + WORKER_TIMEOUT_MS
        granted = permission(state, task, ends_by_ms, RULES.clock_margin_ms)
        if granted is Permission.AFTER_BINDING:
            world.apply(execution.key, ask.Bind(execution.fence, execution.execution_id))
            granted = Permission.GRANTED
        if granted is not Permission.GRANTED:
            return
        self.check_order(execution)
        for event in task.events:
            effect = Effect(execution.key, event.position, execution.fence, world.now_ms + WORKER_TIMEOUT_MS)
            execution.effects.append(effect)
            world.effects.append(effect)

    def check_order(self, execution: Execution) -> None:
        """Invariants 1 and 4, at the moment a step begins."""
        world, key = self.world, execution.key
        held = world.keys[key]
        state = held.state
        assert state.phase is Phase.RUNNING
        assert state.run is not None
        assert state.run.execution_id == execution.execution_id, "a step began in an execution that isn't the bound one"
        earlier = [p for p in held.log if p < execution.run.slice.first and p <= state.tail]
        unfinished = [p for p in earlier if p not in held.succeeded and p not in held.dead]
        assert not unfinished, f"a step of {execution.run.slice.first} began while {unfinished} are unfinished"
        zombies = [
            effect for effect in world.effects
            if effect.key == key and effect.fence < execution.fence and effect.may_act_at(world.now_ms)
        ]  # fmt: skip
        assert not zombies, f"a step began while {zombies} may still act"

    @precondition(lambda self: any(not effect.has_ended for effect in self.world.effects))
    @rule(data=st.data())
    def a_worker_ends(self, data: st.DataObject) -> None:
        open_effects = [effect for effect in self.world.effects if not effect.has_ended]
        data.draw(st.sampled_from(open_effects)).has_ended = True

    @precondition(lambda self: self.world.executions)
    @rule(data=st.data(), loses_actions=chance, fails=chance, permanent=chance, has_slot=chance, skew=skews)
    def an_execution_reports(
        self, data: st.DataObject, loses_actions: bool, fails: bool, permanent: bool, has_slot: bool, skew: int
    ) -> None:
        """Also of one that has reported before: the sequencer is called twice now and then."""
        execution = data.draw(st.sampled_from(self.world.executions))
        self.report(
            execution, fails=fails, permanent=permanent, has_slot=has_slot, loses_actions=loses_actions, skew=skew
        )

    def report(
        self, execution: Execution, *, fails: bool, permanent: bool, has_slot: bool, loses_actions: bool, skew: int
    ) -> None:
        world = self.world
        began = bool(execution.effects)
        is_clean = all(effect.has_ended for effect in execution.effects)
        if not began and not fails:
            return  # refused: it ends without a finish
        has_succeeded = began and is_clean and not fails
        ending = ask.Ending(
            ask.Outcome.SUCCEEDED if has_succeeded else ask.Outcome.FAILED, is_clean, permanent and fails, "because"
        )
        state = world.keys[execution.key].state
        is_ours = state.phase is Phase.RUNNING and state.fence == execution.fence
        following = world.next_after_run(state, has_slot=has_slot) if is_ours else None
        finish = ask.Finish(execution.fence, execution.execution_id, ending, world.route, following)
        world.apply(execution.key, finish, loses_actions=loses_actions, skew_ms=skew)
        execution.has_finished = True

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), permanent=chance)
    def an_execution_that_is_not_the_bound_one_reports(self, data: st.DataObject, permanent: bool) -> None:
        """A zombie of an earlier attempt, or the twin that a doubled Express start made: chance alone seldom meets it
        while the other is inside a step."""
        key = data.draw(st.sampled_from(self.busy()))
        state = self.world.keys[key].state
        assert state.run is not None
        strangers = [e for e in self.world.executions if e.key == key and e.fence < state.fence]
        if state.run.kind is Kind.EXPRESS:
            name = state.run.execution_name
            strangers.append(Execution(key, state.run, state.fence, f"{name}/twin"))
        for stranger in strangers[-2:]:
            self.report(stranger, fails=True, permanent=permanent, has_slot=True, loses_actions=False, skew=0)
            is_told_apart = stranger.fence < state.fence or state.run.execution_id is not None
            assert not is_told_apart or self.world.keys[key].state == state, "invariant 4: a stranger ended an attempt"

    def busy(self) -> list[str]:
        """Keys whose run is claimed."""
        return [key for key, held in self.world.keys.items() if held.state.phase is Phase.RUNNING]

    @rule(key=keys, evidence=st.sampled_from(ask.Evidence), has_slot=chance, loses_actions=chance)
    def the_watchdog_looks(self, key: str, evidence: ask.Evidence, has_slot: bool, loses_actions: bool) -> None:
        self.world.expire(key, evidence, has_slot=has_slot, loses_actions=loses_actions)

    @rule(ms=st.sampled_from([1, 500, 1_000, 3_000, 5_000, 21_000]))
    def time_passes(self, ms: int) -> None:
        self.world.now_ms += ms

    @invariant()
    def states_are_consistent_and_nothing_is_lost(self) -> None:
        """Invariants 2, 3 and 5."""
        for held in getattr(self, "world", World((), route())).keys.values():
            state = held.state
            assert violations(state) == []
            behind = {p for p in held.log if p <= state.cursor}
            assert behind <= held.succeeded | held.dead, "an event behind the cursor was neither done nor given up"
            assert state.admitted == len([p for p in held.log if p <= state.tail]), "an event was not admitted once"
            assert state.finished == len(behind)

    def teardown(self) -> None:
        """Liveness: once faults stop, every key drains or is parked with a reason."""
        world = getattr(self, "world", None)
        if world is None:
            return
        for _ in range(200):
            for key, held in world.keys.items():
                world.admit(key, has_slot=True, is_redelivery=True)
                world.divert(key)
                world.claim(key, has_slot=True)
                if held.state.run is not None and world.now_ms >= held.state.run.deadline_ms:
                    world.expire(key, ask.Evidence.HUNG, has_slot=True)
            for execution in [e for e in world.executions if not e.has_finished]:
                self.begin_worker(execution, 0)
                for effect in execution.effects:
                    effect.has_ended = True
                self.report(execution, fails=False, permanent=False, has_slot=True, loses_actions=False, skew=0)
            if world.is_settled():
                return
            world.now_ms += 1_000
        raise AssertionError(f"keys never settled: {[held.state for held in world.keys.values()]}")


Protocol.TestCase.settings = settings(
    max_examples=400, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestProtocol = Protocol.TestCase
