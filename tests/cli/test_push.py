"""Whatever file, pipe or stream events come from, they are put, or it is said what was and what wasn't."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import EndpointConnectionError
from keyturn_cli import push as module
from keyturn_cli.errors import BadInput, CliError
from keyturn_cli.push import push
from keyturn_local.state import EngineState, Noted
from typer import BadParameter

from tests.cli.fakes import StateTable, Stream


def _lines(count: int) -> bytes:
    event = {"specversion": "1.0", "source": "/shop", "type": "shop.order.paid"}
    rows = [json.dumps(event | {"id": str(number), "subject": "order-7"}) for number in range(count)]
    return ("\n".join(rows) + "\n").encode()


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    """The stream of the stack that the command finds."""
    found = Stream()
    outputs = SimpleNamespace(stream_name="s")
    target = SimpleNamespace(client=lambda _: found, outputs=outputs, where="here", is_local=True)
    monkeypatch.setattr(module, "find_target", lambda *_: target)
    return found


def _from_stdin(content: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))
    return "-"


@pytest.mark.parametrize("packed", [False, True])
def test_a_pipe_is_put_whole(stream: Stream, tmp_path: Path, packed: bool) -> None:
    """A shell's `<(...)` can be read once only: a look at it before would leave nothing to put."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = gzip.compress(_lines(3)) if packed else _lines(3)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    push(str(pipe))
    writer.join()
    assert len(stream.taken) == 3


