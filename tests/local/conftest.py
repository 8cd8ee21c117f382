"""A project of each test's own, on a free port."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
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
