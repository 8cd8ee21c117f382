"""What a user can do wrong ends in one line on stderr and a non-zero exit code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest
from keyturn_cli.app import run

PROJECT = Path(__file__).parents[2]
LIMIT_S = 120
"""After this long nothing comes any more, on a slow machine either."""
EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "shop.order.paid", "subject": "order-7"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder that looks like a project, with nothing running in it."""
    for name in ("template.yaml", "samconfig.toml"):
        (tmp_path / name).write_text("")
    (tmp_path / "good.jsonl").write_text(json.dumps(EVENT) + "\n")
    (tmp_path / "bad.jsonl").write_text(json.dumps(EVENT) + "\nnonsense\n")
    (tmp_path / "empty.jsonl").write_text("\n")
    return tmp_path


def _environment(port: int = 4999) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KEYTURN_"))}
    path = os.pathsep.join(str(PROJECT / name) for name in ("src", "cli"))
    return kept | {"PYTHONPATH": path, "KEYTURN_PORT": str(port), "COLUMNS": "200"}


def _keyturn(folder: Path, *arguments: str, port: int = 4999, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell does."""
    return subprocess.run(
        [sys.executable, "-m", "keyturn_cli.main", *arguments],
        cwd=folder,
        env=_environment(port) | more,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def _here(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, which has imported it already: a second less than a new one takes."""
    out, err = StringIO(), StringIO()
    with (
        chdir(folder),
        patch.dict(os.environ, _environment() | more, clear=True),
        patch.object(sys, "argv", ["keyturn", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        run()
    code = ended.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["push", "good.jsonl"], "no local engine is up. Start it: make up"),
        (["push", "none.jsonl"], "none.jsonl can't be opened: No such file or directory"),
        (["push", "bad.jsonl"], "bad.jsonl, line 2: not JSON"),
        (["push", "empty.jsonl"], "empty.jsonl holds no events"),
        (["push", "good.jsonl", "--key", "data.x"], "good.jsonl, line 1: field 'data.x' (--key)"),
        (["push", "good.jsonl", "--type", "t"], "--type, --source and --id together"),
        (["push", "good.jsonl", "--limit", "no"], "--limit"),
        (["push"], "file"),
        (["push", "good.jsonl", "--region", "us-east-1", "--profile", "none-such"], "none-such"),
        (["push", "good.jsonl", "--endpoint-url", "http://127.0.0.1:9"], "stack 'keyturn' can't be read at"),
        (["trace", "x", "--since", "3w"], "'3w' is no span of time"),
        (["trace"], "event"),
        (["trace", "x"], "no local engine is up"),
        (["sing"], "No such command 'sing'"),
        (["status"], "no local engine is up. Start it: make up. Or name a stack on AWS: --region"),
        (["status", "--endpoint-url", "http://127.0.0.1:9"], "stack 'keyturn' can't be read at http://127.0.0.1:9"),
        (["status", "--watch", "--output", "json"], "--watch is for people"),
        (["keys", "--phase", "asleep"], "--phase"),
        (["keys", "--limit", "0"], "--limit"),
        (["keys", "--after", "nonsense"], "--after is no token of this command"),
        (["key", "k", "--events", "none"], "--events"),
        (["key", "k", "--profile", "none-such"], "none-such"),
        (["key"], "KEY"),
        (["run", "k", "--region", "us-east-1", "--profile", "none-such"], "none-such"),
    ],
)
def test_a_mistake_is_one_line(project: Path, arguments: list[str], said: str) -> None:
    """What is wrong and where; usage errors say how the command is used besides."""
    done = _here(project, *arguments, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_MAX_ATTEMPTS="1")
    assert done.returncode in (1, 2)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_who_has_no_credentials_is_told_to_sign_in(project: Path) -> None:
    """Not that the stack's name may be wrong."""
    done = _here(
        project,
        "status",
        "--region",
        "eu-west-1",
        AWS_EC2_METADATA_DISABLED="true",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: stack 'keyturn' can't be read at AWS eu-west-1: Unable to locate credentials. Sign in (aws sso login,"
        " aws configure), or name a --profile\n"
    )


def test_idle_keys_are_not_listed_and_that_is_said(project: Path) -> None:
    """In a line, without asking any stack."""
    done = _here(project, "keys", "--phase", "idle")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Idle keys aren't listed, since they aren't indexed; look at one: keyturn key KEY\n"


LISTS = (["drill", "--list"], ["drill", "--list", "--output", "json"], ["--help"])
"""Through each of the ways in which something is printed."""


@pytest.mark.parametrize("arguments", LISTS, ids=" ".join)
@pytest.mark.parametrize("is_buffered", [True, False])
def test_a_reader_that_has_seen_enough_hears_nothing_more(
    project: Path, arguments: list[str], *, is_buffered: bool
) -> None:
    """As behind `| head -1`, or a reader that doesn't exist."""
    reader, writer = os.pipe()
    os.close(reader)
    done = _printed(project, arguments, writer, is_buffered=is_buffered)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_what_was_printed_before_another_error_is_not_lost() -> None:
    """Only output that can't be written is dropped."""
    program = (
        "import keyturn_cli.app as tried\n"
        "def app(**_):\n    print('a row')\n    raise OSError(5, 'Input/output error')\n"
        "tried.app = app\ntried.run()\n"
    )
    buffered = _environment() | {"PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], env=buffered, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("a row\n", "Error: [Errno 5] Input/output error\n", 1)


def test_letters_that_an_encoding_lacks_are_escaped() -> None:
    """In an old locale, as text and as JSON, which stays JSON: half a page and a traceback would be worse."""
    program = (
        "import keyturn_cli.app as tried\n"
        "from keyturn_cli.options import Output, show\n"
        "def app(**_):\n"
        "    for output in Output:\n"
        "        show(output, {'key': 'é ключ'}, lambda screen: screen.line('é ключ'))\n"
        "tried.app = app\ntried.run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=_environment() | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    text, _, document = done.stdout.partition("\n")
    assert text == "\\xe9 \\u043a\\u043b\\u044e\\u0447"
    assert json.loads(document) == {"key": "é ключ"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
@pytest.mark.parametrize("arguments", LISTS, ids=" ".join)
@pytest.mark.parametrize("is_buffered", [True, False])
def test_a_disk_that_is_full_is_one_line(project: Path, arguments: list[str], *, is_buffered: bool) -> None:
    """What a redirection writes to."""
    with Path("/dev/full").open("w") as full:
        done = _printed(project, arguments, full.fileno(), is_buffered=is_buffered)
    assert (done.returncode, done.stderr) == (1, "Error: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("arguments", LISTS, ids=" ".join)
def test_who_closed_the_output_wants_none(project: Path, arguments: list[str]) -> None:
    """As `>&-` does, or a service manager."""
    done = subprocess.run(
        ["sh", "-c", '"$0" -m keyturn_cli.main "$@" >&-', sys.executable, *arguments],
        cwd=project, env=_environment(), stderr=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def _printed(folder: Path, arguments: list[str], to: int, *, is_buffered: bool) -> subprocess.CompletedProcess[str]:
    """Run a command that prints to a file, in the way of a terminal or not."""
    return subprocess.run(
        [sys.executable, "-m", "keyturn_cli.main", *arguments],
        cwd=folder,
        env=_environment() | {"PYTHONUNBUFFERED": "" if is_buffered else "1"},
        stdout=to,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_completion_is_silent_when_anything_is_amiss(project: Path) -> None:
    """A shell that is asked for words must not be answered with an error."""
    done = _keyturn(
        project, _KEYTURN_COMPLETE="complete_bash", COMP_WORDS="keyturn resume --region x order", COMP_CWORD="4"
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_outside_a_project_it_still_knows_its_own(tmp_path: Path) -> None:
    """The command finds the project that it was installed from."""
    assert _keyturn(tmp_path, "push", "none.jsonl").stderr.startswith("Error: none.jsonl can't be opened")


def test_a_port_that_cannot_be_one_is_named(project: Path) -> None:
    """KEYTURN_PORT is checked before anything starts."""
    done = _here(project, "up", KEYTURN_PORT="high")
    assert (done.returncode, done.stderr) == (
        1,
        "Error: KEYTURN_PORT is 'high'; it must be a port number from 1024 to 65535.\n",
    )


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_taken_port_is_named(project: Path, command: str) -> None:
    """Before anything was started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = _keyturn(project, command, port=port)
    assert done.returncode == 1
    assert f"Error: port {port} is taken by" in done.stderr
    assert "Traceback" not in done.stderr


def test_down_with_nothing_up_is_no_error(project: Path) -> None:
    """One may always run it."""
    done = _keyturn(project, "down")
    assert (done.returncode, done.stdout) == (0, "Nothing was running.\n")


@pytest.mark.parametrize("command", ["demo", "up", "push", "down", "status", "keys", "key", "run", "trace"])
def test_help_has_an_example(project: Path, command: str) -> None:
    """Every command's help shows how it is called."""
    said = _here(project, command, "--help").stdout
    assert f"keyturn {command}" in said.split("Example", 1)[1]


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Something that listens where a stack should be, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT_S)
        yield server


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@SIGNALS
def test_a_signal_ends_it_without_a_traceback(project: Path, silent: socket.socket, number: signal.Signals) -> None:
    """While it waits for an answer, here."""
    started = _pushing(project, silent)
    connection, _ = silent.accept()
    with connection:
        started.send_signal(number)
        _assert_stopped_by(number, started)


@SIGNALS
def test_a_signal_ends_it_while_it_starts(project: Path, silent: socket.socket, number: signal.Signals) -> None:
    """It imports half of its libraries then."""
    started = _pushing(project, silent)
    _wait_for_handlers(started.pid)
    started.send_signal(number)
    _assert_stopped_by(number, started)


def _pushing(project: Path, stack: socket.socket) -> subprocess.Popen[bytes]:
    where = ("--region", "us-east-1", "--endpoint-url", f"http://127.0.0.1:{stack.getsockname()[1]}")
    return subprocess.Popen(
        [sys.executable, "-m", "keyturn_cli.main", "push", "-", *where],
        cwd=project,
        env=_environment() | {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _assert_stopped_by(number: signal.Signals, started: subprocess.Popen[bytes]) -> None:
    _, said = started.communicate(timeout=LIMIT_S)
    assert (started.returncode, said.strip()) == (128 + number, b"Stopping ...")


def _wait_for_handlers(pid: int) -> None:
    """Until the process catches SIGTERM; before, the interpreter itself is still starting."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("only /proc tells which signals a process catches")
    deadline_s = time.monotonic() + LIMIT_S
    while True:
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) & 1 << signal.SIGTERM - 1:
            return
        assert time.monotonic() < deadline_s, "it catches no signal"
        time.sleep(0.01)
