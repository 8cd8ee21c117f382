"""A small world around the pure protocol: keys, executions, workers with Lambdas that outlive their tasks, and a clock.

Everything that the shell would do happens here in plain values, so that a test can do it late, twice or never.
"""

from dataclasses import dataclass, field, replace

from keyturn.core import commands as ask
from keyturn.core.actions import Action, DivertPending, Record, RecordDeadLetter, StartRun
from keyturn.core.positions import Position, position
from keyturn.core.protocol import Rules, Transition, transition
from keyturn.core.route import Backoff, Batch, Exhaustion, Kind, Route
from keyturn.core.state import KeyState, Phase, Run, Slice, WaitsFor, violations

WORKER_TIMEOUT_MS = 3_000
RULES = Rules(clock_margin_ms=1_000)
SKEW_MS = 400
"""Half the margin less a bit: how far the clock of any function may be off, either way."""


def route(exhaustion: Exhaustion = Exhaustion.PARK, kind: Kind = Kind.STANDARD, batch: int = 1) -> Route:
    """Make the route that all events of a world take."""
    return Route(
        name="sample",
        type="sample",
        workflow="sample",
        kind=kind,
        schema=None,
        run_timeout_s=20,
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
    ends_by_ms: int
    has_ended: bool = False

    def may_act_at(self, now_ms: int) -> bool:
        """Whether the worker may still do something."""
        return not self.has_ended and now_ms < self.ends_by_ms


@dataclass
class Execution:
    """One execution of a run; an Express start that was repeated makes two of them."""

    key: str
    run: Run
    fence: int
    execution_id: str
    effects: list[Effect] = field(default_factory=list)
    has_finished: bool = False


@dataclass
class Key:
    """A key's log and state, and what the world knows to be true of it."""

    state: KeyState
    log: list[Position] = field(default_factory=list)
    admitted: int = 0
    succeeded: set[Position] = field(default_factory=set)
    dead: set[Position] = field(default_factory=set)


class World:
    """Keys, executions and a clock."""

    def __init__(self, keys: tuple[str, ...], the_route: Route) -> None:
        """Start with keys that have never been seen."""
        self.now_ms = 1_000_000
        self.route = the_route
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
            self._note(key, held, loaded, decided)
            held.state = replace(decided.state, version=loaded.version + 1)
        assert violations(held.state) == [], (command, held.state)
        if not loses_actions:
            for action in decided.actions:
                self.carry_out(key, action)
        return decided

    def _note(self, key: str, held: Key, loaded: KeyState, decided: Transition) -> None:
        self._note_dead(held, decided.records)
        passed = [place for place in held.log if loaded.cursor < place <= decided.state.cursor]
        for place in passed:
            done = [effect for effect in self.effects if (effect.key, effect.position) == (key, place)]
            if place not in held.dead:
                assert any(effect.has_ended for effect in done), f"{key}: cursor passed {place}, which nobody did"
                held.succeeded.add(place)

    def _note_dead(self, held: Key, records: tuple[Record, ...]) -> None:
        for record in records:
            if isinstance(record, RecordDeadLetter):
                cut = record.slice
                held.dead.update(place for place in held.log if cut.first <= place <= cut.last)

    def carry_out(self, key: str, action: Action) -> None:
        """Carry an action out, as the shell would."""
        if isinstance(action, StartRun):
            self.start(key, action.run)
        elif isinstance(action, DivertPending):
            self.divert(key)

    def start(self, key: str, run: Run) -> None:
        """Start an execution. Standard knows a name that was used; Express does not."""
        fence = int(run.execution_name.rsplit("-", 1)[1])
        same = [e for e in self.executions if e.key == key and e.run.execution_name == run.execution_name]
        if same and run.kind is Kind.STANDARD:
            return
        self.executions.append(Execution(key, run, fence, f"{run.execution_name}/{len(same)}"))

    def divert(self, key: str) -> None:
        """Dead-letter what is pending behind a run that failed for good."""
        held = self.keys[key]
        pending = [place for place in held.log if held.state.cursor < place <= held.state.tail]
        if pending and held.state.parked is not None and held.state.parked.diverts:
            held.dead.update(pending)
            self.apply(key, ask.Divert(pending[-1], len(pending)))

    # What the shell reads

    def next_between(self, key: str, cursor: Position, tail: Position, *, has_slot: bool) -> ask.Next | None:
        """Cut a slice off the log, as the shell does."""
        pending = [place for place in self.keys[key].log if cursor < place <= tail]
        taken = pending[: self.route.batch.events]
        if not taken:
            return None
        return ask.Next(Slice(taken[0], taken[-1], len(taken), self.route.name, 1, "flow"), self.route, has_slot)

    def next_after_run(self, state: KeyState, *, has_slot: bool) -> ask.Next | None:
        """Return what follows the run of a state."""
        assert state.run is not None
        return self.next_between(state.key, state.run.slice.last, state.tail, has_slot=has_slot)

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
            following = self.next_between(key, state.cursor, tail, has_slot=has_slot)
        command = ask.Admit(tail, len(new), 1, following, is_redelivery)
        return self.apply(key, command, stale=stale, loses_actions=loses_actions)

    def claim(self, key: str, *, has_slot: bool, loses_actions: bool = False) -> None:
        """Let a waiting key go on if it may."""
        state = self.keys[key].state
        if state.phase is not Phase.WAITING:
            return
        if state.run is not None:
            following: ask.Next | None = ask.Next(state.run.slice, self.route, has_slot)
        else:
            following = self.next_between(key, state.cursor, state.tail, has_slot=has_slot)
        assert following is not None
        self.apply(key, ask.Claim(following), loses_actions=loses_actions)

    def expire(self, key: str, evidence: ask.Evidence, *, has_slot: bool, loses_actions: bool = False) -> None:
        """Have the watchdog give an attempt up."""
        state = self.keys[key].state
        if state.phase is Phase.RUNNING:
            following = self.next_after_run(state, has_slot=has_slot)
            self.apply(key, ask.Expire(state.fence, evidence, self.route, following), loses_actions=loses_actions)

    def is_settled(self) -> bool:
        """Whether every key is idle or parked with nothing to divert."""
        return all(
            held.state.phase is Phase.IDLE
            or (held.state.parked is not None and not (held.state.parked.diverts and held.state.has_pending))
            for held in self.keys.values()
        )

    def waits_for_time(self, key: str) -> bool:
        """Whether a key waits for its `not_before_ms`."""
        return self.keys[key].state.waits_for is WaitsFor.TIME
