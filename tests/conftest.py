"""For all tests: no call goes past the guard (see guard/), and none reaches a real account."""

import os
from collections.abc import Iterator

import pytest

from tests.guard import hook

hook.install()
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture(autouse=True)
def every_call_is_within_awss_limits() -> Iterator[None]:
    """Fail the test that made a call which AWS would refuse, even if the error was swallowed."""
    hook.broken.clear()
    yield
    assert hook.broken == [], "AWS would have refused a call that the emulator took"
