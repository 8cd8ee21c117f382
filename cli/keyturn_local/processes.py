"""Finding and ending groups of processes, on Linux (/proc) and elsewhere (ps)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """A live process. `started` tells it from a later one that was given the same number."""

    pid: int
    group: int
    started: str
    command: str


def processes() -> list[Process]:
    """All live processes that may be seen; zombies, which only wait for their parent to notice, are left out."""
    if sys.platform == "linux":
        found = (_from_proc(entry) for entry in _PROC.iterdir() if entry.name.isdigit())
        return [process for process in found if process is not None]
    return _from_ps()


def process(pid: int) -> Process | None:
    """The live process of this number, if there is one."""
    if sys.platform == "linux":
        return _from_proc(_PROC / str(pid))
    return next((found for found in processes() if found.pid == pid), None)


def is_same(pid: int, started: str) -> bool:
    """Whether the process that was noted down as (pid, started) still lives."""
    found = process(pid)
    return found is not None and found.started == started


def group_members(group: int) -> list[Process]:
    """The live members of a process group."""
    return [found for found in processes() if found.group == group]


def end_group(group: int, *, grace_s: float) -> None:
    """End a process group: SIGTERM, then SIGKILL after `grace_s`. Returns when no member is left alive."""
    deadline_s = time.monotonic() + grace_s
    _signal_group(group, signal.SIGTERM)
    while group_members(group):
        if time.monotonic() >= deadline_s:
            _signal_group(group, signal.SIGKILL)
        time.sleep(_POLL_S)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # Nobody left; macOS answers EPERM for a group that holds only zombies.
        return


def _from_proc(entry: Path) -> Process | None:
    try:
        stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None  # it ended while we looked
    # proc(5): the name may hold spaces and brackets, so count the fields from the last bracket: state is field 3.
    fields = stat.rpartition(")")[2].split()
    state, group, started = fields[0], int(fields[2]), fields[19]
    if state in "ZX":
        return None
    return Process(pid=int(entry.name), group=group, started=started, command=command)


def _from_ps() -> list[Process]:
    # lstart is five words: Tue Nov 24 10:00:00 2026
    lines = subprocess.run(
        ["/bin/ps", "-A", "-o", "pid=,pgid=,stat=,lstart=,command="],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C"},
    ).stdout.splitlines()
    rows = (line.split(None, 8) for line in lines)
    return [
        Process(int(row[0]), int(row[1]), " ".join(row[3:8]), row[8] if len(row) > 8 else "")
        for row in rows
        if len(row) >= 8 and not row[2].startswith("Z")
    ]
