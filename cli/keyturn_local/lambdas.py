"""The processes in which the local engine runs functions: to be killed, as a machine's failure would."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from keyturn_local import processes
from keyturn_local.scratch import scratch_dir
from keyturn_local.settings import LocalSettings


def lambda_processes(settings: LocalSettings, function: str) -> list[processes.Process]:
    """The processes that run a function ("payment") of this project's stack now, busy or warm."""
    ours, named = str(scratch_dir(settings)), f"ministack-lambda-{settings.stack_name}-{function}-"
    return [found for found in processes.processes() if ours in found.command and named in found.command]


def kill_lambdas(settings: LocalSettings, function: str, count_max: int | None = None) -> int:
    """Kill a function's processes as nothing can prepare for; how many were there."""
    found = lambda_processes(settings, function)[:count_max]
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return len(found)
