"""One stack for all tests here: an engine of its own, the real sam build and deploy, the event source, a watchdog that
comes every two seconds besides its schedule."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from keyturn_cli.target import Target, local_target
from keyturn_cli.ticker import ticking
from keyturn_local import engine as engines
from keyturn_local.poller.source import event_source
from keyturn_local.settings import LocalSettings
from keyturn_local.stack import build, deploy

from tests.endtoend.stack import LIMIT_S, Reading, Stack
from tests.guard import hook
from tests.ports import free_port
from tests.template.policies import Policies
from tests.template.stack import transformed

PROJECT = Path(__file__).parents[2]
PARTS = ("template.yaml", "samconfig.toml", "functions", "src", "statemachines")
WATCHDOG_EVERY_S = 2.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the engine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Deploy a copy of the project, so that nothing meets what a user has running here."""
    root = tmp_path_factory.mktemp("project")
    _copy_project(root)
    settings = LocalSettings(root=root, port=free_port())
    guard_log, calls_log = root / "guard.log", root / "calls.log"
    with pytest.MonkeyPatch.context() as patch:
        _guard_lambdas(patch, guard_log, calls_log)
        engine = engines.start_engine(settings)
    with engine:
        build(settings)
        deploy(settings)
        target = local_target(settings)
        reading = Reading(event_source(settings, target.outputs.dispatcher_function_name))
        reading.source.start()
        try:
            with ticking(target, target.outputs.watchdog_function_name, WATCHDOG_EVERY_S):
                yield Stack(settings, target, guard_log, reading)
        finally:
            reading.source.stop(timeout_s=LIMIT_S)
        _check_permissions(target, calls_log.read_text().splitlines())


def _check_permissions(target: Target, calls: list[str]) -> None:
    """Hold every call that a deployed function made against its role: the engine itself allows everything."""
    outputs = target.outputs
    names = {
        "StateTable": outputs.state_table_name,
        "LedgerTable": outputs.ledger_table_name,
        "PayloadBucket": outputs.payload_bucket_name,
        "Stream": outputs.stream_name,
        "WakeQueue": outputs.wake_queue_url.rpartition("/")[2],
    }
    assert {line.partition(" ")[0] for line in calls} >= {outputs.dispatcher_function_name}
    assert Policies(transformed(), target.stack_name, names).refused(calls) == []


def _copy_project(root: Path) -> None:
    for part in PARTS:
        place = PROJECT / part
        if place.is_dir():
            shutil.copytree(place, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(place, root / part)


def _guard_lambdas(patch: pytest.MonkeyPatch, log: Path, calls_log: Path) -> None:
    """Give the engine, and so its Lambda processes, the guard on their path; the product keeps PYTHONPATH out."""
    environment = engines._environment
    folder = Path(hook.__file__).parent / "inside_lambdas"

    def with_guard(settings: LocalSettings, *, detached: bool) -> dict[str, str]:
        return environment(settings, detached=detached) | {
            "PYTHONPATH": str(folder),
            hook.LOG_VARIABLE: str(log),
            hook.CALLS_VARIABLE: str(calls_log),
        }

    patch.setattr(engines, "_environment", with_guard)
    patch.setenv("SAM_CLI_POLL_DELAY", os.environ.get("SAM_CLI_POLL_DELAY", "0.3"))
