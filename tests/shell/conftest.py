"""The services that the worlds of a module run on, and quiet logs."""

from collections.abc import Iterator

import pytest

from tests.shell.world import moto

MOTO = "moto"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module on the services that it names in SERVICES; on the models if it names none."""
    names = getattr(metafunc.module, "SERVICES", None)
    if names and "aws" in metafunc.fixturenames:
        metafunc.parametrize("aws", names, indirect=True)


@pytest.fixture(autouse=True)
def aws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the test against models of AWS, or against moto; no call leaves this process."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Keyturn")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    if getattr(request, "param", "models") == MOTO:
        with moto():
            yield
    else:
        yield
