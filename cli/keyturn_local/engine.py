"""Starts and stops the embedded engine (MiniStack, an AWS emulator) with everything that it starts itself.

    with start_engine(settings) as engine:      # `keyturn demo`: ends with the block, or with this process
        ...
    engine = start_engine(settings, detached=True)
    engine.keep()                               # `keyturn up`: outlives this process from here on
    running = find_running(settings)            # None, an EngineState, or HalfUp
    stop_running(settings)                      # `keyturn down`: ends whatever is left, True if there was something

The engine, its guard and its warm Lambda processes are one process group, so that one kill reaches them all. The
background event source leads a second group; both are noted in .keyturn/engine.json.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from keyturn_local import guard, state
from keyturn_local.errors import AlreadyUp, EngineFailed, HalfUp
from keyturn_local.ports import require_free
from keyturn_local.preflight import check_python, tool
from keyturn_local.processes import Process, end_group
from keyturn_local.scratch import make_scratch, remove_scratch, scratch_dir
from keyturn_local.settings import ENGINE_NAME, LOCAL_HOST, LocalSettings, engine_environment
from keyturn_local.state import EngineState, Noted

START_LIMIT_S = 60.0
_SERVER: Final = "keyturn_local.server"
"""Usually under a second; a cold disk cache on a small machine takes several."""
STOP_GRACE_S = guard.GRACE_S + 1.0
"""The guard ends its group within its own grace; after this one it is ended with it."""
_CHECK_S = 0.05

SERVICES = (
    "s3,sqs,sns,dynamodb,lambda,iam,sts,logs,events,scheduler,kinesis,cloudwatch,states,cloudformation,kms,ssm,tagging"
)
"""What the template uses. The others stay unloaded, and open no ports of their own (IoT takes 8883)."""


@dataclass(slots=True)
class Engine:
    """A started engine. Use it as a context manager, or call stop()."""

    settings: LocalSettings
    state: EngineState
    _guard: subprocess.Popen[bytes]

    @property
    def endpoint_url(self) -> str:
        """Where its API answers."""
        return self.settings.endpoint_url

    @property
    def running(self) -> bool:
        """False once it ended by itself."""
        return self._guard.poll() is None

    def keep(self) -> None:
        """Let it outlive this process; until then it ends with it, however that dies. Raises EngineFailed."""
        assert self._guard.stdin is not None, "its guard is started with a pipe"  # noqa: S101
        try:
            os.write(self._guard.stdin.fileno(), guard.STAY)
        except BrokenPipeError as error:
            raise EngineFailed(f"the engine ended meanwhile. Log: {_log_path(self.settings)}") from error
        self._guard.stdin.close()

    def stop(self) -> None:
        """End it with every process it started. May be called again."""
        end_group(self._guard.pid, grace_s=STOP_GRACE_S)
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        noted = state.read(self.settings.state_dir)
        if noted is not None and noted.name == self.state.name:  # else another one was started since
            _clean_up(self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_engine(settings: LocalSettings, *, detached: bool = False, start_limit_s: float = START_LIMIT_S) -> Engine:
    """Start an engine and wait until it answers. `detached`: it writes down what it holds, and may be kept.

    Raises AlreadyUp, HalfUp, PortTaken, ToolMissing, PythonTooOld or EngineFailed. Nothing is left running then.
    """
    check_python()
    tool("ministack")
    with _alone(settings):
        if (running := find_engine(settings)) is not None:
            raise AlreadyUp(
                f"Keyturn is up already on port {running.port} (process {running.engine.pid})."
                " Use it, or stop it: make down"
            )
        require_free(settings.port)
        _clean_up(settings)
        _log_path(settings).unlink(missing_ok=True)
        engine = _spawn(settings, detached=detached)
        try:
            state.write(settings.state_dir, engine.state)
            _wait_until_healthy(engine, limit_s=start_limit_s)
        except BaseException:
            engine.stop()
            raise
    return engine


def find_running(settings: LocalSettings) -> EngineState | None:
    """The running engine of this project, or None. Raises HalfUp when a part of it died.

    An engine without an event source is whole: `keyturn demo` runs that one inside itself, and `keyturn up` starts
    it after the deploy.
    """
    found = find_engine(settings)
    if found is not None and found.poller is not None and not found.poller.alive:
        raise HalfUp(
            f"the engine runs, but its event source (process {found.poller.pid}) died, and what is put waits in the"
            " stream. Start it again: make up"
        )
    return found


def find_engine(settings: LocalSettings) -> EngineState | None:
    """The running engine of this project, whether or not its event source lives. Raises HalfUp."""
    noted = state.read(settings.state_dir)
    if noted is None or not noted.living:
        return None
    repair = "Clean up with: make down"
    if not noted.engine.alive or not noted.engine.group:
        raise HalfUp(f"the engine (process {noted.engine.pid}) died, but processes of it still run. {repair}")
    if not is_healthy(noted.port, noted.name or None):
        raise HalfUp(f"the engine (process {noted.engine.pid}) runs, but doesn't answer on port {noted.port}. {repair}")
    return noted


def stop_running(settings: LocalSettings) -> bool:
    """End whatever is left of this project's engine and event source. True if anything was."""
    if not settings.state_dir.is_dir():
        return False
    with _alone(settings):
        return _stop_noted(settings)


