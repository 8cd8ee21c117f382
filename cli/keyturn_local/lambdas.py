"""The processes in which the local engine runs functions: to be killed, as a machine's failure would."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from keyturn_local import processes
from keyturn_local.scratch import scratch_dir
from keyturn_local.settings import LocalSettings


def lambda_processes(settings: LocalSettings, function: str) -> list[processes.Process]:
    """The processes that run a function ("payment") of this project's stack now, busy or warm."""
    ours, named = str(scratch_dir(settings)), f"ministack-lambda-{settings.stack_name}-{function}-"
    return [found for found in processes.processes() if ours in (folder := folder_of(found)) and named in folder]


def folder_of(process: processes.Process) -> str:
    """Where a process works; elsewhere than on Linux its command, which names the folder.

    Forks (see `forked`) all have the command of the first of them.
    """
    if sys.platform != "linux":
        return process.command
    try:
        return str(Path(f"/proc/{process.pid}/cwd").readlink())
    except OSError:
        return ""  # it ended while we looked, or is somebody else's


def kill_lambdas(settings: LocalSettings, function: str, count_max: int | None = None) -> int:
    """Kill a function's processes as nothing can prepare for; how many were there."""
    found = lambda_processes(settings, function)[:count_max]
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return len(found)
