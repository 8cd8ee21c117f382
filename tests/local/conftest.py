"""An engine of the tests' own, started once a session on a free port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from keyturn_local.engine import start_engine
from keyturn_local.settings import LOCAL_HOST, LocalSettings


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOCAL_HOST, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def settings(tmp_path: Path) -> LocalSettings:
    """Settings of a project of its own, on a port of its own."""
    return LocalSettings(root=tmp_path, port=free_port())


@pytest.fixture(scope="session")
def engine_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSettings]:
    """Settings of an engine that runs for the whole session."""
    settings = LocalSettings(root=tmp_path_factory.mktemp("project"), port=free_port())
    with start_engine(settings):
        yield settings
