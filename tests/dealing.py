"""Deals the tests out to pytest-xdist's workers, a file to one worker, so that cores are busy until the end.

End-to-end tests come first, since they take longest and wait half of their time, which is when the other workers have
the cores. They share one stack, which takes a quarter of a minute to come up, so they go to one worker; only the
replays, which keep a stack busy for minutes, have one of their own.
"""

from __future__ import annotations

from typing import Final

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

ENDTOEND: Final = "tests/endtoend/"
APART: Final = f"{ENDTOEND}test_replay.py"


class EndToEndFirst(LoadFileScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """What `--dist loadfile` does, but for end-to-end tests."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return ENDTOEND if file.startswith(ENDTOEND) and file != APART else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        first = min(self.workqueue, key=lambda scope: not scope.startswith(ENDTOEND))
        self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)
