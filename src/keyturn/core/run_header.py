"""What an execution's input says of its run; sequencer and workers read it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from keyturn.core.naming import key_problem
from keyturn.errors import KeyturnError


@dataclass(frozen=True, slots=True)
class RunHeader:
    """What an execution's input says of its run."""

    key: str
    fence: int
    attempt: int
    generation: int
    route: str
    first: str
    count: int
    deadline_ms: int
    flow_id: str
    arrived_at_ms: int
    is_personal: bool
    generation_latest: int = 0
    """Highest generation whose step results count; `generation` is the lowest, and the one that is written."""
    run_timeout_ms: int = 0
    """How long an attempt may take, from its start or from a worker's heartbeat."""
    release: int = 0
    """The release that the run takes; 0 if it takes none."""
    machine: str = ""
    """Name of its state machine, without the stack's; empty in an input of a version that didn't write it."""
    is_forward: bool = False
    """Whether none of its events was in a run of other events before, nor any behind them: it is of no replay, nor cut
    anew because a deploy took its route away."""
    is_cut_anew: bool = False
    """Whether some of its events were in a run of other events that was dropped since no route took it any more."""
    is_bound: bool = False
    """Whether the attempt belonged to this execution when it was claimed: no worker need bind it or wait for that."""

    @property
    def generations(self) -> range:
        """The generations whose step results count."""
        return range(self.generation, max(self.generation, self.generation_latest) + 1)

    @property
    def may_overlap(self) -> bool:
        """Whether results that count may come from runs of other slices, of which some events were among these.

        Not in a generation that was made for this run or for this replay: its runs go forward too, unless one was
        dropped.
        """
        is_made_for_it = 0 < self.generation == self.generation_latest
        return not self.is_forward and (self.is_cut_anew or not is_made_for_it)

    @property
    def started_at_ms(self) -> int:
        """When the attempt was claimed."""
        return self.deadline_ms - self.run_timeout_ms

    @classmethod
    def from_input(cls, run: Mapping[str, Any]) -> Self:
        """Read the header; raises KeyturnError when it isn't one, with the field that is missing or wrong."""
        try:
            header = cls(
                key=run["key"],
                fence=run["fence"],
                attempt=run["attempt"],
                generation=run["generation"],
                route=run["route"],
                first=run["first"],
                count=run["count"],
                deadline_ms=run["deadline_ms"],
                flow_id=run["flow_id"],
                arrived_at_ms=run["arrived_at_ms"],
                is_personal=run["personal"],
                generation_latest=run.get("generation_latest", run["generation"]),
                run_timeout_ms=run.get("run_timeout_ms", 0),
                release=run.get("release", 0),
                machine=run.get("machine", ""),
                is_forward=run.get("forward", False),
                is_cut_anew=run.get("cut_anew", False),
                is_bound=run.get("bound", False),
            )
            header._check_kinds()
        except (KeyError, TypeError, AttributeError) as error:
            raise KeyturnError(
                f"an execution's input has no run header as Keyturn writes it ({error}): start executions by putting "
                "events to the stream, not by hand"
            ) from error
        return header

    def _check_kinds(self) -> None:
        """Raise TypeError for a field that isn't what it must be: an execution may be started by hand."""
        for field in fields(self):
            if type(getattr(self, field.name)) is not field.type:
                raise TypeError(f"{field.name} is of another kind than it must be")
        problem = key_problem(self.key)
        if problem:
            raise TypeError(problem)
