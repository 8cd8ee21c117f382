"""A small world around the pure protocol: keys, executions, workers with Lambdas that outlive their tasks, and a clock.

Everything that the shell would do happens here in plain values, so that a test can do it late, twice or never. Beside
each key's state stands its agenda: what is to be run, in order, as the commands that were accepted say. It is kept
without the protocol's help, and held against it after every change.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain

from keyturn.core import commands as ask
from keyturn.core.actions import Action, DivertPending, GoOnWith, RecordDeadLetter, StartRun
from keyturn.core.draining import RESERVE_MS, DrainingExecution
from keyturn.core.log_entry import execution_input
from keyturn.core.positions import Position, position
from keyturn.core.protocol import Rules, Transition, transition
from keyturn.core.rollout import (
    NO_RELEASE,
    NOTHING_PUBLISHED,
    Canary,
    begun,
    promoted,
    published,
    rolled_back,
    tried,
)
from keyturn.core.route import Backoff, Batch, Exhaustion, Kind, Route
from keyturn.core.run_header import RunHeader
from keyturn.core.state import KeyState, Phase, Replay, Run, Slice, passed, rewound, to_run, violations
from keyturn.errors import CannotOperate

WORKER_TIMEOUT_MS = 3_000
RUN_TIMEOUT_MS = 20_000
DRAINING_MS = 2 * RUN_TIMEOUT_MS + RESERVE_MS
"""How long an execution lasts that may go on with further runs."""
RULES = Rules(clock_margin_ms=1_000)
SKEW_MS = 400
"""Half the margin less a bit: how far the clock of any function may be off, either way."""
OPERATOR = ask.Operator("somebody", "because")


def route(exhaustion: Exhaustion = Exhaustion.PARK, kind: Kind = Kind.STANDARD, batch: int = 1) -> Route:
    """Make the route that all events of a world take."""
    return Route(
        name="sample",
        type="sample",
        workflow="sample",
        kind=kind,
        schema=None,
        run_timeout_s=RUN_TIMEOUT_MS // 1000,
        worker_timeout_s=WORKER_TIMEOUT_MS // 1000,
        max_attempts=2,
        backoff=Backoff(1, 2.0, 10),
        on_exhaustion=exhaustion,
        batch=Batch(batch, 100_000),
        personal_key=False,
    )


@dataclass
class Effect:
    """A worker inside a step: it may act until its Lambda has ended."""

    key: str
    position: Position
    fence: int
    generation: int
    """Under which its result is stored."""
    ends_by_ms: int
    has_ended: bool = False

    def may_act_at(self, now_ms: int) -> bool:
        """Whether the worker may still do something."""
        return not self.has_ended and now_ms < self.ends_by_ms


@dataclass
class Execution:
    """One execution of a run; an Express start that was repeated makes two of them. One that goes on with another run
    is another value, of the same id."""

    key: str
    run: Run
    header: RunHeader
    execution_id: str
    began_at_ms: int = 0
    effects: list[Effect] = field(default_factory=list)
    has_begun: bool = False
    has_finished: bool = False

    @property
    def fence(self) -> int:
        """The fence of its attempt."""
        return self.header.fence

    @property
    def draining(self) -> DrainingExecution:
        """What it tells of itself."""
        header, ends_by_ms = self.header, self.began_at_ms + DRAINING_MS
        return DrainingExecution(self.execution_id, "name", header.machine, header.release, ends_by_ms)


@dataclass(frozen=True)
class Turn:
    """One event that is to be run."""

    position: Position
    replay: str = ""
    """Of the replay that runs it again; empty for its first turn."""
    since_fence: int = 0
    """What an attempt of this fence or an older one did was not for this turn."""
    generation: int = 0
    """Results of this generation or a later one count."""


@dataclass
class Key:
    """A key's log and state, and what the world knows to be true of it."""

    state: KeyState
    log: list[Position] = field(default_factory=list)
    agenda: list[Turn] = field(default_factory=list)
    """What is admitted and not done, or to be done again, in order."""
    noted: list[Turn] = field(default_factory=list)
    """Turns of a replay that begins when what runs or waits to be tried again has passed."""
    succeeded: set[Position] = field(default_factory=set)
    dead: set[Position] = field(default_factory=set)
    finished: int = 0
    results: set[tuple[Position, int]] = field(default_factory=set)
    """Stored step results, by generation."""
    last_replay: str = ""


