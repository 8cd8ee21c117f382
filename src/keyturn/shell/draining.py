"""Hands a run to the execution that ended the one before, of the same key or of another."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keyturn.adapters.keys import state_document
from keyturn.core.draining import DrainingExecution
from keyturn.core.log_entry import LogEntry, handed_over_bytes_max
from keyturn.core.state import KeyState
from keyturn.limits import HANDED_OVER_BYTES_MAX


@dataclass(slots=True)
class HandOver:
    """What the sequencer's answer brings to the execution that called it."""

    to: DrainingExecution | None
    """None when that can't go on."""
    answer: Mapping[str, Any] = field(default_factory=dict)
    """The next run's input, as an execution of its own would get it, and what it is begun with; empty while there is
    none. A definition reads all of it or nothing: `tools/draining.py`."""
    is_in_doubt: bool = False
    """Whether a run may have been claimed for the execution that isn't in the answer: its claim was sent."""

    def takes(self, entries: Sequence[LogEntry]) -> DrainingExecution | None:
        """Return the execution if it has room for a run of `entries`. To be asked before that run is claimed."""
        is_small = handed_over_bytes_max(entries) <= HANDED_OVER_BYTES_MAX
        return self.to if is_small else None

    def give(self, execution: DrainingExecution, state: KeyState, text: str) -> None:
        """Hand over the run that `state` has claimed, by its input's `text`.

        Under the id that the execution has and not under the one that the run is bound to: were they ever two, the
        workers would be refused.
        """
        self.is_in_doubt = False
        self.answer = {**json.loads(text), "execution_id": execution.id, "seen": state_document(state)}
