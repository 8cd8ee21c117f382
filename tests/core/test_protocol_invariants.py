"""The six invariants of the design, after every step of random interleavings with lost answers, zombies and crashes."""

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keyturn.core import commands as ask
from keyturn.core.draining import DrainingExecution
from keyturn.core.positions import Position
from keyturn.core.rollout import WHOLE
from keyturn.core.route import Exhaustion, Kind
from keyturn.core.state import KeyState, Phase, Span, violations
from keyturn.core.task import Permission, Task, TaskEvent, permission
from tests.core.world import (
    DRAINING_MS,
    OPERATOR,
    RULES,
    RUN_TIMEOUT_MS,
    SKEW_MS,
    WORKER_TIMEOUT_MS,
    Effect,
    Execution,
    World,
    furthest,
    route,
)

KEYS = ("k",)
"""One: keys share nothing in the core, and all steps on one key lead further."""
POLICIES = [Exhaustion.PARK, Exhaustion.PARK, Exhaustion.SKIP, Exhaustion.FAIL_BEHIND]
keys = st.sampled_from(KEYS)
chance = st.booleans()
mostly = st.sampled_from([True, True, True, False])
seldom = st.sampled_from([False, False, False, True])
skews = st.integers(-SKEW_MS, SKEW_MS)


def task_of(execution: Execution, world: World) -> Task:
    """Make the task that an execution hands to a worker."""
    events = [TaskEvent(place, "f", {}) for place in world.places_of(execution)]
    return Task("step", execution.execution_id, execution.header, events, {})


