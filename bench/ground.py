"""The engine that the AWS contenders share, with Keyturn and the baselines deployed to it by the real sam.

Everything lies in a folder of its own below .keyturn, so that a bench meets nothing of what a user has running.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from keyturn_cli.target import Target, local_target
from keyturn_local.clients import client_options, local_session
from keyturn_local.engine import Engine, start_engine
from keyturn_local.settings import LocalSettings
from keyturn_local.stack import build, deploy

from bench.workers import ledger
from bench.workload import STEPS

PROJECT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = PROJECT / ".keyturn" / "bench"
_LEDGER: Final = FOLDER / "ledger.sqlite"
BASELINES: Final = PROJECT / "bench" / "baselines"
_WORKERS: Final = PROJECT / "bench" / "workers"
_PARTS: Final = ("template.yaml", "samconfig.toml", "functions", "src", "statemachines")
_ROUTES: Final = Path("src/keyturn_routes")
_SCHEMA: Final = "bench.json"
STRICT, STANDARD, BATCHED = "bench.strict", "bench.standard", "bench.batched"
TENS, NESTED = "bench.tens", "bench.nested"
BATCH_EVENTS: Final = 20
_WORKER_TIMEOUT_S: Final = 12
"""Instead of the sample's 3 s: the engine counts a cold start in, which AWS does not, and kills it again and again."""
_ATTEMPTS_MAX: Final = 20
"""A parked key would never be done."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A naive app to deploy: its folder in bench/baselines and its template's parameters ("Name=value")."""

    folder: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BaselineStack:
    """A deployed baseline: what its resources are called."""

    name: str
    stream: str
    dispatcher: str


@dataclass(frozen=True)
class Ground:
    """A running engine with everything deployed."""

    engine: Engine
    target: Target
    baselines: Mapping[str, BaselineStack]

    @property
    def settings(self) -> LocalSettings:
        """Of the engine, and of Keyturn's stack."""
        return self.engine.settings

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes whose CPU time counts: the engine with its functions, and this one, which reads the stream."""
        return (self.engine.state.engine.pid, os.getpid())


def fresh_settings() -> LocalSettings:
    """Return where the engine is to run, with an empty ledger that every contender's processes inherit."""
    os.environ[ledger.PLACE] = str(_LEDGER)
    for left in FOLDER.glob(f"{_LEDGER.name}*"):
        left.unlink()
    return LocalSettings.from_environment(os.environ, root=FOLDER / "project")


def prepare(folder: Path) -> None:
    """Copy the project, with the bench's routes and workers in place of the sample's."""
    for part in _PARTS:
        place = PROJECT / part
        if place.is_dir():
            shutil.rmtree(folder / part, ignore_errors=True)
            shutil.copytree(place, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(place, folder / part)
    for step in STEPS:
        shutil.copy(_WORKERS / "keyturn_app.py", folder / "functions" / step / "app.py")
        shutil.copy(_WORKERS / "ledger.py", folder / "functions" / step / "ledger.py")
    template = folder / "template.yaml"
    patient = template.read_text(encoding="utf-8").replace(
        "\n      Timeout: 3\n", f"\n      Timeout: {_WORKER_TIMEOUT_S}\n"
    )
    template.write_text(patient, encoding="utf-8")
    routes = [
        _route("strict", "express", 1),
        _route("standard", "standard", 1),
        _route("batched", "express", BATCH_EVENTS),
        _route("tens", "express", 10),
        _route("nested", "nested", 1),
    ]
    (folder / _ROUTES / "routes.json").write_text(json.dumps({"routes": routes}, indent=2), encoding="utf-8")
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["sequence"]}
    (folder / _ROUTES / "schemas" / _SCHEMA).write_text(json.dumps(schema), encoding="utf-8")


def _route(name: str, kind: str, batch_events: int) -> dict[str, Any]:
    """The sample's route of its order workflow, but for type, kind, batch, patience."""
    sample = json.loads((PROJECT / _ROUTES / "routes.json").read_text(encoding="utf-8"))["routes"]
    permit: dict[str, Any] = next(route for route in sample if route["name"] == "permit")
    return permit | {
        "name": name,
        "type": f"bench.{name}",
        "kind": kind,
        "schema": _SCHEMA,
        "max_attempts": _ATTEMPTS_MAX,
        "worker_timeout_s": _WORKER_TIMEOUT_S,
        "batch": {"events": batch_events, "bytes": 180_000},
    }


@contextmanager
def ground(
    settings: LocalSettings, overrides: Mapping[str, str], baselines: Mapping[str, Baseline]
) -> Iterator[Ground]:
    """An engine with Keyturn and the baselines, until the block ends.

    `overrides` are parameters of Keyturn's template besides samconfig.toml's; `baselines` go by the stack's name.
    Raises what starting, building and deploying raises.
    """
    prepare(settings.root)
    with start_engine(settings) as engine:
        build(settings)
        deploy(settings, ("--parameter-overrides", *_parameters(overrides)))
        stacks = {name: _deploy_baseline(settings, name, what) for name, what in baselines.items()}
        yield Ground(engine, local_target(settings), stacks)


def _parameters(overrides: Mapping[str, str]) -> list[str]:
    """The local environment's own parameters, overridden: on the command line they replace those of samconfig.toml."""
    local = {
        "MappingEnabled": "false",
        "StreamMode": "PROVISIONED",
        "ShardCount": "2",
        "MaxInFlightRuns": "4",
        "IndexRoundingSeconds": "5",
    }
    return [f"{name}={value}" for name, value in (local | dict(overrides)).items()]


def _deploy_baseline(settings: LocalSettings, name: str, what: Baseline) -> BaselineStack:
    stack = replace(settings, stack_name=name)
    template = BASELINES / what.folder / "template.yaml"
    samconfig = str(settings.root / "samconfig.toml")  # sam would look beside the template
    parameters = ("--parameter-overrides", "MappingEnabled=false", *what.parameters)
    deploy(stack, ("--config-file", samconfig, "--template-file", str(template), *parameters))
    client = local_session(settings.region).client("cloudformation", **client_options(settings))
    outputs = client.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    found = {output["OutputKey"]: output["OutputValue"] for output in outputs}
    return BaselineStack(name, found["StreamName"], found["DispatcherFunctionName"])