@pytest.mark.parametrize(
    "content",
    [_lines(3), gzip.compress(_lines(3)), b"\xef\xbb\xbf" + _lines(3)],
    ids=["plain", "packed", "marked"],
)
def test_what_is_packed_is_unpacked_whatever_it_is_called(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """Standard input has no name that could tell; nor does a byte order mark make a line another one."""
    (tmp_path / "orders").write_bytes(content)
    push(str(tmp_path / "orders"))
    push(_from_stdin(content, monkeypatch))
    assert [data for _, data in stream.taken] == 2 * _lines(3).splitlines()


@pytest.mark.parametrize("content", [b"", b"\n \n", gzip.compress(b"")], ids=["empty", "blank", "packed"])
def test_standard_input_without_events_is_told(stream: Stream, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """As a file without them is: a producer that failed in front of a pipe must not look like success."""
    with pytest.raises(BadInput, match="standard input holds no events"):
        push(_from_stdin(content, monkeypatch), wait=True)
    assert not stream.taken


@pytest.mark.usefixtures("stream")
def test_a_closed_standard_input_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """`keyturn push - <&-` has none."""
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(CliError, match="standard input is closed"):
        push("-")


def test_a_file_that_lost_lines_between_looks_is_told(stream: Stream, tmp_path: Path) -> None:
    """The whole file was read before; what isn't there any more wasn't put."""
    path = tmp_path / "orders.jsonl"
    path.write_bytes(_lines(3))

    def shorten(*_: Any) -> Any:
        path.write_bytes(_lines(1))
        return SimpleNamespace(client=lambda _: stream, outputs=SimpleNamespace(stream_name="s"), where="here")

    with patch.object(module, "find_target", shorten), pytest.raises(BadInput, match="1 of its 3 events were put"):
        push(str(path))


def _fails_at(stream: Stream, call: int, error: BaseException) -> Callable[..., Any]:
    """Its records are of one key, so each goes in a call of its own."""
    real = stream.put_records

    def put_records(**request: Any) -> Any:
        if len(stream.calls) == call:
            raise error
        return real(**request)

    return put_records


def test_an_engine_that_dies_leaves_a_count(stream: Stream, tmp_path: Path) -> None:
    """What is known to be in the stream, and that the whole may be pushed again."""
    (tmp_path / "orders.jsonl").write_bytes(_lines(5))
    gone = EndpointConnectionError(endpoint_url="http://127.0.0.1:1/")
    with (
        patch.object(stream, "put_records", _fails_at(stream, 2, gone)),
        pytest.raises(CliError, match=r"2 events are known to be in the stream; push the whole again"),
    ):
        push(str(tmp_path / "orders.jsonl"))


def test_an_interrupted_push_leaves_a_count(stream: Stream, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends it as everything else, with its own exit code."""
    (tmp_path / "orders.jsonl").write_bytes(_lines(5))
    with (
        patch.object(stream, "put_records", _fails_at(stream, 3, SystemExit(130))),
        pytest.raises(SystemExit) as ended,
    ):
        push(str(tmp_path / "orders.jsonl"))
    assert ended.value.code == 130
    assert "3 events are known to be in the stream" in capsys.readouterr().err


LIVES, DIED = Noted.of(os.getpid()), Noted(os.getpid(), "long ago")


def _engine(engine: Noted, poller: Noted) -> EngineState:
    return EngineState(port=1, started_at_s=0.0, engine=engine, name="", stack_name="", poller=poller)


@pytest.mark.usefixtures("stream")
@pytest.mark.parametrize(
    ("noted", "said"),
    [
        (_engine(LIVES, DIED), "event source ended"),
        (_engine(DIED, LIVES), "engine ended"),
        (None, "engine ended"),
        (_engine(LIVES, LIVES), "after"),  # nobody answers on its port: it may be busy
    ],
)
def test_nobody_waits_for_an_engine_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: EngineState | None, said: str
) -> None:
    """Nor for one that nothing reads the stream for: --wait would take its whole limit. A busy one gets all of it."""
    (tmp_path / "orders.jsonl").write_bytes(_lines(2))
    monkeypatch.setattr("keyturn_cli.push.state.read", lambda _: noted)
    monkeypatch.setattr("keyturn_cli.push.Store.of", lambda _: StateTable())
    with pytest.raises(CliError, match=rf"{said}.*2 of 2 records aren't done"):
        push(str(tmp_path / "orders.jsonl"), wait=True, limit=1)


def _object(records: list[tuple[str, bytes]], *, as_text: bool) -> bytes:
    """An object of the failure bucket."""
    wire = [{"kinesis": {"partitionKey": key, "data": b64encode(data).decode()}} for key, data in records]
    batch = {"Records": wire}
    return json.dumps({"version": "1.0", "payload": json.dumps(batch) if as_text else batch}).encode()


@pytest.mark.parametrize("as_text", [True, False])
def test_a_batch_that_was_given_up_is_put_as_it_was(stream: Stream, tmp_path: Path, as_text: bool) -> None:
    """Whatever its keys and bytes are: a shell would change a key with a backslash, and can't pass a large record."""
    records = [("a\\b", b"\xff{"), ("a\tb\n", b"x" * 200_000), ("-k", b""), ("a\\b", b"2")]
    (tmp_path / "batch.json").write_bytes(_object(records, as_text=as_text))
    push(str(tmp_path / "batch.json"), given_up=True)
    assert sorted(stream.taken) == sorted(records)
    assert [data for key, data in stream.taken if key == "a\\b"] == [b"\xff{", b"2"]


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"payload": "x"}', b'{"payload": {}}', b'{"payload": {"Records": [{}]}}', _lines(1)],
)
def test_what_is_no_batch_is_said_to_be_none(stream: Stream, tmp_path: Path, content: bytes) -> None:
    """Half an object, one of another bucket, JSON lines: nothing is put, and the command fails."""
    (tmp_path / "batch.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"holds no batch that was given up .* of the failure bucket"):
        push(str(tmp_path / "batch.json"), given_up=True)
    assert not stream.taken


def test_a_batch_that_was_given_up_takes_no_other_options(stream: Stream) -> None:
    """What would change its records, or can't be checked of them, isn't passed over in silence."""
    for more in ({"key": "case"}, {"wait": True}, {"event_type": "t", "source": "/s", "event_id": "n"}):
        with pytest.raises(BadParameter, match="records go as they were"):
            push("batch.json", given_up=True, **more)
    assert not stream.taken
