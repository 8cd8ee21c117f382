"""What can be asked of a key. Commands hold only data; `protocol.transition` decides what they change."""

from dataclasses import dataclass
from enum import StrEnum

from keyturn.core.draining import DrainingExecution
from keyturn.core.positions import Position
from keyturn.core.rollout import NOTHING_PUBLISHED, Rollout
from keyturn.core.route import Route
from keyturn.core.state import Slice, Span


@dataclass(frozen=True, slots=True)
class Next:
    """What a key would run next, should the command let it: read from the log by the shell before the transition."""

    slice: Slice
    route: Route | None
    """None when no route of this deployment fits the events any more: the key is parked with that reason."""
    has_slot: bool
    """Whether a run may be in flight for it."""
    is_held: bool = False
    """Whether its route is held, by a person or an open circuit breaker. A breaker's probe isn't."""
    rollout: Rollout = NOTHING_PUBLISHED
    """The releases as they stand: a key that has none takes one when it starts."""


@dataclass(frozen=True, slots=True)
class Admit:
    """Events up to `tail` are in the log. `next` is looked at by an idle key only."""

    tail: Position
    count: int
    arrived_at_ms: int
    next: Next | None
    is_redelivery: bool = False
    """Some of the batch was admitted before: whoever did it may have died before it started the run."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Start what a waiting key has to run. For a retry, `next.slice` is the run's own."""

    next: Next
    execution: DrainingExecution | None = None
    """One that has ended a run of another key, if it can go on with what `next` is."""


@dataclass(frozen=True, slots=True)
class Rejoin:
    """An execution asks for the run that was claimed for it when it ended one of another key, and never came."""

    execution: DrainingExecution


@dataclass(frozen=True, slots=True)
class Bind:
    """A worker of one execution begins: this attempt belongs to that execution from now on."""

    fence: int
    execution_id: str


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    OUT_OF_TIME = "out_of_time"
    """A worker refused to begin too close to the deadline: not the workflow's fault, so no attempt is used up."""
    UNAVAILABLE = "unavailable"
    """It failed while the circuit breaker of its route was open: the downstream's fault, so no attempt is used up."""
    ROLLED_BACK = "rolled_back"
    """It failed on a release that was rolled back by then: the release's fault, so no attempt is used up."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of an attempt that ended."""

    outcome: Outcome
    clean: bool
    """Every worker of the attempt has surely ended."""
    permanent: bool = False
    """The worker's author says that no retry can help."""
    reason: str = ""
    """For people: error name and message, without payload."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The last state of an execution reports. `next` is what follows the run, if anything is admitted behind it."""

    fence: int
    execution_id: str | None
    """None when no worker of the execution ever answered."""
    ending: Ending
    route: Route
    next: Next | None
    execution_name: str = ""
    """Of the execution that reports, where it tells: a run that an earlier one's execution went on with has another."""
    execution: DrainingExecution | None = None
    """The execution that reports, if it can go on with what `next` is; None if it can't go on, or not with that."""
    heir: str = ""
    """The waiting key that is offered the slot and the execution first, should this key give them up."""


class Evidence(StrEnum):
    """How an attempt that never finished was found dead."""

    NEVER_STARTED = "never_started"
    ENDED_WITHOUT_FINISH = "ended_without_finish"
    HUNG = "hung"
    HEARTBEAT_LOST = "heartbeat_lost"
    """A worker had extended the deadline, and then nothing more was heard of it."""


def ending_of(evidence: Evidence) -> Ending:
    """Tell how an attempt ended that was found dead. One that never started is no failure of its workflow."""
    never_began = evidence is Evidence.NEVER_STARTED
    return Ending(Outcome.OUT_OF_TIME if never_began else Outcome.FAILED, clean=False, reason=evidence)


@dataclass(frozen=True, slots=True)
class Expire:
    """The watchdog gives an attempt up: it is past its deadline, or its execution is known to have ended."""

    fence: int
    evidence: Evidence
    route: Route
    next: Next | None
    """What would follow the run, should the policy skip it."""
    excuse: Outcome | None = None
    """Why it uses no attempt up, though it failed: `UNAVAILABLE` or `ROLLED_BACK`."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The claimed attempt can never start as it is: the exhaustion policy decides at once."""

    fence: int
    reason: str
    route: Route
    next: Next | None


@dataclass(frozen=True, slots=True)
class Divert:
    """Events up to `through` of a key that fails behind are in the dead letters now."""

    through: Position
    count: int


@dataclass(frozen=True, slots=True)
class Extend:
    """A worker's heartbeat: the bound execution has until `deadline_ms`, if that is later than before."""

    fence: int
    execution_id: str
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Postpone:
    """The write that ended the attempt of `fence` took long: its workers may have begun until it landed."""

    fence: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Retime:
    """No time of the key may lie beyond `latest_ms`: whoever set it had a clock that was far ahead."""

    latest_ms: int


@dataclass(frozen=True, slots=True)
class Park:
    """A waiting key can't go on by itself, whatever it is given: a person must look."""

    reason: str


@dataclass(frozen=True, slots=True)
class Operator:
    """Who asks, and why: recorded with what changed."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Start no run of the key until it is released; a run that is under way goes on."""

    operator: Operator


@dataclass(frozen=True, slots=True)
class Release:
    """Let a held key start runs again."""

    operator: Operator


@dataclass(frozen=True, slots=True)
class Resume:
    """Try the run of a parked key again, with all its attempts; steps that are done are not done again."""

    operator: Operator
    is_fresh: bool = False
    """Do its finished steps again too."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Dead-letter what a parked key failed at, and go on behind it."""

    operator: Operator
    slice: Slice | None
    """What it failed at, when it has no run: no route takes it. None when the log has lost what was admitted."""
    next: Next | None
    """What follows."""


@dataclass(frozen=True, slots=True)
class Rewind:
    """Run finished events again. Refused when the key is not as it was planned for."""

    operator: Operator
    id: str
    spans: tuple[Span, ...]
    """In log order, apart, and all finished."""
    planned_generation: int
    """The key's generation when this was planned."""
    planned_hold_at_ms: int
    """When the key was put on hold, at the time of planning; 0 if it wasn't."""
    is_new_generation: bool
    """Whether finished steps are done again."""
    next: Next | None
    """The first slice of the first span."""


@dataclass(frozen=True, slots=True)
class CancelReplay:
    """Run no more of a replay: a run that is under way ends, then the cursor returns."""

    operator: Operator
    id: str
    next: Next | None
    """What follows where the cursor returns to."""


Command = (
    Admit
    | Claim
    | Rejoin
    | Bind
    | Finish
    | Expire
    | GiveUp
    | Divert
    | Extend
    | Postpone
    | Retime
    | Park
    | Hold
    | Release
    | Resume
    | Skip
    | Rewind
    | CancelReplay
)
