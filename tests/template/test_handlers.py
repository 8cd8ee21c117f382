"""Every handler imports from what Lambda gives it: its own folder, the layer and boto3."""

from pathlib import Path

import pytest

from tests.template.stack import ROOT
from tests.template.test_layer import build
from tools.measure import run_with_only, site_with_boto3

HANDLERS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))
PLATFORM = {"dispatcher", "sequencer", "watchdog", "operator", "sweeper", "replayer"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The layer as it is deployed, and boto3, which is the runtime's."""
    folder = tmp_path_factory.mktemp("deployed")
    return [build(folder), site_with_boto3(folder / "boto3")]


def imported(name: str, shared: list[Path]) -> set[str]:
    """Import a handler in a fresh process; return the names of all modules that it loaded."""
    code = "import app, sys; assert callable(app.handler); print(*sys.modules)"
    done = run_with_only([ROOT / "functions" / name, *shared], code)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("name", HANDLERS)
def test_a_handler_needs_nothing_that_is_not_deployed(name: str, shared: list[Path]) -> None:
    """A missing pin would otherwise show up on AWS first: the local engine has far more installed."""
    assert "boto3" in imported(name, shared)


@pytest.mark.parametrize("name", [name for name in HANDLERS if name not in PLATFORM])
def test_a_worker_starts_without_what_only_the_dispatcher_needs(name: str, shared: list[Path]) -> None:
    """Neither schemas nor KPL's protobuf nor the routes: a worker is started far more often."""
    loaded = {module.partition(".")[0] for module in imported(name, shared)}
    assert not loaded & {"jsonschema", "rpds", "aws_kinesis_agg", "google", "keyturn_routes"}