class Protocol(RuleBasedStateMachine):
    """Producers, dispatchers, executions, workers, a watchdog and a clock, in any order."""

    world: World
    stale: dict[str, KeyState]
    plans: list[tuple[str, ask.Rewind]]
    visitors: list[DrainingExecution]
    """Executions that have ended a run of another key, and claimed one of these."""

    @initialize(
        exhaustion=st.sampled_from(POLICIES),
        kind=st.sampled_from(Kind),
        batch=st.sampled_from([1, 3]),
        done=st.integers(0, 4),
    )
    def begin(self, exhaustion: Exhaustion, kind: Kind, batch: int, done: int) -> None:
        """Keys that have finished some events, or none."""
        self.world = World(KEYS, route(exhaustion, kind, batch))
        self.stale = {}
        self.plans = []
        self.visitors = []
        for key in KEYS * done:
            self.world.produce(key)
            self.world.admit(key, has_slot=True)
            self.a_key_goes_on(key, True)

    @rule(key=keys, has_slot=mostly, loses_actions=seldom)
    def an_event_arrives(self, key: str, has_slot: bool, loses_actions: bool) -> None:
        self.world.produce(key)
        self.world.admit(key, has_slot=has_slot, loses_actions=loses_actions)

    @rule(what=st.sampled_from(("publish", "try", "try", "promote", "roll back")), share=st.integers(1, WHOLE))
    def the_releases_change(self, what: str, share: int) -> None:
        self.world.change_releases(what, share)

    @rule(key=keys)
    def a_dispatcher_dies_between_log_and_admit(self, key: str) -> None:
        self.world.produce(key)

    @rule(key=keys, has_slot=mostly)
    def a_batch_is_redelivered(self, key: str, has_slot: bool) -> None:
        self.world.admit(key, has_slot=has_slot, is_redelivery=True)

    @rule(key=keys)
    def somebody_loads_a_key_and_pauses(self, key: str) -> None:
        self.stale[key] = self.world.keys[key].state

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), has_slot=mostly)
    def the_paused_one_goes_on(self, data: st.DataObject, has_slot: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.stale)))
        self.world.admit(key, has_slot=has_slot, stale=self.stale.pop(key))

    @rule(key=keys, has_slot=mostly, loses_actions=seldom)
    def a_waiting_key_is_woken(self, key: str, has_slot: bool, loses_actions: bool) -> None:
        self.world.claim(key, has_slot=has_slot, loses_actions=loses_actions)

    @rule(key=keys, age_ms=st.sampled_from([0, 0, 20_000, 60_000]), release=st.integers(0, 3), loses_actions=seldom)
    def a_waiting_key_is_claimed_for_another_keys_execution(
        self, key: str, age_ms: int, release: int, loses_actions: bool
    ) -> None:
        """Whether that has time for it and is of its release, or not."""
        world = self.world
        state = world.keys[key].state
        world.now_ms = max(world.now_ms, state.not_before_ms)
        machine = f"{world.route.workflow}-{world.route.kind}"
        told_release = state.release or release
        ends_by_ms = world.now_ms - age_ms + DRAINING_MS
        visitor = DrainingExecution(f"visitor-{len(self.visitors)}", "visitor", machine, told_release, ends_by_ms)
        self.visitors.append(visitor)
        world.claim(key, has_slot=True, loses_actions=loses_actions, execution=visitor)
        run = world.keys[key].state.run
        is_its_own = run is not None and run.execution_id == visitor.id
        assert not is_its_own or world.route.kind is Kind.EXPRESS, "a run with a history of its own was handed over"

    @precondition(lambda self: self.visitors)
    @rule(key=keys, data=st.data(), loses_actions=seldom)
    def another_keys_execution_asks_for_its_run(self, key: str, data: st.DataObject, loses_actions: bool) -> None:
        """Its answer was lost, or it is called late, when the run is long over."""
        state = self.world.keys[key].state
        visitor = data.draw(st.sampled_from(self.visitors))
        self.world.apply(key, ask.Rejoin(visitor), loses_actions=loses_actions)
        assert self.world.keys[key].state == state

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
        execution.has_begun = True
        for event in task.events:
            if world.is_stored(execution, event.position):
                continue
            header, ends_by_ms = execution.header, world.now_ms + WORKER_TIMEOUT_MS
            effect = Effect(execution.key, event.position, header.fence, header.generation, ends_by_ms)
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
        next_ones = [turn.position for turn in held.agenda[: execution.run.slice.count]]
        assert next_ones == world.places_of(execution), f"a step of {execution.run.slice} began out of turn"
        zombies = [
            effect for effect in world.effects
            if effect.key == key and effect.fence < execution.fence and effect.may_act_at(world.now_ms)
        ]  # fmt: skip
        assert not zombies, f"a step began while {zombies} may still act"

    @rule(key=keys, has_slot=mostly)
    def a_key_goes_on(self, key: str, has_slot: bool) -> None:
        """What happens most of the time, in one step, or chance would seldom come to what happens after it."""
        world, state = self.world, self.world.keys[key].state
        if state.phase is Phase.WAITING:
            world.now_ms = max(world.now_ms, state.not_before_ms)
            world.claim(key, has_slot=has_slot)
        for execution in [e for e in world.executions if (e.key, e.fence) == (key, world.keys[key].state.fence)]:
            self.run_well(execution, has_slot=has_slot)

    def run_well(self, execution: Execution, *, has_slot: bool) -> None:
        """Run an execution to its end, if it may begin; if it may not, it ends without a finish."""
        self.begin_worker(execution, 0)
        for effect in execution.effects:
            self.world.end(effect, stores=not effect.has_ended)
        self.report(execution, failure=None, permanent=False, has_slot=has_slot, loses_actions=False, skew=0)

    @precondition(lambda self: any(not effect.has_ended for effect in self.world.effects))
    @rule(data=st.data(), stores=st.sampled_from([True, True, False]))
    def a_worker_ends(self, data: st.DataObject, stores: bool) -> None:
        open_effects = [effect for effect in self.world.effects if not effect.has_ended]
        self.world.end(data.draw(st.sampled_from(open_effects)), stores=stores)

    @precondition(lambda self: self.world.executions)
    @rule(
        data=st.data(),
        loses_actions=seldom,
        failure=st.sampled_from([None, None, ask.Outcome.FAILED, ask.Outcome.UNAVAILABLE]),
        permanent=chance,
        has_slot=mostly,
        skew=skews,
        drains=chance,
    )
    def an_execution_reports(
        self,
        data: st.DataObject,
        loses_actions: bool,
        failure: ask.Outcome | None,
        permanent: bool,
        has_slot: bool,
        skew: int,
        drains: bool,
    ) -> None:
        """Also of one that has reported before: the sequencer is called twice now and then."""
        execution = data.draw(st.sampled_from(self.world.executions))
        self.report(
            execution,
            failure=failure,
            permanent=permanent,
            has_slot=has_slot,
            loses_actions=loses_actions,
            skew=skew,
            drains=drains,
        )

    def report(
        self,
        execution: Execution,
        *,
        failure: ask.Outcome | None,
        permanent: bool,
        has_slot: bool,
        loses_actions: bool,
        skew: int,
        drains: bool = True,
    ) -> None:
        world = self.world
        if not execution.has_begun and failure is None:
            return  # refused: it ends without a finish
        is_clean = all(effect.has_ended for effect in execution.effects)
        is_done = all(world.is_stored(execution, place) for place in world.places_of(execution))
        outcome = failure or (ask.Outcome.SUCCEEDED if is_clean and is_done else ask.Outcome.FAILED)
        ending = ask.Ending(outcome, is_clean, permanent and failure is not None, "because")
        state = world.keys[execution.key].state
        following = None
        if state.phase is Phase.RUNNING and state.run is not None and state.fence == execution.fence:
            following = world.next_after(state, state.run.slice, has_slot=has_slot)
        told = execution.draining if drains and execution.run.kind is Kind.EXPRESS else None
        finish = ask.Finish(execution.fence, execution.execution_id, ending, world.route, following, execution=told)
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
            header = self.world.header_of(key, state.run)
            strangers += [twin(one) for one in strangers if one.fence == state.fence - 1][-1:]
            strangers.append(Execution(key, state.run, header, f"{name}/twin"))
        for stranger in strangers[-3:]:
            failed = ask.Outcome.FAILED
            self.report(stranger, failure=failed, permanent=permanent, has_slot=True, loses_actions=False, skew=0)
            is_told_apart = stranger.fence < state.fence or state.run.execution_id is not None
            assert not is_told_apart or self.world.keys[key].state == state, "invariant 4: a stranger ended an attempt"

    def busy(self) -> list[str]:
        """Keys whose run is claimed."""
        return self.world.keys_that(lambda state: state.phase is Phase.RUNNING)

    @rule(
        key=keys,
        evidence=st.sampled_from(ask.Evidence),
        has_slot=mostly,
        loses_actions=seldom,
        excuse=st.sampled_from((None, ask.Outcome.UNAVAILABLE, ask.Outcome.ROLLED_BACK)),
    )
    def the_watchdog_looks(
        self, key: str, evidence: ask.Evidence, has_slot: bool, loses_actions: bool, excuse: ask.Outcome | None
    ) -> None:
        self.world.expire(key, evidence, has_slot=has_slot, loses_actions=loses_actions, excuse=excuse)

    @rule(key=keys)
    def the_watchdog_corrects_a_clock_that_was_ahead(self, key: str) -> None:
        self.world.apply(key, ask.Retime(self.world.now_ms + RUN_TIMEOUT_MS))

    @rule(key=keys)
    def the_log_of_a_waiting_key_looks_short(self, key: str) -> None:
        self.world.apply(key, ask.Park("its log is short"))

    @precondition(lambda self: self.world.executions)
    @rule(data=st.data(), ahead_ms=st.sampled_from([-SKEW_MS, 0, SKEW_MS, 100_000]))
    def a_heartbeat_comes(self, data: st.DataObject, ahead_ms: int) -> None:
        """Of any execution at any time, by a clock that may be far ahead."""
        execution = data.draw(st.sampled_from(self.world.executions))
        deadline_ms = self.world.now_ms + ahead_ms + RUN_TIMEOUT_MS
        self.world.apply(execution.key, ask.Extend(execution.fence, execution.execution_id, deadline_ms))

    @rule(key=keys, behind=st.integers(0, 1), ms=st.sampled_from([1, 1_000, 5_000]))
    def a_write_took_long(self, key: str, behind: int, ms: int) -> None:
        """And what it was about may be over."""
        state = self.world.keys[key].state
        self.world.apply(key, ask.Postpone(state.fence - behind, state.not_before_ms + ms))

    @rule(key=keys, command=st.sampled_from([ask.Hold, ask.Release, ask.Release]), loses_actions=seldom)
    def an_operator_holds_or_releases_a_key(
        self, key: str, command: type[ask.Hold | ask.Release], loses_actions: bool
    ) -> None:
        self.world.apply(key, command(OPERATOR), loses_actions=loses_actions)

    @rule(is_held=seldom, has_route=mostly)
    def the_route_is_held_or_gone_or_back(self, is_held: bool, has_route: bool) -> None:
        self.world.is_route_held, self.world.has_route = is_held, has_route

    @precondition(lambda self: self.parked())
    @rule(data=st.data(), fresh=chance, loses_actions=seldom)
    def an_operator_resumes(self, data: st.DataObject, fresh: bool, loses_actions: bool) -> None:
        key = data.draw(st.sampled_from(self.parked()))
        self.world.apply(key, ask.Resume(OPERATOR, fresh), loses_actions=loses_actions)

    @precondition(lambda self: self.parked())
    @rule(data=st.data(), has_slot=mostly)
    def an_operator_skips(self, data: st.DataObject, has_slot: bool) -> None:
        self.world.skip(data.draw(st.sampled_from(self.parked())), has_slot=has_slot)

    def parked(self) -> list[str]:
        """Keys that wait for a person."""
        return self.world.keys_that(lambda state: state.phase is Phase.PARKED)

    @precondition(lambda self: self.finished())
    @rule(data=st.data(), fresh=chance, is_asked_at_once=mostly, has_slot=mostly, loses_actions=seldom)
    def an_operator_plans_a_replay(
        self, data: st.DataObject, fresh: bool, is_asked_at_once: bool, has_slot: bool, loses_actions: bool
    ) -> None:
        """Of a few finished events, or of one too many, in whatever phase the key is."""
        key = data.draw(st.sampled_from(self.finished()))
        held = self.world.keys[key]
        places = [place for place in held.log if place <= held.state.tail][: held.state.finished + 1]
        spans = stretches(places, data.draw(st.sets(st.sampled_from(places), min_size=1, max_size=3)))
        hold_at_ms = held.state.hold.at_ms if held.state.hold else 0
        name = f"r{len(self.plans)}"
        plan = ask.Rewind(OPERATOR, name, spans, held.state.generation, hold_at_ms, fresh, None)
        self.plans.append((key, plan))
        if is_asked_at_once:
            self.world.rewind(key, plan, has_slot=has_slot, loses_actions=loses_actions)

    def finished(self) -> list[str]:
        """Keys that have finished something."""
        return self.world.keys_that(lambda state: state.finished > 0)

    @precondition(lambda self: self.plans)
    @rule(data=st.data(), has_slot=mostly, loses_actions=seldom)
    def a_replay_is_asked_for_late_or_again(self, data: st.DataObject, has_slot: bool, loses_actions: bool) -> None:
        key, plan = data.draw(st.sampled_from(self.plans[-3:]))
        self.world.rewind(key, plan, has_slot=has_slot, loses_actions=loses_actions)

    @precondition(lambda self: self.plans)
    @rule(data=st.data(), has_slot=mostly, loses_actions=seldom)
    def an_operator_cancels_a_replay(self, data: st.DataObject, has_slot: bool, loses_actions: bool) -> None:
        """Whether it is noted, under way or over."""
        replays = {key: held.state.replay for key, held in self.world.keys.items() if held.state.replay is not None}
        unfinished = [(key, replay.id) for key, replay in replays.items()]
        planned = [(key, plan.id) for key, plan in self.plans[-2:]]
        key, name = data.draw(st.sampled_from(unfinished + planned))
        self.world.cancel(key, name, has_slot=has_slot, loses_actions=loses_actions)

    @rule(ms=st.sampled_from([1, 500, 1_000, 3_000, 5_000, 21_000]))
    def time_passes(self, ms: int) -> None:
        self.world.now_ms += ms

    @invariant()
    def states_are_consistent_and_nothing_is_lost(self) -> None:
        """Invariants 2, 3 and 5."""
        for held in getattr(self, "world", World((), route())).keys.values():
            state = held.state
            assert violations(state) == []
            behind = {p for p in held.log if p <= furthest(state)}
            assert behind <= held.succeeded | held.dead, "an event behind the cursor was neither done nor given up"
            assert state.admitted == len([p for p in held.log if p <= state.tail]), "an event was not admitted once"
            assert state.finished == len(behind)

    def teardown(self) -> None:
        """Liveness: once faults stop, and nothing is held, every key drains, and every replay comes to its end."""
        world = getattr(self, "world", None)
        if world is None:
            return
        world.is_route_held, world.has_route = False, True
        for _ in range(300):
            for key, held in world.keys.items():
                world.apply(key, ask.Release(OPERATOR))
                world.apply(key, ask.Retime(world.now_ms + RUN_TIMEOUT_MS))
                world.apply(key, ask.Resume(OPERATOR))
                world.admit(key, has_slot=True, is_redelivery=True)
                world.divert(key)
                world.claim(key, has_slot=True)
                if held.state.run is not None and world.now_ms >= held.state.run.deadline_ms:
                    world.expire(key, ask.Evidence.HUNG, has_slot=True)
            for execution in [e for e in world.executions if not e.has_finished]:
                self.run_well(execution, has_slot=True)
            if world.is_settled():
                assert all(not held.agenda and not held.noted for held in world.keys.values())
                return
            world.now_ms += 1_000
        raise AssertionError(f"keys never settled: {[held.state for held in world.keys.values()]}")


def twin(execution: Execution) -> Execution:
    """Return what a doubled start of an execution made besides, of which no worker has begun."""
    return replace(execution, execution_id=f"{execution.execution_id}/twin", effects=[], has_begun=False)


def stretches(places: list[Position], planned: set[Position]) -> tuple[Span, ...]:
    """Make the spans of what is planned among a log's places: neighbours share one."""
    numbered = [number for number, place in enumerate(places) if place in planned]
    firsts = [places[number] for number in numbered if number - 1 not in numbered]
    lasts = [places[number] for number in numbered if number + 1 not in numbered]
    return tuple(Span(first, last) for first, last in zip(firsts, lasts, strict=True))


Protocol.TestCase.settings = settings(
    max_examples=400, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestProtocol = Protocol.TestCase
