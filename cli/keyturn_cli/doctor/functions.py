"""The functions: there, active, of one version, with the same settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from keyturn.settings import SHARED_VARIABLES
from keyturn_cli.doctor.examination import Examination
from keyturn_cli.doctor.finding import Finding, failed, listed, ok

_DEPLOY = "deploy the stack again: sam deploy"


def check_functions(examined: Examination) -> Iterator[Finding]:
    """All functions of the stack, together."""
    functions = {
        examined.short(str(configuration["FunctionName"])): configuration
        for configuration in examined.functions.values()
    }
    yield _ready(functions)
    yield _one_version(functions)
    yield _same_settings(functions)


def _ready(functions: Mapping[str, Mapping[str, Any]]) -> Finding:
    name = "functions ready"
    states = {function: _state(configuration) for function, configuration in functions.items()}
    wrong = {function: state for function, state in states.items() if state}
    if wrong:
        told = listed(f"{function} is {state}" for function, state in wrong.items())
        return failed(name, told, f"wait if a deploy is under way; else {_DEPLOY}")
    return ok(name, f"{len(functions)} functions are active")


def _state(configuration: Mapping[str, Any]) -> str:
    """What is wrong with a function's state; empty if nothing is. An idle function is woken by its next invocation."""
    state = configuration.get("State", "Active")
    update = configuration.get("LastUpdateStatus", "Successful")
    if state not in {"Active", "Inactive"}:
        return f"{state} ({configuration.get('StateReason', 'no reason given')})"
    if update != "Successful":
        return f"updated without success: {update} ({configuration.get('LastUpdateStatusReason', 'no reason given')})"
    return ""


def _one_version(functions: Mapping[str, Mapping[str, Any]]) -> Finding:
    name = "one library version"
    versions = {
        function: str(layer["Arn"]).rpartition(":")[2]
        for function, configuration in functions.items()
        for layer in configuration.get("Layers", [])
        if str(layer["Arn"]).rpartition(":")[0].endswith("-library")
    }
    if len(set(versions.values())) > 1:
        usual = Counter(versions.values()).most_common(1)[0][0]
        odd = listed(f"{function} on {version}" for function, version in versions.items() if version != usual)
        return failed(name, f"most functions run on version {usual} of the layer, {odd}", _DEPLOY)
    return ok(name, f"{len(versions)} functions run on version {next(iter(versions.values()), '-')} of the layer")


def _same_settings(functions: Mapping[str, Mapping[str, Any]]) -> Finding:
    name = "same settings"
    environments = {
        function: configuration.get("Environment", {}).get("Variables", {})
        for function, configuration in functions.items()
    }
    wrong = [
        f"{variable} of {function} is {environment.get(variable, 'missing')!r}, others have {usual!r}"
        for variable in sorted(SHARED_VARIABLES)
        for usual in [Counter(str(found.get(variable)) for found in environments.values()).most_common(1)[0][0]]
        for function, environment in environments.items()
        if str(environment.get(variable)) != usual
    ]
    if wrong:
        return failed(name, listed(wrong), f"nobody should edit a function by hand: {_DEPLOY}")
    return ok(name, f"{len(SHARED_VARIABLES)} variables are the same for all functions")
