"""The routes that are deployed, against the checkout's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from keyturn.adapters.schemas import load_routes
from keyturn.shell.describe import described
from keyturn_cli.doctor.examination import STATE_MACHINE, Examination
from keyturn_cli.doctor.finding import Finding, failed, listed, ok, warning


def check_routes(examined: Examination) -> Iterator[Finding]:
    """Routes, schemas, and the state machines that routes name."""
    here = json.loads(json.dumps(described(load_routes())))
    yield _same("routes as in this checkout", here["routes"], examined.deployed["routes"])
    yield _same("schemas as in this checkout", here["schemas"], examined.deployed["schemas"])
    yield _workflows_there(examined)


def _same(name: str, here: Mapping[str, Any], there: Mapping[str, Any]) -> Finding:
    differ = [key for key in here.keys() & there.keys() if here[key] != there[key]]
    told = [
        *([f"not deployed: {listed(here.keys() - there.keys())}"] if here.keys() - there.keys() else []),
        *([f"only deployed: {listed(there.keys() - here.keys())}"] if there.keys() - here.keys() else []),
        *([f"different: {listed(differ)}"] if differ else []),
    ]
    if told:
        return warning(name, "; ".join(told), "check out what is deployed, or deploy this: sam build && sam deploy")
    return ok(name, f"all {len(here)} are the same")


def _workflows_there(examined: Examination) -> Finding:
    name = "routes lead somewhere"
    machines = {examined.short(machine.id.rpartition(":")[2]) for machine in examined.of_kind(STATE_MACHINE)}
    lost = {
        route: f"{about['workflow']}-{about['kind']}"
        for route, about in examined.deployed["routes"].items()
        if f"{about['workflow']}-{about['kind']}" not in machines
    }
    if lost:
        told = listed(f"route {route} has no state machine {machine}" for route, machine in lost.items())
        return failed(name, told, "add it to template.yaml and deploy, or take the route out of routes.json")
    return ok(name, f"{len(machines)} state machines are there")
