"""Draining: the execution that ends a run goes on with its key's next one, which then needs no start of its own.

Its definition (made by `tools/draining.py`) leads from the sequencer back to the fan-out while the sequencer's
answer brings a run. What is claimed is an attempt with a fence and a deadline of its own, as ever; but it belongs to
that execution from its claim on, so no worker need bind it, and nobody else ever starts it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from keyturn.core.naming import is_unicode
from keyturn.core.route import Kind
from keyturn.core.run_header import RunHeader
from keyturn.core.state import KeyState, Run

RESERVE_MS: Final = 15_000
"""What may pass between the sequencer's decision and the next fan-out, and between states: the sequencer's Lambda
timeout, 10 s, and some more. Covers the skew of clocks too."""


@dataclass(frozen=True, slots=True)
class DrainingExecution:
    """An execution that can go on with another run, as it tells of itself when it reports how one went."""

    id: str
    """What it made for itself when it began; its name may be another's too, since Express may start twice."""
    name: str
    machine: str
    """Its state machine's name, without the stack's."""
    release: int
    ends_by_ms: int
    """When it is cut off, whatever it is at."""

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any], header: RunHeader) -> Self | None:
        """Read what an execution passes to the sequencer as `execution`; None if it passes nothing or something else.

        Not an error: the run is finished all the same, and what follows gets a start of its own. So it is with one that
        has no id: its definition is of an earlier version, and makes an id for each run.
        """
        try:
            told = payload["execution"]
            began = datetime.fromisoformat(told["started_at"])
            ends_by_ms = round((began.timestamp() + told["timeout_s"]) * 1_000)
            own_id, name = _text(told["id"]), _text(told["name"])
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            return None
        return cls(own_id, name, header.machine, header.release, ends_by_ms)

    def fits(self, state: KeyState, run: Run, now_ms: int) -> bool:
        """Tell whether a claimed run is for the same version of the same state machine, and has all its time left."""
        if run.kind is not Kind.EXPRESS:
            return False  # a nested run has a history of its own, so it has an execution of its own
        is_of_its_kind = (run.machine, state.release) == (self.machine, self.release)
        return is_of_its_kind and now_ms + run.timeout_ms + RESERVE_MS <= self.ends_by_ms


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or not is_unicode(value):
        raise TypeError("text where id and name stand")
    return value
