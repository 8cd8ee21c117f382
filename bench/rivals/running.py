"""Starts and ends a rival's processes, and hands it runs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

from bench.contender import Outcome
from bench.cpu import cpu_s
from bench.errors import BenchError, TooSlow
from bench.order import Effect
from bench.rivals import install
from bench.workload import BenchEvent, run_of

PROJECT: Final = Path(__file__).resolve().parents[2]
UP_WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Rival:
    """A rival that is up."""

    name: str
    event_type: str
    pids: tuple[int, ...]
    app: subprocess.Popen[str]

    def run(self, events: Sequence[BenchEvent], *, limit_s: float) -> Outcome:
        """Hand a run to the app. Raises TooSlow."""
        before_s = cpu_s(self.pids)
        rows = [(event.key, event.number, event.id, event.data.decode()) for event in events]
        answer = self._ask({"run": run_of(events), "limit_s": limit_s, "events": rows})
        if "error" in answer:
            raise TooSlow(f"{self.name}: {answer['error']}")
        used_s = cpu_s(self.pids) - before_s
        return Outcome(answer["put_at_ms"], tuple(Effect(*row) for row in answer["effects"]), used_s)

    def _ask(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self.app.stdin is not None, "it was started with a pipe"  # noqa: S101
        self.app.stdin.write(json.dumps(job) + "\n")
        self.app.stdin.flush()
        return _answer(self.app, self.name)


@contextmanager
def dbos(folder: Path) -> Iterator[Rival]:
    """DBOS on a PostgreSQL server of its own, as it is delivered: every commit goes to the disk."""
    python, programs = install.python(folder), install.postgres_programs()
    with ExitStack() as running:
        data = _scratch(running)
        port = free_port()
        server = _start_postgres(running, programs, data, port)
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        app = running.enter_context(_app(python, "bench.rivals.dbos_app", url, log=folder / "dbos.log"))
        yield Rival("dbos", "bench.order", (server.pid, app.pid), app)


@contextmanager
def restate(folder: Path) -> Iterator[Rival]:
    """Restate with one server, as it is delivered, a service process and a client process."""
    python, program = install.python(folder), install.restate_server(folder)
    with ExitStack() as running:
        data = _scratch(running)
        ingress, admin, node, service = (free_port() for _ in range(4))
        settings = {
            "RESTATE_BASE_DIR": str(data / "restate"),
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
            "RESTATE_LOG_FILTER": "warn",
            "DO_NOT_TRACK": "1",
        }
        server = running.enter_context(_process([str(program)], folder / "restate.log", settings))
        handlers = running.enter_context(
            _process(_module(python, "bench.rivals.restate_app", "serve", str(service)), folder / "restate-app.log")
        )
        _until(lambda: _answers(f"http://127.0.0.1:{admin}/health"), "the Restate server")
        _until(lambda: _register(admin, service), "the registration of Restate's service")
        arguments = ("put", f"127.0.0.1:{ingress}")
        app = running.enter_context(
            _app(python, "bench.rivals.restate_app", *arguments, log=folder / "restate-put.log")
        )
        yield Rival("restate", "bench.order", (server.pid, handlers.pid, app.pid), app)


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _scratch(running: ExitStack) -> Path:
    """A folder that is removed in the end; others may pass through, since PostgreSQL refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="keyturn-bench-"))
    running.callback(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    return folder


def _start_postgres(running: ExitStack, programs: Path, folder: Path, port: int) -> subprocess.Popen[bytes]:
    data = folder / "postgres"
    data.mkdir()
    user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(data, "postgres", "postgres")
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]
    log = folder / "postgres.log"
    with log.open("wb") as sink:
        initdb = [
            *user,
            str(programs / "initdb"),
            "-D",
            str(data),
            "-U",
            "postgres",
            "--auth=trust",
            "--no-locale",
            "-E",
            "UTF8",
        ]
        subprocess.run(initdb, stdout=sink, stderr=sink, cwd=data, check=True)  # noqa: S603  fixed arguments
    command = [*user, str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", str(data), "-h", "127.0.0.1"]
    server = running.enter_context(_process([*command, "-c", "max_connections=200"], log))
    ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
    _until(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, "PostgreSQL")  # noqa: S603
    return server


@contextmanager
def _process(
    command: Sequence[str], log: Path, settings: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as sink:
        started = subprocess.Popen(  # noqa: S603  the rivals' own programs
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=_environment(settings or {})
        )
    try:
        yield started
    finally:
        _end(started)


@contextmanager
def _app(python: Path, module: str, *arguments: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    with log.open("ab") as sink:
        started = subprocess.Popen(  # noqa: S603  our own module
            _module(python, module, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            env=_environment({}),
            text=True,
        )
    try:
        _answer(started, f"{module} (log: {log})")
        yield started
    finally:
        _end(started)


def _end(started: subprocess.Popen[Any]) -> None:
    started.terminate()
    try:
        started.wait(timeout=10)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()


def _module(python: Path, module: str, *arguments: str) -> list[str]:
    return [str(python), "-m", module, *arguments]


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1", **settings}


def _answer(app: subprocess.Popen[str], name: str) -> Mapping[str, Any]:
    assert app.stdout is not None, "it was started with a pipe"  # noqa: S101
    for line in app.stdout:
        if line.startswith("{"):
            answer: Mapping[str, Any] = json.loads(line)
            return answer
    raise BenchError(f"{name} ended before it answered (exit code {app.wait()})")


def _register(admin: int, service: int) -> bool:
    body = json.dumps({"uri": f"http://127.0.0.1:{service}"}).encode()
    request = Request(f"http://127.0.0.1:{admin}/deployments", body, {"content-type": "application/json"})
    return _answers(request)


def _answers(request: Request | str) -> bool:
    try:
        with urlopen(request, timeout=10) as answer:  # noqa: S310  always http to this machine
            return bool(answer.status < 300)
    except (URLError, OSError):
        return False


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + UP_WITHIN_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise BenchError(f"{what} didn't come up within {UP_WITHIN_S:.0f} s")
        time.sleep(0.1)
