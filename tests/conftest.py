"""For all tests: no call goes past the guard (see guard/), and none reaches a real account."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.guard import hook

hook.install()

# No deadline, for an example or for drawing it: how long that takes says more about the machine than about the code. A
# property that fails in CI must fail the same way again; on a developer's machine each run looks elsewhere.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "Keyturn")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal the tests out as `dealing` says when whole files go to one worker each."""
    if config.getoption("dist") != "loadfile":
        return None
    from tests.dealing import EndToEndFirst  # noqa: PLC0415  only a run with workers has pytest-xdist to import

    return EndToEndFirst(config, log)


@pytest.fixture(autouse=True)
def every_call_is_within_awss_limits() -> Iterator[None]:
    """Fail the test that made a call which AWS would refuse, even if the error was swallowed."""
    hook.broken.clear()
    yield
    assert hook.broken == [], "AWS would have refused a call that the emulator took"