def _stop_noted(settings: LocalSettings) -> bool:
    noted = state.read(settings.state_dir)
    found = noted is not None and noted.living
    if noted is not None:
        for leader in filter(None, (noted.poller, noted.engine)):
            if leader.group:
                end_group(leader.pid, grace_s=STOP_GRACE_S)
    _clean_up(settings)
    return found


def keeps_state(settings: LocalSettings) -> bool:
    """Whether the running engine writes down what it holds when it is asked to end: that of `keyturn up` does."""
    return _kept_dir(settings).is_dir()


def restart_engine(settings: LocalSettings, *, limit_s: float = START_LIMIT_S) -> None:
    """Let the detached engine end as at a shutdown of its machine, and start it again with what it held.

    Executions that were running have failed then, warm Lambda processes are gone. The event source goes on waiting, or
    ends: start it again. Raises EngineFailed; the engine is down then.
    """
    noted = _noted(settings)
    server = next((one for one in noted.engine.group if _is_server(one)), None)
    if server is None or not keeps_state(settings):
        raise EngineFailed("the running engine keeps no state, a restart would empty it. Start one with: make up")
    os.kill(server.pid, signal.SIGTERM)  # its guard ends the group behind it
    deadline_s = time.monotonic() + limit_s
    while noted.engine.group:
        if time.monotonic() >= deadline_s:
            raise EngineFailed(f"the engine did not end within {limit_s:.0f} s. Clean up with: make down")
        time.sleep(_CHECK_S)
    engine = _spawn(settings, detached=True)
    engine.keep()
    state.write(settings.state_dir, engine.state)
    _wait_until_healthy(engine, limit_s=limit_s)


def _is_server(process: Process) -> bool:
    return f"-m {_SERVER}" in process.command and guard.__file__ not in process.command


def note_poller(settings: LocalSettings, pid: int) -> None:
    """Add the background event source to the note of the running engine."""
    state.write(settings.state_dir, replace(_noted(settings), poller=Noted.of(pid)))


def is_healthy(port: int, name: str | None = None) -> bool:
    """Whether an engine answers on this port; the one of this name, if one is given."""
    opener = build_opener(ProxyHandler({}))  # a proxy of the user's would be asked for 127.0.0.1
    try:
        with opener.open(f"http://{LOCAL_HOST}:{port}/_ministack/health", timeout=5) as answer:
            told = json.load(answer)
    except (URLError, HTTPException, OSError, ValueError):
        return False  # or somebody else does, who speaks another language
    return isinstance(told, dict) and "services" in told and name in (None, told.get(ENGINE_NAME))


