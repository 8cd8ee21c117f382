"""`keyturn up` beside what runs already."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from keyturn_cli import up as module
from keyturn_cli.up import up
from keyturn_local.errors import AlreadyUp, EngineFailed, ToolFailed
from keyturn_local.settings import LocalSettings
from keyturn_local.state import EngineState, Noted

from keyturn.errors import SettingsError


@dataclass
class Ground:
    """An engine that is up, with a process for its event source, and what is done to it."""

    stack_name: str = "keyturn"
    poller: Noted = field(default_factory=lambda: Noted(1, "long ago"))
    done: list[str] = field(default_factory=list)

    def state(self, _: LocalSettings) -> EngineState:
        """What is noted of it."""
        engine = Noted.of(os.getpid())
        return EngineState(
            port=4999, started_at_s=0.0, engine=engine, name="n", stack_name=self.stack_name, poller=self.poller
        )


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    found = Ground()

    def does(name: str) -> Callable[..., None]:
        return lambda *_: found.done.append(name)

    outputs = SimpleNamespace(dispatcher_function_name="d", stream_name="s", state_table_name="t")
    monkeypatch.setattr(module, "local_settings", lambda: LocalSettings(root=tmp_path, port=4999))
    monkeypatch.setattr(module, "find_engine", found.state)
    monkeypatch.setattr(module, "build", does("build"))
    monkeypatch.setattr(module, "deploy", does("deploy"))
    monkeypatch.setattr(module, "stack_outputs", lambda *_: outputs)
    monkeypatch.setattr(module, "start_event_source", does("event source"))
    return found


def test_an_event_source_that_died_is_started_again(ground: Ground) -> None:
    """With the engine and what the stream holds left as they are: `make down` would lose it."""
    up()
    assert ground.done == ["build", "deploy", "event source"]


def test_one_that_lives_is_left_alone(ground: Ground) -> None:
    """Two would each deliver everything."""
    ground.poller = Noted.of(os.getpid())
    up()
    assert ground.done == ["build", "deploy"]


def test_another_stack_is_refused_beside_it(ground: Ground) -> None:
    """The event source reads the first one's stream: events of the second would wait for ever."""
    ground.stack_name = "other"
    with pytest.raises(AlreadyUp, match="stack 'other' is up, and nothing would read the stream of 'keyturn'"):
        up()
    assert ground.done == []


def test_routes_that_no_function_could_read_are_refused(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is built: deployed, they would fail every record, and `up` would have called that a success."""

    def refuses() -> None:
        raise SettingsError("routes.json is not JSON")

    monkeypatch.setattr(module, "load_routes", refuses)
    with pytest.raises(SettingsError, match="is not JSON"):
        up()
    assert ground.done == []


@pytest.mark.parametrize("ends_at", ["build", "deploy", "event source"])
def test_an_engine_that_was_stopped_meanwhile_is_told(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, ends_at: str
) -> None:
    """Not what a deploy to whoever has its port now makes of it; nothing is deployed there if that can be helped."""
    engine = SimpleNamespace(running=True, stop=lambda: ground.done.append("stop"), keep=lambda: None)

    def ends(*_: object) -> None:
        ground.done.append(ends_at)
        engine.running = False
        if ends_at != "build":
            raise ToolFailed("sam deploy failed (exit code 1): NoneType", ())

    monkeypatch.setattr(module, "find_engine", lambda _: None)
    monkeypatch.setattr(module, "start_engine", lambda *_, **__: engine)
    monkeypatch.setattr(module, ends_at.replace("event source", "start_event_source"), ends)
    with pytest.raises(EngineFailed, match="ended meanwhile, by `make down`"):
        up()
    assert ground.done == [*["build", "deploy", "event source"][: ground.done.index(ends_at) + 1], "stop"]
