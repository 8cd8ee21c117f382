"""The event source as a background process, for `keyturn up`. `keyturn demo` runs it as a thread: poller.source."""

from __future__ import annotations

import os
import subprocess
import sys

from keyturn_local import state
from keyturn_local.engine import last_lines, note_poller, restart_engine
from keyturn_local.errors import MappingError
from keyturn_local.processes import end_group
from keyturn_local.settings import LocalSettings, engine_environment

_POLLER_GRACE_S = 2.0


def start_event_source(settings: LocalSettings, function_name: str) -> int:
    """Start it, wait until it reads, note it down for `keyturn down`; its process id. Raises MappingError."""
    log = settings.state_dir / "poller.log"
    with log.open("ab") as sink:
        started = subprocess.Popen(  # noqa: S603  our own module
            [sys.executable, "-m", "keyturn_local.poller", str(settings.root), function_name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
            env=_environment(settings),
            start_new_session=True,
        )
    try:
        note_poller(settings, started.pid)
        said = _first_line(started)
    except BaseException:
        end_group(started.pid, grace_s=1.0)
        started.wait()
        raise
    if said != "ready":
        started.wait()
        reason = said.removeprefix("error: ") or " / ".join(last_lines(log, 2)) or "it said nothing"
        raise MappingError(f"the event source did not start: {reason}. Log: {log}")
    return started.pid


def restart(settings: LocalSettings, function_name: str) -> None:
    """End engine and event source, and start both again where they were. Raises EngineFailed or MappingError."""
    noted = state.read(settings.state_dir)
    if noted is not None and noted.poller is not None:
        end_group(noted.poller.pid, grace_s=_POLLER_GRACE_S)
    restart_engine(settings)
    start_event_source(settings, function_name)


def _first_line(started: subprocess.Popen[bytes]) -> str:
    assert started.stdout is not None, "it was started with a pipe"  # noqa: S101
    with started.stdout:
        return started.stdout.readline().decode().strip()


def _environment(settings: LocalSettings) -> dict[str, str]:
    # The child imports keyturn_local from wherever this process did.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return engine_environment(os.environ, settings) | {"KEYTURN_PORT": str(settings.port), "PYTHONPATH": path}
