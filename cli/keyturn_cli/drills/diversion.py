"""Leads functions of a local stack through a proxy for a while, which then loses, refuses or repeats what they ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from keyturn_local.fault_proxy import FaultProxy

from keyturn_cli.drills.ground import Ground
from keyturn_cli.drills.standing import ENDPOINT, PLATFORM, function_name, variables_of
from keyturn_cli.target import Target


@contextmanager
def diverted(ground: Ground, names: Sequence[str] = PLATFORM) -> Iterator[FaultProxy]:
    """Let functions reach the engine through a proxy only; their environment is put back afterwards."""
    with FaultProxy(ground.settings.port) as proxy:
        try:
            for name in names:
                _set_endpoint(ground.target, name, proxy.endpoint_url)
            yield proxy
        finally:
            undivert(ground.target)


def undivert(target: Target) -> None:
    """Let every function reach the engine by itself again, whatever a drill that was killed left."""
    for name in PLATFORM:
        _set_endpoint(target, name, None)


def _set_endpoint(target: Target, name: str, url: str | None) -> None:
    variables = variables_of(target, name)
    if variables.get(ENDPOINT) == url:
        return
    others = {variable: value for variable, value in variables.items() if variable != ENDPOINT}
    wanted = others | ({ENDPOINT: url} if url else {})
    client = target.client("lambda")
    client.update_function_configuration(FunctionName=function_name(target, name), Environment={"Variables": wanted})
    client.get_waiter("function_updated_v2").wait(FunctionName=function_name(target, name))