def furthest(state: KeyState) -> Position:
    """Tell up to where the key has ever been finished."""
    return state.replay.resume_at if state.replay is not None and not state.replay.is_noted else state.cursor


class World:
    """Keys, executions and a clock."""

    def __init__(self, keys: tuple[str, ...], the_route: Route) -> None:
        """Start with keys that have never been seen."""
        self.now_ms = 1_000_000
        self.route = the_route
        self.is_route_held = False
        self.has_route = True
        self.rollout = NOTHING_PUBLISHED
        self.keys = {key: Key(KeyState(key)) for key in keys}
        self.executions: list[Execution] = []
        self.effects: list[Effect] = []
        self.produced = 0

    # What happens to a key

    def apply(
        self,
        key: str,
        command: ask.Command,
        *,
        stale: KeyState | None = None,
        loses_actions: bool = False,
        skew_ms: int = 0,
    ) -> Transition:
        """Do what the shell does: transition, records, compare-and-set, actions. `stale` is a state loaded earlier."""
        held = self.keys[key]
        loaded = stale if stale is not None else held.state
        decided = transition(loaded, command, self.now_ms + skew_ms, RULES)
        if decided.refusal is None:
            if loaded.version != held.state.version:
                return Transition(held.state)
            self._check_start(loaded, command, decided.state, self.now_ms + skew_ms)
            held.state = replace(decided.state, version=loaded.version + 1)
            self._note(held, loaded, command, decided)
        self._check_hand_over(command, decided)
        assert violations(held.state) == [], (command, held.state)
        if not loses_actions:
            for action in decided.actions:
                self.carry_out(key, action)
        return decided

    def _check_hand_over(self, command: ask.Command, decided: Transition) -> None:
        """A bound run is only ever handed to the execution that it is bound to, and only a run of nobody is started."""
        for action in decided.actions:
            if isinstance(action, StartRun):
                assert action.run.execution_id is None, f"{command} started a run that is bound"
            if isinstance(action, GoOnWith):
                assert isinstance(command, ask.Finish | ask.Claim | ask.Rejoin), f"{command} handed a run over"
                assert command.execution is not None, f"{command} handed a run to an execution that can't go on"
                told = command.execution_id if isinstance(command, ask.Finish) else command.execution.id
                ids = {action.run.execution_id, action.execution.id, command.execution.id, told}
                assert len(ids) == 1, f"{command} handed a run over that isn't its own: {action}"
                assert action.run == decided.state.run, f"{command} handed a run over that isn't the key's"
                is_claimed_now = decided.refusal is None
                assert not is_claimed_now or action.run.deadline_ms + RESERVE_MS <= action.execution.ends_by_ms

    def _check_start(self, loaded: KeyState, command: ask.Command, decided: KeyState, now_ms: int) -> None:
        """A run is claimed only where nothing forbids it: no hold, no time to come."""
        if decided.fence == loaded.fence:
            return
        assert decided.fence == loaded.fence + 1
        self._check_release(loaded, command, decided)
        assert decided.hold is None, f"a held key started a run: {command}"
        assert not self.is_route_held, f"a run of a held route was started: {command}"
        # The clock that told the time to wait for may have been ahead of this one; its margin covers that.
        earliest_ms = max(loaded.not_before_ms, decided.not_before_ms) - 2 * SKEW_MS
        assert now_ms >= earliest_ms, f"a run was started too early: {command}"

    def _check_release(self, loaded: KeyState, command: ask.Command, decided: KeyState) -> None:
        """A key that isn't idle stays on its release, unless that was rolled back; nothing begins on one that was."""
        stays = loaded.release in {decided.release, NO_RELEASE}
        must_leave = self.rollout.has_rolled_back(loaded.release)
        assert stays or must_leave or isinstance(command, ask.Skip), f"{loaded} changed its release: {command}"
        assert not self.rollout.has_rolled_back(decided.release), f"began on a rolled back release: {command}"

    def change_releases(self, what: str, share: int) -> None:
        """Do something with releases that fits, or nothing."""
        with suppress(CannotOperate):
            match what:
                case "publish":
                    next_one = begun(self.rollout)
                    self.rollout = published(next_one, next_one.last, {}, self.now_ms)
                case "try":
                    self.rollout = tried(self.rollout, Canary(self.rollout.last, share, self.now_ms))
                case "promote":
                    self.rollout = promoted(self.rollout, None, self.now_ms)
                case _:
                    self.rollout = rolled_back(self.rollout, None, self.now_ms)

    def _note(self, held: Key, loaded: KeyState, command: ask.Command, decided: Transition) -> None:
        """Keep the agenda as the command says, then hold it against what the key's state says."""
        match command:
            case ask.Admit():
                held.agenda += [Turn(place) for place in held.log if loaded.tail < place <= command.tail]
            case ask.Finish() if command.ending.outcome is ask.Outcome.SUCCEEDED:
                self._succeed(held, loaded)
            case ask.Divert():
                self._give_up(held, [turn for turn in held.agenda if turn.position <= command.through])
            case ask.Rewind():
                self._rewind(held, loaded, command)
            case ask.CancelReplay():
                self._cancel(held, loaded)
            case ask.Resume(is_fresh=True):
                self._regenerate(held, loaded, held.state.generation)
            case ask.Claim() if loaded.run is not None and held.state.run is None:
                # Its route is gone: what runs in the end is another run, and not the one that was to be fresh.
                replay = held.state.replay if held.state.is_replaying else None
                self._regenerate(held, loaded, replay.generation if replay is not None else 0)
        for record in decided.records:
            if isinstance(record, RecordDeadLetter):
                cut = record.slice
                self._give_up(held, [turn for turn in held.agenda if cut.first <= turn.position <= cut.last])
        self._check_agenda(held)

    def _regenerate(self, held: Key, loaded: KeyState, generation: int) -> None:
        turns = self.turns_of(held, loaded)
        held.agenda[: len(turns)] = [replace(turn, generation=generation) for turn in turns]

    def _succeed(self, held: Key, loaded: KeyState) -> None:
        key, turns = held.state.key, self.turns_of(held, loaded)
        for turn in turns:
            runs = [e for e in self.executions if (e.key, e.fence) == (key, loaded.fence) and e.has_begun]
            assert runs, f"{key}: {turn} passed, which nobody did"
            assert loaded.fence > turn.since_fence, f"{key}: {turn} passed by an attempt that was not for it"
            counts = {generation for place, generation in held.results if place == turn.position}
            assert max(counts, default=-1) >= turn.generation, f"{key}: {turn} passed without a result that counts"
            held.succeeded.add(turn.position)
        self._pass(held, turns)

    def _give_up(self, held: Key, turns: list[Turn]) -> None:
        held.dead.update(turn.position for turn in turns)
        self._pass(held, turns)

    def _pass(self, held: Key, turns: list[Turn]) -> None:
        if not turns:
            return
        assert held.agenda[: len(turns)] == turns, f"{held.state.key}: {turns} passed before its turn"
        held.finished += sum(not turn.replay for turn in turns)
        held.agenda = [*held.noted, *held.agenda[len(turns) :]]
        held.noted = []

    def _rewind(self, held: Key, loaded: KeyState, command: ask.Rewind) -> None:
        assert command.id != held.last_replay, "a replay was run twice"
        held.last_replay = command.id
        generation = held.state.generation if command.is_new_generation else 0
        planned = [place for place in held.log if any(span.first <= place <= span.last for span in command.spans)]
        assert set(planned) <= held.succeeded | held.dead, "what was never finished is replayed"
        turns = [Turn(place, command.id, loaded.fence, generation) for place in planned]
        if loaded.run is None:
            held.agenda = turns + held.agenda
        else:
            held.noted = turns

    def _cancel(self, held: Key, loaded: KeyState) -> None:
        kept = [] if held.noted else self.turns_of(held, loaded)
        if not held.noted:
            held.agenda = kept + [turn for turn in held.agenda[len(kept) :] if not turn.replay]
        held.noted = []

    def turns_of(self, held: Key, state: KeyState) -> list[Turn]:
        """Return the turns that the run of a state is about: they are the first ones, or none."""
        if state.run is None:
            return []
        cut = state.run.slice
        turns = held.agenda[: cut.count]
        assert [turns[0].position, turns[-1].position] == [cut.first, cut.last], f"{cut} is not what is next: {turns}"
        return turns

    def _check_agenda(self, held: Key) -> None:
        state = held.state
        assert [turn.position for turn in held.agenda] == self._upcoming(held), (state, held.agenda)
        assert bool(held.noted) == (state.replay is not None and state.replay.is_noted), (state, held.noted)
        assert held.finished == state.finished, (state, held.finished)

    @staticmethod
    def _upcoming(held: Key) -> list[Position]:
        """Read off a state what it will run, in order."""
        state, log = held.state, held.log
        new = [place for place in log if furthest(state) < place <= state.tail]
        if state.replay is None or state.replay.is_noted:
            return new
        spans = state.replay.spans
        again = ([p for p in log if max(span.first, state.cursor) <= p <= span.last] for span in spans)
        return [place for place in chain.from_iterable(again) if place > state.cursor] + new

    def carry_out(self, key: str, action: Action) -> None:
        """Carry an action out, as the shell would."""
        if isinstance(action, StartRun):
            self.start(key, action.run)
        elif isinstance(action, GoOnWith):
            self.go_on(key, action.run, action.execution)
        elif isinstance(action, DivertPending):
            self.divert(key)

    def start(self, key: str, run: Run) -> None:
        """Start an execution. Standard knows a name that was used; Express does not."""
        same = [e for e in self.executions if e.key == key and e.run.execution_name == run.execution_name]
        if same and run.kind is Kind.STANDARD:
            return
        execution_id = f"{run.execution_name}/{len(same)}"
        self.executions.append(Execution(key, run, self.header_of(key, run), execution_id, self.now_ms))

    def go_on(self, key: str, run: Run, execution: DrainingExecution) -> None:
        """Let an execution go on with a run. An answer that comes again finds it there, and is heard by nobody."""
        rounds = [e for e in self.executions if e.key == key and e.execution_id == run.execution_id]
        header = self.header_of(key, run)
        if header.fence > max((one.fence for one in rounds), default=0):
            began_at_ms = execution.ends_by_ms - DRAINING_MS
            self.executions.append(Execution(key, run, header, execution.id, began_at_ms))

    def header_of(self, key: str, run: Run) -> RunHeader:
        """Return what an execution that is started now is told of its run."""
        written = json.loads(execution_input(self.keys[key].state, run, [], self.route))
        return RunHeader.from_input(written["run"])

    def divert(self, key: str) -> None:
        """Dead-letter what is pending behind a run that failed for good."""
        while True:
            held = self.keys[key]
            state = held.state
            bounds = to_run(state)
            if bounds is None or state.parked is None or not state.parked.diverts:
                return
            pending = [place for place in held.log if bounds[0] < place <= bounds[1]]
            self.apply(key, ask.Divert(pending[-1], len(pending)))

    # What the shell reads

    def next_of(self, state: KeyState, *, has_slot: bool) -> ask.Next | None:
        """Cut what a key without a run would run next off its log, as the shell does."""
        bounds = to_run(state)
        if bounds is None:
            return None
        pending = [place for place in self.keys[state.key].log if bounds[0] < place <= bounds[1]]
        if not self.has_route:
            return self._next(Slice(pending[0], pending[0], 1, "", 1, "flow"), has_slot=has_slot)
        taken = pending[: self.route.batch.events]
        return self._next(Slice(taken[0], taken[-1], len(taken), self.route.name, 1, "flow"), has_slot=has_slot)

    def _next(self, cut: Slice, *, has_slot: bool) -> ask.Next:
        is_held = self.is_route_held and self.has_route
        return ask.Next(cut, self.route if self.has_route else None, has_slot and not is_held, is_held, self.rollout)

    def next_after(self, state: KeyState, done: Slice, *, has_slot: bool) -> ask.Next | None:
        """Return what a key would run once `done` has passed."""
        return self.next_of(passed(state, done.last, done.count), has_slot=has_slot)

    def places_of(self, execution: Execution) -> list[Position]:
        """Return the positions of the events that an execution is about."""
        cut = execution.run.slice
        return [place for place in self.keys[execution.key].log if cut.first <= place <= cut.last]

    def is_stored(self, execution: Execution, place: Position) -> bool:
        """Whether a result that counts for an execution is stored."""
        counted = range(execution.header.generation, execution.header.generation_latest + 1)
        return any((place, generation) in self.keys[execution.key].results for generation in counted)

    def end(self, effect: Effect, *, stores: bool) -> None:
        """Let a worker's Lambda end, with its result stored or without."""
        effect.has_ended = True
        if stores:
            self.keys[effect.key].results.add((effect.position, effect.generation))

    # What producers, the dispatcher and the watchdog do

    def produce(self, key: str) -> Position:
        """Write an event to the log of a key, not admitted yet."""
        self.produced += 1
        place = position(1, str(self.produced))
        self.keys[key].log.append(place)
        return place

    def admit(
        self,
        key: str,
        *,
        has_slot: bool,
        is_redelivery: bool = False,
        loses_actions: bool = False,
        stale: KeyState | None = None,
    ) -> Transition:
        """Admit all that the log holds."""
        held = self.keys[key]
        state = stale if stale is not None else held.state
        new = [place for place in held.log if place > state.tail]
        tail = new[-1] if new else state.tail
        following = None
        if state.phase is Phase.IDLE:
            following = self.next_of(replace(state, tail=tail), has_slot=has_slot)
        command = ask.Admit(tail, len(new), 1, following, is_redelivery)
        return self.apply(key, command, stale=stale, loses_actions=loses_actions)

    def claim(
        self, key: str, *, has_slot: bool, loses_actions: bool = False, execution: DrainingExecution | None = None
    ) -> None:
        """Let a waiting key go on if it may, in an execution that has ended a run of another key if it is given."""
        state = self.keys[key].state
        if state.phase is not Phase.WAITING:
            return
        if state.run is not None:
            following: ask.Next | None = self._next(state.run.slice, has_slot=has_slot)
        else:
            following = self.next_of(state, has_slot=has_slot)
        assert following is not None
        self.apply(key, ask.Claim(following, execution), loses_actions=loses_actions)

    def expire(
        self,
        key: str,
        evidence: ask.Evidence,
        *,
        has_slot: bool,
        loses_actions: bool = False,
        excuse: ask.Outcome | None = None,
    ) -> None:
        """Have the watchdog give an attempt up."""
        state = self.keys[key].state
        if state.phase is Phase.RUNNING and state.run is not None:
            following = self.next_after(state, state.run.slice, has_slot=has_slot)
            command = ask.Expire(state.fence, evidence, self.route, following, excuse)
            self.apply(key, command, loses_actions=loses_actions)

    # What operators do

    def skip(self, key: str, *, has_slot: bool) -> Transition | None:
        """Give up what a parked key failed at."""
        state = self.keys[key].state
        if state.phase is not Phase.PARKED:
            return None
        head = self.next_of(state, has_slot=False)
        failed = state.run.slice if state.run is not None else head.slice if head is not None else None
        following = self.next_after(state, failed, has_slot=has_slot) if failed is not None else None
        return self.apply(key, ask.Skip(OPERATOR, failed, following))

    def rewind(self, key: str, plan: ask.Rewind, *, has_slot: bool, loses_actions: bool = False) -> Transition:
        """Ask for a planned replay."""
        state = self.keys[key].state
        following = None
        if state.run is None and plan.spans[-1].last <= state.cursor:
            begun = rewound(state, Replay(plan.id, 0, 0, plan.spans))
            following = self.next_of(begun, has_slot=has_slot)
        return self.apply(key, replace(plan, next=following), loses_actions=loses_actions)

    def cancel(self, key: str, replay: str, *, has_slot: bool, loses_actions: bool = False) -> Transition:
        """Cancel a replay."""
        state = self.keys[key].state
        following = None
        if state.is_replaying and state.run is None:
            returned = replace(state, cursor=furthest(state), replay=None)
            following = self.next_of(returned, has_slot=has_slot)
        return self.apply(key, ask.CancelReplay(OPERATOR, replay, following), loses_actions=loses_actions)

    # What came of it

    def keys_that(self, fits: Callable[[KeyState], bool]) -> list[str]:
        """Return the keys whose state fits."""
        return [key for key, held in self.keys.items() if fits(held.state)]

    def is_settled(self) -> bool:
        """Whether every key is idle, and has nothing left to run or to run again."""
        return all(held.state.phase is Phase.IDLE for held in self.keys.values())
