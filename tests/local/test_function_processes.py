"""MiniStack's function processes as forks, with layers unpacked once, and without its pauses."""

from __future__ import annotations

import inspect
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from keyturn_local import prompt_ministack
from keyturn_local.forked import ForkedProcess, brings_its_own, fork_functions
from keyturn_local.prompt_ministack import START_PAUSE_S, read_logs_at_once, start_at_once
from keyturn_local.shared_layers import share_layers
from ministack.core import lambda_runtime
from ministack.services import lambda_svc, stepfunctions

from tests.local.kit import LIMIT_S

HANDLER = """
import os, sys
import in_layer

def handler(event, context):
    print("asked", event["ask"])
    if event["ask"] == "fail":
        raise ValueError("on purpose")
    if event["ask"] == "end":
        os._exit(3)
    return {
        "pid": os.getpid(),
        "cwd": os.getcwd(),
        "variable": os.environ.get("VARIABLE"),
        "path": os.environ.get("PATH"),
        "inherited": os.environ.get("OF_THE_ENGINE_LATER"),
        "layer": os.path.realpath(in_layer.__file__),
        "project": [name for name in sys.modules if name == "keyturn"],
    }
"""


def packed(files: dict[str, str]) -> bytes:
    """Zip these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


LAYER = packed({"python/in_layer.py": "VALUE = 1\n"})


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A function of MiniStack's, with all changes that the local engine makes to its processes, and nobody else's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(lambda_runtime, "subprocess", lambda_runtime.subprocess)
    monkeypatch.setattr(lambda_runtime, "zipfile", lambda_runtime.zipfile)
    monkeypatch.setattr(lambda_svc, "_resolve_layer_zip", lambda _arn: LAYER)
    fork_functions(lambda_runtime)
    share_layers(lambda_runtime)

    worker_class: Any = type("Worker", (lambda_runtime.Worker,), {})  # MiniStack's own stays as it is
    read_logs_at_once(worker_class)
    monkeypatch.setattr(prompt_ministack, "_LOG_WITHIN_S", LIMIT_S)  # a busy machine may take longer than MiniStack
    arn = "arn:aws:lambda:us-east-1:000000000000:function:f"
    config = {
        "Runtime": "python3.13",
        "Handler": "app.handler",
        "FunctionName": "f",
        "FunctionArn": arn,
        "Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"],
        "Environment": {"Variables": {"VARIABLE": "value"}},
        "Timeout": LIMIT_S,
    }
    made = worker_class("f", config, packed({"app.py": HANDLER}))
    yield made
    made.kill()


def ask(worker: Any, what: str) -> dict[str, Any]:
    """Invoke."""
    answer: dict[str, Any] = worker.invoke({"ask": what}, "request")
    return answer


def test_a_function_runs_as_in_a_process_of_its_own(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own folder, the environment of its start, nothing of the project's from the engine; warm at the second time."""
    monkeypatch.setenv("OF_THE_ENGINE_LATER", "as it is now, not as it was when forks began")
    first, second = ask(worker, "who"), ask(worker, "who")
    result = first["result"]
    assert (first["status"], first["cold_start"], second["cold_start"]) == ("ok", True, False)
    assert result["pid"] == second["result"]["pid"] != os.getpid()
    assert Path(result["cwd"]).parent == Path(worker._tmpdir)
    assert (result["variable"], result["path"]) == ("value", os.environ["PATH"])
    assert result["project"] == []
    assert result["inherited"] == "as it is now, not as it was when forks began"


def test_what_an_invocation_logs_comes_with_its_own_answer(worker: Any) -> None:
    """Of one that answers, that fails and that ends its process; the process after a failure is a new one."""
    logs = [(what, ask(worker, what)["log"]) for what in ("who", "fail", "who", "end", "who")]
    assert [log for _, log in logs] == [f"asked {what}" for what, _ in logs]


def test_a_failed_function_says_why(worker: Any) -> None:
    """As MiniStack's processes do."""
    failed = ask(worker, "fail")
    assert (failed["status"], failed["error"]) == ("error", "on purpose")
    assert ask(worker, "end")["status"] == "error"


