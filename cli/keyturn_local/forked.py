"""Runs MiniStack's function processes as forks of one process that has boto3 loaded.

A new process takes half a second of CPU to import boto3, and an engine that warms up starts dozens of them. Forks have
it at once. A function that brings its own boto3 gets a process of its own, as do all of them where forks aren't safe.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import site
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TextIO, cast

_PRELOADED: Final = ("boto3.session", "concurrent.futures.thread", "logging.handlers")
_OWN: Final = ("boto3", "botocore")
_FOLDER_BYTES_MAX: Final = 107 - len("/pymp-xxxxxxxx/listener-xxxxxxxx")
"""A Unix socket's path has 107 bytes at most (unix(7)); multiprocessing puts the one of its fork server there."""
_LAYERS: Final = "_LAMBDA_LAYERS_DIRS"
"""MiniStack's variable: folders of the unpacked layers."""


class ForkedProcess:
    """A Python script in a fork, with what MiniStack uses of `subprocess.Popen`."""

    def __init__(self, script: str, folder: str, environment: Mapping[str, str]) -> None:
        here = multiprocessing.get_context("forkserver")
        said_to, self._in = here.Pipe(duplex=False)
        self._out, answered = here.Pipe(duplex=False)
        self._err, logged = here.Pipe(duplex=False)
        self._process = here.Process(
            target=_run, args=(script, folder, dict(environment), said_to, answered, logged), daemon=True
        )
        self._process.start()
        for theirs in (said_to, answered, logged):
            theirs.close()
        self.stdin: TextIO = _stream(self._in, "w")
        self.stdout: TextIO = _stream(self._out, "r")
        self.stderr: TextIO = _stream(self._err, "r")

    @property
    def pid(self) -> int | None:
        """Of the fork."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """As `returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if (code := self.returncode) is None:
            raise subprocess.TimeoutExpired("fork", timeout or 0.0)
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()


def fork_functions(module: Any) -> None:
    """Have a module of MiniStack's start its Python processes as forks, on Linux and where their socket has room."""
    if sys.platform != "linux" or len(os.fsencode(tempfile.gettempdir())) > _FOLDER_BYTES_MAX:
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(_PRELOADED))

    def popen(command: Sequence[str], *, cwd: str, env: Mapping[str, str], **streams: Any) -> Any:
        if command[0] != sys.executable or len(command) != 2 or brings_its_own(cwd, env):
            return subprocess.Popen(command, cwd=cwd, env=env, **streams)  # noqa: S603  MiniStack's own command
        return ForkedProcess(command[1], cwd, env)

    module.subprocess = SimpleNamespace(**vars(subprocess) | {"Popen": popen})


def brings_its_own(code: str, environment: Mapping[str, str]) -> bool:
    """Whether a function's code or layers hold what the forks have loaded already."""
    layers = [Path(layer) / "python" for layer in environment.get(_LAYERS, "").split(os.pathsep) if layer]
    return any((folder / name).is_dir() for folder in (Path(code), *layers) for name in _OWN)


def _run(
    script: str,
    folder: str,
    environment: Mapping[str, str],
    said_to: Connection,
    answered: Connection,
    logged: Connection,
) -> None:
    """Become the process that would have been started: its streams, folder, environment, path, script."""
    for number, end in enumerate((said_to, answered, logged)):
        os.dup2(end.fileno(), number)
        end.close()
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.dont_write_bytecode = False  # into shared layers, see `shared_layers`, and the function's own unpacked folder
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [str(Path(script).parent), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.modules.pop("sitecustomize", None)
    site.execsitecustomize()  # as when an interpreter starts: PYTHONPATH may have brought one
    sys.argv = [script]
    runpy.run_path(script, run_name="__main__")


def _stream(end: Connection, mode: str) -> TextIO:
    stream = os.fdopen(os.dup(end.fileno()), mode, buffering=1, encoding="utf-8")
    end.close()
    return cast(TextIO, stream)
