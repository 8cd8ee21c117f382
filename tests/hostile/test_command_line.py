"""Whatever is typed, or stands in a file, the command line answers in a line and an exit code, never a traceback."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import boto3
import pytest
import typer
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st
from keyturn_cli import invoke, options, push, target
from keyturn_cli.app import app, run
from keyturn_cli.errors import BadInput, BadLine
from keyturn_cli.moments import moment_ms
from keyturn_cli.records import RECORD_BYTES_MAX, Reader, Wrapping
from keyturn_cli.target import Target
from keyturn_local.stack import StackOutputs

from keyturn.core.positions import position
from tests.hostile.effort import looking, peak_bytes
from tests.hostile.junk import ODD_TEXT, altered, altered_bytes, as_json, texts

EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "/shop",
    "type": "shop.order.paid",
    "subject": "order-7",
    "data": {},
}
STARTS_THINGS = {"demo", "up", "down", "drill"}
"""Commands that start or stop processes whatever their arguments."""


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with the words that lead to it."""
    if hasattr(group, "commands"):
        for name, command in group.commands.items():
            yield from commands(command, (*path, name))
    elif path[0] not in STARTS_THINGS:
        yield path, group


COMMANDS = list(commands(typer.main.get_command(app)))
WORDS = st.one_of(
    st.sampled_from([text for text in ODD_TEXT if "\x00" not in text]),
    st.sampled_from(("5", "-5", "2h", "9" * 400 + "d", "2026-11-25T02:00:00Z", "0001-01-01T00:00:00+14:00", "json")),
    st.sampled_from(("http://[", "nonsense", "http://127.0.0.1:99999", "us east", position(1, "1"), "park")),
    texts.filter(lambda text: "\x00" not in text),
)  # fmt: skip


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Draw a command with some of its options, given junk, and junk for its arguments."""
    path, command = draw(st.sampled_from(COMMANDS))
    words = list(path)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    for one in draw(
        st.lists(st.sampled_from([one for one in command.params if one.param_type_name == "option"]), max_size=3)
    ):
        words.append(draw(st.sampled_from(one.opts)))
        if not one.is_flag:
            words.append(draw(WORDS))
    given = draw(st.integers(0, len(arguments) + 1)) if draw(st.booleans()) else len(arguments)
    return [*words, *(draw(WORDS) for _ in range(given))]


class NobodyAnswers:
    """AWS behind a cable that was cut."""

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any, **_call: Any) -> Any:
            raise EndpointConnectionError(endpoint_url=name)

        return call


class CutOff(Target):
    """A stack that was found and doesn't answer any more."""

    def client(self, _service: str) -> Any:
        return NobodyAnswers()

    def patient_client(self, _service: str, _read_timeout_s: int) -> Any:
        return NobodyAnswers()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that looks like a project with no engine up, and a network that is cut off."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("template.yaml", "samconfig.toml", "park"):
        (folder / name).write_text("")
    outputs = StackOutputs(**dict.fromkeys(StackOutputs.__dataclass_fields__, "unused"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        patch.setenv("KEYTURN_PORT", "4999")
        patch.setattr("botocore.httpsession.URLLib3Session.send", NobodyAnswers().send)
        patch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
        real = target.find_target

        def find(where: Any, settings: Any) -> Target:
            """The real way if a region, profile or endpoint is named, else a stack that is cut off."""
            if where.means_aws({}):
                return real(where, settings)
            return CutOff(boto3.Session(), {}, outputs, "keyturn", "a test", is_local=True)

        for module in (options, push, invoke):
            patch.setattr(module, "find_target", find)
        yield folder


def typed(words: list[str]) -> tuple[object, str, str]:
    """Run a command line in this process; return its exit code, what it printed, and its errors."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["keyturn", *words]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            run()
    finally:
        sys.argv = argv
    return ended.value.code, out.getvalue(), err.getvalue()


@looking(100)
@given(command_lines())
@pytest.mark.usefixtures("project")
def test_any_command_line_is_answered(words: list[str]) -> None:
    """It ends with 0, 1 or 2; what is wrong is one line that begins with Error."""
    code, _, said = typed(words)
    assert code in (0, 1, 2)
    assert "Traceback" not in said
    if code != 0 and words[0] != "doctor":  # what it finds is told on standard output
        assert sum(line.startswith("Error: ") for line in said.splitlines()) == 1, said


@pytest.mark.parametrize(
    "words",
    [
        ["replay", "plan", "--from", "9" * 5_000 + "d", "--key", "k"],
        ["replay", "plan", "--from", "9" * 40 + "d", "--key", "k"],
        ["trace", "x", "--since", "9" * 5_000 + "h"],
        ["trace", "x", "--since", "9" * 40 + "h"],
        ["status", "--endpoint-url", "nonsense"],
        ["status", "--endpoint-url", "http://["],
        ["status", "--region", "us east"],
        ["status", "--profile", ""],
        ["push", "."],
        ["push", "park", "--key", ""],
        ["hold", "", "--reason", "x"],
    ],
    ids=lambda words: " ".join(words)[:40],
)
@pytest.mark.usefixtures("project")
def test_an_odd_value_is_one_line(words: list[str]) -> None:
    """Each was a traceback once, or might be."""
    code, _, said = typed(words)
    assert code in (1, 2), said
    assert said.splitlines()[-1].startswith("Error: ")


# Files


def lines_of(path: Path, **how: Any) -> int:
    """Read a file of lines; how many records it holds, or none if it can't be read."""
    try:
        return sum(1 for _ in Reader(**how).read(str(path)))
    except BadInput:
        return 0


@looking(200)
@given(
    st.lists(st.one_of(altered(EVENT).map(as_json), altered_bytes(as_json(EVENT)), st.binary(max_size=20)), max_size=3),
    st.booleans(),
    st.sampled_from(("subject", "data.x", "", ".", "id")),
)
def test_any_file_is_read_or_refused_by_its_line(lines: list[bytes], is_wrapping: bool, key_field: str) -> None:
    """What comes out is what Kinesis takes."""
    wrapping = Wrapping(type="t", source="s", id_fields=("id",), time_field="time") if is_wrapping else None
    reader = Reader(key_field=key_field, wrapping=wrapping)
    for line in lines:
        try:
            made = reader.record(line)
        except BadLine:
            continue
        assert 1 <= len(made.key) <= 256
        assert len(made.key.encode()) + len(made.data) == made.size <= RECORD_BYTES_MAX


@looking(60)
@given(altered_bytes(gzip.compress(as_json(EVENT) * 3, mtime=0)))
def test_a_damaged_gzip_file_is_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever is damaged: its head, a block, or its end."""
    path = tmp_path_factory.getbasetemp() / "damaged.gz"
    path.write_bytes(content)
    lines_of(path)


def test_half_a_character_in_a_key_is_a_bad_line() -> None:
    """JSON can write it, UTF-8 can't, and so Kinesis can't."""
    for field in ("subject", "id"):
        with pytest.raises(BadLine, match="surrogate"):
            Reader(key_field=field).record(as_json(EVENT | {field: "\ud800"}))


def test_half_a_character_in_what_is_wrapped_is_a_bad_line() -> None:
    """Nor can an event be made of it."""
    wrapping = Wrapping(type="t", source="s", id_fields=("id",))
    with pytest.raises(BadLine, match="surrogate"):
        Reader(wrapping=wrapping).record(as_json({"id": "1", "subject": "k", "more": "\ud800"}))


@pytest.mark.parametrize("opener", [open, gzip.open], ids=["plain", "gzip"])
def test_a_line_without_end_takes_no_more_memory_than_a_record(tmp_path: Path, opener: Any) -> None:
    """A file of 100 kB unpacks to 100 MB, in one line: it is refused once it is longer than any record."""
    path = tmp_path / ("bomb.gz" if opener is gzip.open else "bomb")
    with opener(path, "wb") as bomb:
        for _ in range(40):
            bomb.write(b" " * 2**20 if opener is open else b"x" * 2**20)
        bomb.write(b"x" * 2**22)
    assert peak_bytes(lambda: lines_of(path)) < 16 * 2**20


def test_a_time_beyond_all_clocks_is_refused() -> None:
    """In words."""
    for text in ("9" * 5_000 + "d", "9" * 30 + "h"):
        with pytest.raises(typer.BadParameter):
            moment_ms(text, 1_700_000_000_000)


def test_keys_of_a_file_are_its_lines(tmp_path: Path) -> None:
    """A key may hold what other alphabets end a line with."""
    from keyturn_cli.replay import _keys_of  # noqa: PLC0415

    path = tmp_path / "keys"
    path.write_text("a\u2028b\r\nc\x0cd\n\n", encoding="utf-8")
    assert _keys_of(path) == ["a\u2028b", "c\x0cd"]
    assert json.dumps(_keys_of(path))
