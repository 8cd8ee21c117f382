"""Has botocore show every call of this process to the guard, whoever makes the client.

    from tests.guard import hook
    hook.install()          # from now on; clients made before stay unguarded
    hook.broken             # what was refused so far, for whoever swallowed the error

Loaded inside the Lambda processes of the test engine too (see `inside_lambdas/`), where it also writes a line
into the file that KEYTURN_GUARD_LOG names, since nobody else would hear of it there. What the calls need to be allowed
goes into the file that KEYTURN_CALLS_LOG names, once a process: `FUNCTION ACTION RESOURCE`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from botocore import handlers

from .calls import Need, needs
from .limits import BeyondLimit, check

LOG_VARIABLE = "KEYTURN_GUARD_LOG"
CALLS_VARIABLE = "KEYTURN_CALLS_LOG"
GUARDED = "guarded"
"""What a process writes into the log once it is."""

broken: list[str] = []
_noted: set[Need] = set()


def install() -> None:
    """Guard every client that a session makes from now on."""
    if not any(entry[1] is _on_call for entry in handlers.BUILTIN_HANDLERS):
        handlers.BUILTIN_HANDLERS.append(("before-parameter-build", _on_call))
        _write_down(GUARDED)


def _on_call(params: dict[str, Any], model: Any, **_: Any) -> None:
    try:
        check(str(model.service_model.service_name), model.name, params)
    except BeyondLimit as error:
        broken.append(str(error))
        _write_down(str(error))
        raise
    if CALLS_VARIABLE in os.environ:
        for need in sorted(set(needs(str(model.service_model.service_name), model.name, params)) - _noted):
            _noted.add(need)
            _append(os.environ[CALLS_VARIABLE], " ".join((_function(), *need)))


def _write_down(problem: str) -> None:
    log = os.environ.get(LOG_VARIABLE)
    if log:
        _append(log, f"{_function()}: {problem}")


def _function() -> str:
    return os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "tests")


def _append(file: str, line: str) -> None:
    with Path(file).open("a", encoding="utf-8") as sink:
        sink.write(line + "\n")
