"""What the functions' logger lets through."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from keyturn.adapters import telemetry


@pytest.fixture
def _anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "levels")
    telemetry.logger.cache_clear()
    yield
    telemetry.logger.cache_clear()


@pytest.mark.usefixtures("_anew")
@pytest.mark.parametrize("level", ["DEBUG", "WARNING", "ERROR"])
def test_the_level_that_was_asked_for_holds_whatever_lambda_lets_through(
    monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    """Lambda's own is INFO at the most, since it would drop the metrics too; Powertools would take that for ours."""
    monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", "DEBUG" if level == "DEBUG" else "INFO")
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", level)
    assert telemetry.logger().log_level == logging.getLevelName(level)