def last_lines(log: Path, count: int = 5) -> tuple[str, ...]:
    """The end of a log, without empty lines."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    return tuple(line.rstrip() for line in lines if line.strip())[-count:]


def _noted(settings: LocalSettings) -> EngineState:
    noted = state.read(settings.state_dir)
    if noted is None:
        raise EngineFailed("the engine isn't running. Start it with: make up")
    return noted


def _spawn(settings: LocalSettings, *, detached: bool) -> Engine:
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    make_scratch(settings)
    if detached:
        _kept_dir(settings).mkdir(exist_ok=True)
    name = secrets.token_hex(8)
    with _log_path(settings).open("ab") as log:
        started = subprocess.Popen(  # noqa: S603  our own guard with our own arguments
            [sys.executable, guard.__file__, sys.executable, "-m", _SERVER],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=settings.state_dir,
            env=_environment(settings, detached=detached) | {ENGINE_NAME: name},
            start_new_session=True,  # a Ctrl-C in the terminal is ours to handle, not the engine's
        )
    noted = EngineState(
        port=settings.port,
        started_at_s=time.time(),
        engine=Noted.of(started.pid),
        name=name,
        stack_name=settings.stack_name,
    )
    return Engine(settings, noted, started)


@contextmanager
def _alone(settings: LocalSettings) -> Iterator[None]:
    """Have one command at a time start or end what the note tells of; another one waits, START_LIMIT_S at most."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with (settings.state_dir / "engine.lock").open("w") as lock:
        with suppress(OSError):  # a file system without locks: two starts at once aren't told apart there
            fcntl.flock(lock, fcntl.LOCK_EX)  # given up when the file is closed, by the kernel if need be
        yield


def _environment(settings: LocalSettings, *, detached: bool) -> dict[str, str]:
    kept_dir = _kept_dir(settings)
    kept = {
        name: value
        for name, value in engine_environment(os.environ, settings).items()
        # functions get their endpoint from the engine, and a user's engine settings could turn on persistence
        if not name.startswith(("LAMBDA_", "SFN_", "MINISTACK_", "LOCALSTACK_")) and name != "AWS_ENDPOINT_URL"
    }
    return kept | {
        "GATEWAY_PORT": str(settings.port),
        "BIND_HOST": LOCAL_HOST,
        "MINISTACK_REGION": settings.region,
        "SERVICES": SERVICES,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # written when it is asked to end, so that a restart goes on with it; `keyturn down` removes it
        "PERSIST_STATE": "1" if detached else "0",
        "STATE_DIR": str(kept_dir),
        "S3_PERSIST": "1" if detached else "0",
        "S3_DATA_DIR": str(kept_dir / "s3"),
        "LAMBDA_EXECUTOR": "local",
        "LAMBDA_WARM_TTL_SECONDS": "120",
        # A Docker daemon on the machine is none of the engine's business: it would look there for containers to remove.
        "DOCKER_HOST": f"unix://{settings.state_dir / 'no-docker'}",
        guard.SCRATCH: str(scratch_dir(settings)),
        "TMPDIR": str(scratch_dir(settings)),  # unpacked functions; removed with the engine
        "PYTHONUNBUFFERED": "1",
    }


def _kept_dir(settings: LocalSettings) -> Path:
    return settings.state_dir / "engine-state"


def _log_path(settings: LocalSettings) -> Path:
    return settings.state_dir / "engine.log"


def _wait_until_healthy(engine: Engine, *, limit_s: float) -> None:
    deadline_s = time.monotonic() + limit_s
    while not is_healthy(engine.settings.port, engine.state.name):
        log = _log_path(engine.settings)
        if not engine.running:
            require_free(engine.settings.port)  # somebody may have taken it since
            said = " / ".join(last_lines(log, 2)) or "nothing"
            raise EngineFailed(f"the engine ended while starting. It said: {said}. Whole log: {log}")
        if time.monotonic() >= deadline_s:
            raise EngineFailed(f"the engine didn't answer within {limit_s:.0f} s. Log: {log}")
        time.sleep(_CHECK_S)


def _clean_up(settings: LocalSettings) -> None:
    state.forget(settings.state_dir)
    remove_scratch(settings)
    shutil.rmtree(_kept_dir(settings), ignore_errors=True)
    for left in settings.state_dir.glob("checkpoints-*.json"):
        left.unlink(missing_ok=True)  # positions in a stream that is gone with its engine
