"""Takes MiniStack's pauses out: 150 ms before each execution, 50 ms after each invocation that logged nothing.

With four runs in flight these pauses, not the work, decided how many runs a second the local engine did. Nothing needs
them: an execution has been stored before its thread starts, and what a function logged is in its pipe before its answer
is in the other one, since both are written by the one process, and standard error line by line.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import time
from types import SimpleNamespace
from typing import Any, Final

START_PAUSE_S: Final = 0.15
"""What MiniStack 1.5.33 waits for in a new execution's thread."""

_LOG_WITHIN_S: Final = 0.25
"""MiniStack's own limit for reading what an invocation logged."""
_LOOK_EVERY_S: Final = 0.001
_CHUNK_BYTES: Final = 65_536


def start_at_once(module: Any) -> None:
    """Have the executions of MiniStack's Step Functions begin without the pause. Every other wait stays."""
    clock = SimpleNamespace(**{name: getattr(time, name) for name in dir(time) if not name.startswith("_")})

    def sleep(seconds: float) -> None:
        if seconds != START_PAUSE_S:
            time.sleep(seconds)

    clock.sleep = sleep
    module.time = clock


def read_logs_at_once(worker_class: Any) -> None:
    """Have MiniStack's function processes hand over what an invocation logged as soon as all of it is read."""

    def read(worker: Any) -> None:
        """Put the lines of a process into the worker's queue until the process ends: a thread of its own."""
        stream = worker._proc.stderr  # held, so that its number isn't another file's when the process is gone
        rest = b""
        while chunk := _take(worker, stream.fileno()):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                worker._stderr_queue.put(line.decode(errors="replace"))
            worker.is_reading = False
        if rest:
            worker._stderr_queue.put(rest.decode(errors="replace"))
        worker.is_reading = False

    def drain(worker: Any, *_limits: float, **_named_limits: float) -> str:
        """Return what was logged until now."""
        if worker._proc is None:
            worker._stderr_thread.join(_LOG_WITHIN_S)
        else:
            _await_reading(worker, worker._proc.stderr.fileno())
        logged: str = worker._drain_stderr()
        return logged

    worker_class.is_reading = False
    worker_class._read_stderr = read
    worker_class._drain_stderr_bounded = drain


def _take(worker: Any, pipe: int) -> bytes:
    """Wait for bytes and take them; `is_reading` from before they leave the pipe until their lines are handed over."""
    _await_bytes(pipe)
    worker.is_reading = True
    return os.read(pipe, _CHUNK_BYTES)


def _await_bytes(pipe: int) -> None:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    poll.poll()


def _await_reading(worker: Any, pipe: int) -> None:
    deadline_s = time.monotonic() + _LOG_WITHIN_S
    while (_bytes_in(pipe) or worker.is_reading) and time.monotonic() < deadline_s:
        time.sleep(_LOOK_EVERY_S)


def _bytes_in(pipe: int) -> int:
    count: int = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, struct.pack("i", 0)))[0]
    return count