@pytest.mark.parametrize("how", ["fail", "end"])
def test_a_process_that_ended_leaves_nothing_to_wait_for(worker: Any, how: str) -> None:
    """The next one's invocations would wait for lines of it that never come, each until the limit."""
    ask(worker, how)
    assert not worker.is_reading


def test_a_layer_is_unpacked_once_for_all_processes(worker: Any) -> None:
    """Whatever ends in between; its byte code stays."""
    places = {ask(worker, "who")["result"]["layer"]}
    ask(worker, "fail")
    places.add(ask(worker, "who")["result"]["layer"])
    [place] = places
    assert list((Path(place).parent / "__pycache__").glob("in_layer.*.pyc"))


def test_a_fork_tells_how_it_ended(tmp_path: Path) -> None:
    """By its exit code, or by the signal that ended it."""
    script = tmp_path / "script.py"
    script.write_text("import sys\nsys.exit(int(sys.stdin.readline()))\n", encoding="utf-8")
    ended, killed = (ForkedProcess(str(script), str(tmp_path), os.environ) for _ in range(2))
    assert ended.poll() is None
    ended.stdin.write("7\n")
    killed.kill()
    assert (ended.wait(LIMIT_S), killed.wait(LIMIT_S)) == (7, -signal.SIGKILL)


def test_waiting_for_a_fork_has_an_end(tmp_path: Path) -> None:
    """MiniStack kills what doesn't end when it is asked to."""
    script = tmp_path / "script.py"
    script.write_text("input()\n", encoding="utf-8")
    busy = ForkedProcess(str(script), str(tmp_path), os.environ)
    with pytest.raises(subprocess.TimeoutExpired):
        busy.wait(0.01)
    busy.terminate()
    assert busy.wait(LIMIT_S) == -signal.SIGTERM


def test_a_fork_has_the_path_that_its_environment_names(tmp_path: Path) -> None:
    """And what an interpreter runs at its start, if it is there."""
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.at_start = 5\n", encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text("import sys\nsys.exit(at_start)\n", encoding="utf-8")
    assert ForkedProcess(str(script), "/", os.environ | {"PYTHONPATH": str(tmp_path)}).wait(LIMIT_S) == 5


@pytest.mark.parametrize("place", ["code/boto3", "layer/python/botocore"])
def test_a_function_with_its_own_boto3_is_no_fork(tmp_path: Path, place: str) -> None:
    """It would get the engine's."""
    code, layer = tmp_path / "code", tmp_path / "layer"
    (code / "helpers").mkdir(parents=True)
    environment = {"_LAMBDA_LAYERS_DIRS": str(layer)}
    assert not brings_its_own(str(code), environment)
    (tmp_path / place).mkdir(parents=True)
    assert brings_its_own(str(code), environment)


def test_executions_start_at_once_and_other_waits_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause is the one that MiniStack has there: another version of it may have another."""
    slept: list[float] = []
    monkeypatch.setattr(prompt_ministack, "time", SimpleNamespace(**vars(time) | {"sleep": slept.append}))
    module: Any = SimpleNamespace()
    start_at_once(module)
    for seconds in (START_PAUSE_S, 1.0, 0.5):
        module.time.sleep(seconds)
    assert slept == [1.0, 0.5]
    assert module.time.time() > 0
    assert f"time.sleep({START_PAUSE_S})" in inspect.getsource(stepfunctions._run_execution)


@pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")
def test_other_commands_run_as_they_are() -> None:
    """Functions in other languages."""
    module: Any = SimpleNamespace()
    fork_functions(module)
    done = module.subprocess.Popen(["echo", "said"], cwd="/", env={}, stdout=module.subprocess.PIPE, text=True)
    assert done.communicate()[0] == "said\n"


def test_in_a_deep_folder_there_are_no_forks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their socket's path would be too long, so every function would fail. A container's /dev/shm is small."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    module: Any = SimpleNamespace(subprocess=subprocess)
    fork_functions(module)
    assert module.subprocess is subprocess
