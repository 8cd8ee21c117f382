"""What a command comes to: the new state, what to write and to do for it, or why nothing changes."""

from dataclasses import dataclass
from enum import StrEnum

from keyturn.core.actions import Action, Record, StartRun
from keyturn.core.state import KeyState, Run


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings that the protocol itself depends on."""

    clock_margin_ms: int = 2_000
    """Added wherever the clocks of two functions meet; covers the skew of both."""
    table_incarnation: int = 1
    """Raised when the table is restored or rebuilt: fences start over then, execution names stay taken."""


class Refusal(StrEnum):
    """Why a command changed nothing."""

    NOTHING_NEW = "nothing_new"
    WRONG_PHASE = "wrong_phase"
    SUPERSEDED = "superseded"
    OTHER_EXECUTION = "other_execution"
    TOO_EARLY = "too_early"
    NO_SLOT = "no_slot"
    OTHER_SLICE = "other_slice"
    HELD = "held"
    REPLAYING = "replaying"
    """One replay of a key at a time."""
    CHANGED = "changed"
    """The key is not as it was when this was planned."""
    NOTHING_TO_SKIP = "nothing_to_skip"
    NO_RUN = "no_run"
    """There is no run whose finished steps could be done again."""


@dataclass(frozen=True, slots=True)
class Transition:
    """What a command comes to. `state` is the old one when `refusal` is set."""

    state: KeyState
    records: tuple[Record, ...] = ()
    actions: tuple[Action, ...] = ()
    refusal: Refusal | None = None


def refuse(state: KeyState, refusal: Refusal) -> Transition:
    """Change nothing; a claimed run that nobody began is started again, which heals a crash before its start."""
    return Transition(state, actions=start_again(state), refusal=refusal)


def start_again(state: KeyState) -> tuple[Action, ...]:
    """Start a claimed run that nobody began, if there is one."""
    return (StartRun(state.run),) if state.is_unstarted and state.run is not None else ()


def run_of(state: KeyState) -> Run:
    """Return the run that a running key has."""
    assert state.run is not None, "a running key has a run"  # noqa: S101
    return state.run
