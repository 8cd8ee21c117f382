"""A project of each test's own, on a free port."""

from __future__ import annotations

from pathlib import Path

import pytest
from keyturn_local.settings import LocalSettings

from tests.ports import free_port


@pytest.fixture
def settings(tmp_path: Path) -> LocalSettings:
    """Settings of a project of its own, on a port of its own."""
    return LocalSettings(root=tmp_path, port=free_port())
