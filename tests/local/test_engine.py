"""The embedded engine's life: it starts, it says what is wrong, and it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from keyturn_local import state
from keyturn_local.background import start_event_source
from keyturn_local.engine import Engine, find_running, is_healthy, restart_engine, start_engine, stop_running
from keyturn_local.errors import AlreadyUp, EngineFailed, HalfUp, MappingError, PortTaken, PythonTooOld, ToolMissing
from keyturn_local.lambdas import folder_of
from keyturn_local.preflight import check_python, tool
from keyturn_local.processes import Process, group_members, process
from keyturn_local.scratch import scratch_dir
from keyturn_local.settings import LOCAL_HOST, LocalSettings

from tests.local.functions import client, create_function, create_mapping, create_stream
from tests.local.kit import until

pytestmark = pytest.mark.engine

HANGING = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def handler(event, context):
    while True:
        time.sleep(1)
"""

PARENT = """
import signal, sys, time
from pathlib import Path
from keyturn_local.engine import start_engine
from keyturn_local.settings import LocalSettings
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell started with "&"
detached = len(sys.argv) > 3
with start_engine(LocalSettings(root=Path(sys.argv[1]), port=int(sys.argv[2])), detached=detached) as engine:
    if detached and sys.argv[3] == "keep":
        engine.keep()
    print(engine.state.engine.pid, flush=True)
    time.sleep(600)
"""


def start_hanging_function(settings: LocalSettings, group: int) -> None:
    """Leave a warm Lambda process behind that ignores SIGTERM, in a handler that never returns."""
    create_function(settings, "hanging", HANGING)
    client(settings, "lambda").invoke(FunctionName="hanging", InvocationType="Event", Payload=b"{}")
    until(
        lambda: any("ministack-lambda-hanging-" in folder_of(member) for member in group_members(group)),
        what="the Lambda process",
    )


def gone(group: int) -> Callable[[], bool]:
    """Whether no member of the group lives."""
    return lambda: not group_members(group)


def test_a_stopped_engine_leaves_no_process_and_no_note(settings: LocalSettings) -> None:
    """Not even a Lambda that hangs and ignores SIGTERM."""
    with start_engine(settings) as engine:
        group = engine.state.engine.pid
        assert is_healthy(settings.port)
        assert find_running(settings) == engine.state
        start_hanging_function(settings, group)
    assert not group_members(group)
    assert find_running(settings) is None
    assert not state.path_of(settings.state_dir).exists()
    assert not scratch_dir(settings).exists()


