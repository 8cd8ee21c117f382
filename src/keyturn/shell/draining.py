"""Hands a key's next run to the execution that ended the one before."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keyturn.core.draining import DrainingExecution
from keyturn.core.state import KeyState, Run
from keyturn.limits import HANDED_OVER_BYTES_MAX


@dataclass(slots=True)
class HandOver:
    """What the sequencer's answer brings to the execution that called it."""

    to: DrainingExecution | None
    """None when that can't go on."""
    input: Mapping[str, Any] = field(default_factory=dict)
    """The next run's, as its own execution would get it; empty while there is none."""

    def take(self, state: KeyState, run: Run, text: str, now_ms: int) -> str | None:
        """Take a claimed run by its input's `text`; return in which execution it goes on, None if it needs a start.

        The answer is written anew on its way, so what counts is its longest form: escapes for all that isn't ASCII.
        """
        if self.to is None or not self.to.fits(state, run, now_ms):
            return None
        document = json.loads(text)
        if len(json.dumps(document)) > HANDED_OVER_BYTES_MAX:
            return None
        self.input = document
        return self.to.name
