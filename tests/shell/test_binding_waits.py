"""How long a worker leaves the binding of its attempt to another, before it looks and in the end binds it itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from keyturn.adapters.process import Process
from keyturn.core.state import KeyState
from keyturn.core.task import Task
from keyturn.shell.work import work
from tests.core import states as make
from tests.core.states import at
from tests.shell.test_batches import Key


@dataclass
class Table:
    """A key whose attempt another worker binds, before so many looks; each read takes so long."""

    key: Key = field(default_factory=Key)
    read_ms: int = 0
    looks_before: int = 0
    waits_ms: list[int] = field(default_factory=list)
    looks: int = 0

    def __post_init__(self) -> None:
        """Build a worker's bench on it."""
        process = Process(clock=lambda: self.key.now_ms, sleep=lambda s: self.waits_ms.append(round(s * 1000)))
        steps: Any = self
        self.bench = replace(self.key.bench, process=process, steps=steps)

    def load(self, _sought: Any) -> tuple[KeyState, dict[str, Any]]:
        """Read: bound by now, or not yet; the step is done, which is nothing to do."""
        self.looks += 1
        self.key.now_ms += self.read_ms
        state = make.bound()
        assert state.run is not None
        bound_to = "x" if self.looks > self.looks_before else None
        return replace(state, fence=1, run=replace(state.run, deadline_ms=10**15, execution_id=bound_to)), {at(1): {}}

    def begin(self, *, looks_before: int = 0) -> list[int]:
        """Invoke the worker; return what it waited before each look."""
        self.waits_ms, self.looks, self.looks_before = [], 0, looks_before
        header = {
            "key": "k", "fence": 1, "attempt": 1, "generation": 0, "generation_latest": 0, "route": "batch",
            "first": at(1), "count": 1, "deadline_ms": 10**15, "flow_id": "f", "arrived_at_ms": 1, "personal": False,
            "forward": True, "run_timeout_ms": 60_000,
        }  # fmt: skip
        event = {"specversion": "1.0", "id": "e", "source": "/t", "type": "batch", "data": {}}
        events = [{"position": at(1), "flow_id": "f", "event": event}]
        payload = {"step": "payment", "execution_id": "x", "binds": False, "run": header, "events": events}
        answer = work(self.bench, Task.from_payload(payload), lambda: 60_000, lambda _event, _step: {})
        assert answer["outcome"] == "done"
        return self.waits_ms


def test_a_quick_table_is_looked_at_soon() -> None:
    """Each wait is twice the one before, four at most."""
    assert Table().begin() == [15]
    assert Table().begin(looks_before=3) == [15, 30, 60, 120]


@pytest.mark.parametrize(("read_ms", "waits_ms"), [(5, [20, 40]), (40, [55, 110]), (9_000, [65, 130])])
def test_a_slow_table_is_left_more_time(read_ms: int, waits_ms: list[int]) -> None:
    """As long as the last read took here, up to a bound: the worker's own time goes on."""
    table = Table(read_ms=read_ms)
    table.begin()
    assert table.begin(looks_before=1) == waits_ms
