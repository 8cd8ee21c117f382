"""moto for every test here, and quiet logs."""

from collections.abc import Iterator

import pytest

from tests.shell.world import moto


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the test against moto; no call leaves this process."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Keyturn")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with moto():
        yield
