"""CPU seconds of processes with everything that they started, by /proc (Linux only)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")


def cpu_s(roots: Iterable[int]) -> float:
    """User and system time so far of these processes and their descendants, ended ones that were reaped too."""
    ticks: dict[int, int] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(entry)) is not None:
            # proc(5), counted from behind the name: 1 ppid; 11 utime, 12 stime, 13 cutime, 14 cstime
            children[int(fields[1])].append(int(entry.name))
            ticks[int(entry.name)] = sum(int(field) for field in fields[11:15])
    family: set[int] = set()
    waiting = [root for root in roots if root in ticks]
    while waiting:
        pid = waiting.pop()
        if pid not in family:
            family.add(pid)
            waiting += children[pid]
    return sum(ticks[pid] for pid in family) / os.sysconf("SC_CLK_TCK")


def _stat(entry: Path) -> list[str] | None:
    try:
        return (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None  # it ended while we looked
