"""What can be asked of a key. Commands hold only data; `protocol.transition` decides what they change."""

from dataclasses import dataclass
from enum import StrEnum

from keyturn.core.positions import Position
from keyturn.core.route import Route
from keyturn.core.state import Slice


@dataclass(frozen=True, slots=True)
class Next:
    """What a key would run next, should the command let it: read from the log by the shell before the transition."""

    slice: Slice
    route: Route | None
    """None when no route of this deployment fits the events any more: the key is parked with that reason."""
    has_slot: bool
    """Whether a run may be in flight for it."""


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


class Evidence(StrEnum):
    """How an attempt that never finished was found dead."""

    NEVER_STARTED = "never_started"
    ENDED_WITHOUT_FINISH = "ended_without_finish"
    HUNG = "hung"


@dataclass(frozen=True, slots=True)
class Expire:
    """The watchdog gives an attempt up: it is past its deadline, or its execution is known to have ended."""

    fence: int
    evidence: Evidence
    route: Route
    next: Next | None
    """What would follow the run, should the policy skip it."""


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


Command = Admit | Claim | Bind | Finish | Expire | GiveUp | Divert
