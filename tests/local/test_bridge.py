"""Containers reach the engine, which listens on loopback only, through a listener that lasts as long as the call."""

import http.server
import socket
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread
from urllib.request import ProxyHandler, build_opener

import pytest
from keyturn_local import bridge

from tests.local.kit import LIMIT_S

OPENER = build_opener(ProxyHandler({}))


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers a POST with what it carried."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's own name
        """Stay quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    """The port of something that listens on 127.0.0.1, like the engine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_requests_and_answers_pass_through_whole(port: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size, in both directions. 127.0.0.2 stands for the gateway of Docker's network."""
    monkeypatch.setattr(bridge, "_gateway", lambda: "127.0.0.2")
    with bridge.reachable_from_containers(port) as url:
        assert url.startswith("http://127.0.0.2:")
        with OPENER.open(url, data=b"x" * size, timeout=LIMIT_S) as answer:
            assert answer.read() == b"x" * size


def test_nothing_listens_behind_the_block(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is open to containers during a call only."""
    monkeypatch.setattr(bridge, "_gateway", lambda: "127.0.0.2")
    with bridge.reachable_from_containers(port) as url:
        own_port = int(url.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError), suppress(TimeoutError):
        socket.create_connection(("127.0.0.2", own_port), timeout=2)


def test_a_gateway_of_another_machine_means_docker_desktop(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its containers run in a virtual machine, which reaches this one's loopback under a name of its own."""
    monkeypatch.setattr(bridge, "_gateway", lambda: "192.0.2.1")  # RFC 5737: nobody's
    with bridge.reachable_from_containers(port) as url:
        assert url == f"http://host.docker.internal:{port}"


@pytest.mark.parametrize(
    ("config", "gateway"),
    [
        ({"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.9"}, "172.17.0.9"),
        ({"Subnet": "172.17.0.0/16"}, "172.17.0.1"),
    ],
)
def test_the_gateway_is_what_docker_says_else_the_first_address(config: dict[str, str], gateway: str) -> None:
    """Some Docker engines leave the gateway out."""
    assert bridge.gateway_of({"IPAM": {"Config": [config]}}) == gateway
