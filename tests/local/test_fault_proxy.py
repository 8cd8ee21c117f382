"""The proxy that drills put between functions and the engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection, RemoteDisconnected
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest
from keyturn_local.fault_proxy import Fault, FaultProxy, lose_answer, throttle

from tests.local.kit import LIMIT_S


class Engine(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    heard: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.append(body)
        self.send_response(201)
        self.send_header("X-Told", self.headers["X-Amz-Target"])
        self.end_headers()
        self.wfile.write(b"echo " + body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def heard() -> list[bytes]:
    return []


@pytest.fixture
def proxy(heard: list[bytes]) -> Iterator[FaultProxy]:
    """A proxy in front of an engine that notes what reaches it."""
    server = HTTPServer(("127.0.0.1", 0), type("Noting", (Engine,), {"heard": heard}))
    Thread(target=server.serve_forever, daemon=True).start()
    with FaultProxy(server.server_address[1]) as proxy:
        yield proxy
    server.shutdown()
    server.server_close()


def call(proxy: FaultProxy, body: bytes, operation: str = "DynamoDB_20120810.PutItem") -> tuple[int, str, bytes]:
    """Call as an AWS client does."""
    connection = HTTPConnection(urlsplit(proxy.endpoint_url).netloc, timeout=LIMIT_S)
    connection.request("POST", "/", body=body, headers={"X-Amz-Target": operation})
    answer = connection.getresponse()
    told = answer.status, answer.getheader("X-Told", ""), answer.read()
    connection.close()
    return told


def test_what_no_fault_asks_for_is_handed_on_as_it_is(proxy: FaultProxy) -> None:
    """Body, headers and status, both ways."""
    proxy.faults.append(Fault(operation="PutItem", holds=b"another key", act=throttle))
    assert call(proxy, b"one") == (201, "DynamoDB_20120810.PutItem", b"echo one")


def test_a_fault_takes_the_calls_that_it_names_as_often_as_it_says(proxy: FaultProxy, heard: list[bytes]) -> None:
    """By operation and by what a call holds; of these each second one, twice in all."""
    fault = Fault(operation="PutItem", holds=b"key-1", act=throttle, times=2, every=2)
    proxy.faults.append(fault)
    assert call(proxy, b"key-1", "DynamoDB_20120810.Query")[0] == 201
    statuses = [call(proxy, b"of key-1")[0] for _ in range(6)]
    assert statuses == [201, 400, 201, 400, 201, 201]
    assert (fault.done, len(heard)) == (2, 5)


def test_a_throttled_call_reads_as_aws_writes_it(proxy: FaultProxy) -> None:
    """So that the SDK knows it for one."""
    proxy.faults.append(Fault(operation="StartExecution", act=throttle))
    status, _, body = call(proxy, b"{}", "AWSStepFunctions.StartExecution")
    assert (status, json.loads(body)["__type"]) == (400, "ThrottlingException")


def test_a_lost_answer_is_one_to_a_call_that_was_done(proxy: FaultProxy, heard: list[bytes]) -> None:
    """The engine did it; its caller's connection ends."""
    proxy.faults.append(Fault(operation="PutItem", act=lose_answer))
    with pytest.raises((RemoteDisconnected, ConnectionResetError)):
        call(proxy, b"done")
    assert heard == [b"done"]
