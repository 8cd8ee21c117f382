"""Lets containers reach the local engine, which listens on this machine's loopback address only.

    with reachable_from_containers(settings.port) as endpoint_url:
        ...                                     # http://172.17.0.1:40521, say

On Linux a container sees its host at the gateway of Docker's bridge network, so a listener there hands each connection
on to the engine, for as long as the block lasts: the engine itself never listens where another machine might reach it.
Where that address isn't this machine's (Docker Desktop runs containers in a virtual machine), Docker forwards
host.docker.internal to the loopback address by itself.
"""

from __future__ import annotations

import ipaddress
import socket
import socketserver
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

from keyturn_local.errors import LocalError
from keyturn_local.settings import LOCAL_HOST

DESKTOP_HOST = "host.docker.internal"
_CHUNK_BYTES = 65_536


class NoContainers(LocalError):
    """No Docker engine answers."""


@contextmanager
def reachable_from_containers(port: int) -> Iterator[str]:
    """Yield the address under which containers reach what listens on a port of 127.0.0.1. Raises NoContainers."""
    try:
        forwarder = _Forwarder((_gateway(), 0), port)
    except OSError:
        yield f"http://{DESKTOP_HOST}:{port}"
        return
    with forwarder:
        Thread(target=forwarder.serve_forever, daemon=True).start()
        try:
            host, own_port = forwarder.server_address[:2]
            yield f"http://{host!s}:{own_port}"
        finally:
            forwarder.shutdown()


def gateway_of(network: Mapping[str, Any]) -> str:
    """Return the host's address in a network as Docker describes it; its subnet's first one unless it says so."""
    config = network["IPAM"]["Config"][0]
    return str(config.get("Gateway") or next(ipaddress.ip_network(config["Subnet"]).hosts()))


def _gateway() -> str:
    import docker  # type: ignore[import-untyped]  # noqa: PLC0415  comes with sam; slow to load, and rarely needed

    try:
        return gateway_of(docker.from_env().networks.get("bridge").attrs)
    except docker.errors.DockerException as error:
        raise NoContainers(
            "no Docker engine answers, and `sam local invoke` runs functions in containers. Start one, then try again"
        ) from error


class _Forwarder(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], port: int) -> None:
        super().__init__(address, _Connection)
        self.port = port


class _Connection(socketserver.BaseRequestHandler):
    server: _Forwarder

    def handle(self) -> None:
        with socket.create_connection((LOCAL_HOST, self.server.port)) as engine:
            Thread(target=_copy, args=(engine, self.request), daemon=True).start()
            _copy(self.request, engine)


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends, then tell the target so."""
    with suppress(OSError):
        while data := source.recv(_CHUNK_BYTES):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