@contextmanager
def parent_of_an_engine(settings: LocalSettings, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that started an engine and waits, and the engine's group. It ends with the block, at the latest."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(settings.root), str(settings.port), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        try:
            yield parent, int(parent.stdout.readline())
        except BaseException:
            parent.kill()  # else a failure would wait for it
            raise


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_engine_ends_with_the_process_that_started_it(settings: LocalSettings, number: signal.Signals) -> None:
    """However that one dies: Ctrl-C, SIGTERM without a handler, SIGKILL."""
    with parent_of_an_engine(settings) as (parent, group):
        start_hanging_function(settings, group)
        parent.send_signal(number)
    until(gone(group), what="the end of the engine")
    assert not scratch_dir(settings).exists()


def test_a_detached_engine_outlives_its_process_only_once_it_is_kept(settings: LocalSettings) -> None:
    """A killed `keyturn up` leaves nothing half done; one that was through leaves everything."""
    with parent_of_an_engine(settings, "not yet") as (parent, group):
        parent.kill()
    until(gone(group), what="the end of the engine")
    assert find_running(settings) is None
    with parent_of_an_engine(settings, "keep") as (parent, group):
        parent.kill()
    assert find_running(settings) is not None
    assert stop_running(settings)
    assert not group_members(group)


def test_an_engine_is_not_taken_for_another_on_its_port(
    settings: LocalSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came up first, between the look at the port and the start: a deploy would go there."""
    with start_engine(settings), monkeypatch.context() as patched:
        patched.setattr("keyturn_local.engine.require_free", lambda _: None)
        with pytest.raises(EngineFailed, match="ended while starting"):
            start_engine(replace(settings, root=tmp_path / "other"))
        assert not state.path_of(tmp_path / "other" / ".keyturn").exists()
        assert find_running(settings) is not None


def test_a_late_stop_leaves_the_next_engine_alone(settings: LocalSettings) -> None:
    """`keyturn down` and another `up` while the first one still builds: its failure is its own."""
    first = start_engine(settings)
    assert stop_running(settings)
    with start_engine(settings) as second:
        first.stop()
        assert find_running(settings) == second.state
        assert scratch_dir(settings).is_dir()


def test_of_two_starts_at_once_one_is_told(settings: LocalSettings) -> None:
    """That it is up already: it waits until the other one is."""
    ended: list[Engine | AlreadyUp] = []

    def start() -> None:
        try:
            ended.append(start_engine(settings))
        except AlreadyUp as error:
            ended.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    started = [one for one in ended if isinstance(one, Engine)]
    assert len(started) == 1
    assert find_running(settings) == started[0].state
    started[0].stop()


def test_a_detached_engine_is_stopped_by_another_command(settings: LocalSettings) -> None:
    """`keyturn up` and `keyturn down` are different processes; the second down finds nothing."""
    engine = start_engine(settings, detached=True)
    start_hanging_function(settings, engine.state.engine.pid)
    assert stop_running(settings)
    assert not group_members(engine.state.engine.pid)
    assert not stop_running(settings)
    engine.stop()  # reap it: this process is its parent


def test_a_restarted_engine_has_what_it_held(settings: LocalSettings) -> None:
    """Streams, objects; only what ran has ended. One that ends with its starter keeps nothing, and says so."""
    engine = start_engine(settings, detached=True)
    try:
        create_stream(settings, "kept")
        client(settings, "s3").create_bucket(Bucket="kept")
        client(settings, "s3").put_object(Bucket="kept", Key="k", Body=b"what was stored")
        restart_engine(settings)
        assert not group_members(engine.state.engine.pid)
        assert client(settings, "kinesis").list_streams()["StreamNames"] == ["kept"]
        assert client(settings, "s3").get_object(Bucket="kept", Key="k")["Body"].read() == b"what was stored"
    finally:
        stop_running(settings)
        engine.stop()  # reap it: this process is its parent
    with start_engine(settings), pytest.raises(EngineFailed, match="keeps no state"):
        restart_engine(settings)


def test_a_second_start_says_that_it_is_up(settings: LocalSettings) -> None:
    """With the port and the process."""
    with start_engine(settings) as engine, pytest.raises(AlreadyUp, match=str(engine.state.engine.pid)):
        start_engine(settings)


def test_a_taken_port_names_its_holder_and_the_way_out(settings: LocalSettings) -> None:
    """Also when it is held on all interfaces."""
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", settings.port))  # noqa: S104  as careless programs do
        holder.listen()
        with pytest.raises(PortTaken, match=rf"{os.getpid()}.*KEYTURN_PORT={settings.port + 1}"):
            start_engine(settings)


def test_an_engine_that_cannot_start_says_why(settings: LocalSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last lines of its log, and where the rest is."""
    monkeypatch.setenv("SSL_CERT_FILE", "")
    monkeypatch.setattr("keyturn_local.engine.SERVICES", "s3")
    monkeypatch.setenv("PYTHONHOME", "/nonexistent")
    with pytest.raises(EngineFailed, match=r"engine\.log"):
        start_engine(settings)
    assert find_running(settings) is None


def test_a_note_of_a_dead_engine_is_none(settings: LocalSettings) -> None:
    """After a power cut, even if its process number belongs to somebody else by now."""
    somebody = process(os.getpid())
    assert isinstance(somebody, Process)
    settings.state_dir.mkdir()
    noted = state.EngineState(
        port=settings.port,
        started_at_s=0.0,
        engine=state.Noted(somebody.pid, "earlier"),
        name="earlier",
        stack_name="keyturn",
    )
    state.write(settings.state_dir, noted)
    assert find_running(settings) is None
    assert not stop_running(settings)


def test_half_a_note_is_none(settings: LocalSettings) -> None:
    """A full disk may have left it."""
    settings.state_dir.mkdir()
    state.path_of(settings.state_dir).write_text('{"port": 4')
    assert find_running(settings) is None


def test_an_engine_whose_guard_was_killed_is_half_up(settings: LocalSettings) -> None:
    """What it left is found, and `make down` ends it."""
    engine = start_engine(settings, detached=True)
    group = engine.state.engine.pid
    os.kill(group, signal.SIGKILL)
    engine._guard.wait()
    with pytest.raises(HalfUp, match="make down"):
        find_running(settings)
    assert stop_running(settings)
    assert not group_members(group)


def test_an_engine_without_its_event_source_is_half_up(settings: LocalSettings) -> None:
    """The event source in the background died; the next one takes what was put meanwhile."""
    with start_engine(settings) as engine:
        deploy_mapping(settings)
        pid = start_event_source(settings, "taker")
        assert find_running(settings) is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: process(pid) is None)
        with pytest.raises(HalfUp, match=r"event source.* died.*Start it again: make up"):
            find_running(settings)
        assert engine.running
        client(settings, "kinesis").put_record(StreamName="orders", PartitionKey="a", Data=b"put meanwhile")
        start_event_source(settings, "taker")
        until(lambda: finished_records(settings) == 1)
        assert find_running(settings) is not None


def test_the_event_source_in_the_background_delivers_and_ends_with_its_engine(settings: LocalSettings) -> None:
    """It needs no one to stop it when the engine dies."""
    with start_engine(settings):
        deploy_mapping(settings)
        pid = start_event_source(settings, "taker")
        client(settings, "kinesis").put_record(StreamName="orders", PartitionKey="a", Data=b"x")
        until(lambda: finished_records(settings) == 1)
    until(lambda: process(pid) is None, what="the end of the event source")


def test_the_event_source_follows_its_mapping(settings: LocalSettings) -> None:
    """A second `keyturn up` may have changed it; the event source goes on where it was."""
    with start_engine(settings):
        deploy_mapping(settings)
        start_event_source(settings, "taker")
        kinesis, functions = client(settings, "kinesis"), client(settings, "lambda")
        kinesis.put_record(StreamName="orders", PartitionKey="a", Data=b"x")
        until(lambda: finished_records(settings) == 1)
        (mapping,) = functions.list_event_source_mappings(FunctionName="taker")["EventSourceMappings"]
        functions.update_event_source_mapping(UUID=mapping["UUID"], BatchSize=7)
        log = settings.state_dir / "poller.log"
        until(lambda: "the mapping was changed" in log.read_text() and "batch_size=7" in log.read_text())
        last = kinesis.put_record(StreamName="orders", PartitionKey="a", Data=b"y")["SequenceNumber"]
        until(lambda: {"sequence_number": last, "inclusive": False} in resume_points(settings))


def test_an_event_source_without_a_mapping_says_so(settings: LocalSettings) -> None:
    """One line, and no process left."""
    with start_engine(settings):
        create_function(settings, "taker", "def handler(event, context): return None")
        with pytest.raises(MappingError, match="taker has 0 Kinesis"):
            start_event_source(settings, "taker")


def deploy_mapping(settings: LocalSettings) -> None:
    """A stream, a function, and a disabled mapping between them."""
    create_function(settings, "taker", "def handler(event, context): print('taken', flush=True)")
    create_mapping(settings, create_stream(settings, "orders"), "taker")


def finished_records(settings: LocalSettings) -> int:
    """How many shards have a checkpoint behind a record."""
    return sum(not point["inclusive"] for point in resume_points(settings))


def resume_points(settings: LocalSettings) -> list[dict[str, object]]:
    """The checkpoints of shards that were read."""
    files: list[Path] = list(settings.state_dir.glob("checkpoints-*.json"))
    shards = [shard for file in files for shard in json.loads(file.read_text())["shards"].values()]
    return [shard["resume"] for shard in shards if shard["resume"]]


def test_what_the_machine_lacks_is_said_in_one_line(tmp_path: Path) -> None:
    """Too old a Python; a tool that isn't installed beside it."""
    with pytest.raises(PythonTooOld, match=r"3\.10\.2 is too old"):
        check_python((3, 10, 2))
    with pytest.raises(ToolMissing, match="make setup"):
        tool("sam", beside=str(tmp_path / "python"))


def test_nobody_else_can_reach_the_engine(settings: LocalSettings) -> None:
    """It listens on the loopback interface only."""
    with start_engine(settings), socket.socket() as probe:
        probe.bind((LOCAL_HOST, 0))
        other = "127.0.0.2" if sys.platform == "linux" else socket.gethostbyname(socket.gethostname())
        probe.settimeout(2)
        with socket.socket() as stranger:
            stranger.settimeout(2)
            assert stranger.connect_ex((other, settings.port)) != 0


def test_stop_is_quick(settings: LocalSettings) -> None:
    """And may be called twice, from two threads."""
    engine = start_engine(settings)
    twice = threading.Thread(target=engine.stop)
    twice.start()
    engine.stop()
    twice.join()
    assert not engine.running
