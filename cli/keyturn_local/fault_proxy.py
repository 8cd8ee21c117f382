"""Stands between functions and the engine, and does to chosen calls what a network or a busy service would.

    with FaultProxy(settings.port) as proxy:
        proxy.faults.append(Fault(operation="StartExecution", holds=b"order-7", act=throttle, times=3))
        ...                                     # functions reach the engine by proxy.endpoint_url

What no fault asks for is handed on as it is.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Final, Self

from keyturn_local.settings import LOCAL_HOST

_OPERATION: Final = "X-Amz-Target"
"""Names the operation in the JSON protocols of DynamoDB and Step Functions: "AWSStepFunctions.StartExecution"."""
_ANSWER_S: Final = 90.0
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP server answers."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


Forward = Callable[[], Answer]
"""Hands the call on to the engine."""

Act = Callable[[Forward], Answer | None]
"""What is done with a call; None: the connection ends without an answer."""


def throttle(_forward: Forward) -> Answer:
    """Refuse, as a service does that has too much to do."""
    body = json.dumps({"__type": "ThrottlingException", "message": "Rate exceeded"}).encode()
    return Answer(400, (("Content-Type", "application/x-amz-json-1.0"),), body)


def lose_answer(forward: Forward) -> None:
    """Have it done, and let nobody hear of it."""
    forward()


@dataclass(slots=True, kw_only=True)
class Fault:
    """What is done to the calls of an operation that hold a text, so many times."""

    operation: str
    act: Act
    holds: bytes = b""
    times: int = 1
    every: int = 1
    """Of the calls that fit, each so many-th one: the others are handed on."""
    fitted: int = 0
    done: int = 0

    def takes(self, operation: str, body: bytes) -> bool:
        """Whether this call is to be disturbed; counts it."""
        if self.done >= self.times or operation.rpartition(".")[2] != self.operation or self.holds not in body:
            return False
        self.fitted += 1
        if self.fitted % self.every:
            return False
        self.done += 1
        return True


@dataclass(slots=True)
class FaultProxy:
    """A proxy in front of an engine's port. Use it as a context manager."""

    engine_port: int
    faults: list[Fault] = field(default_factory=list)
    calls: int = 0
    _counting: Lock = field(default_factory=Lock)
    _server: _Server | None = None

    @property
    def endpoint_url(self) -> str:
        """What AWS_ENDPOINT_URL must be for a function to come through here."""
        assert self._server is not None, "the proxy runs within its block only"  # noqa: S101
        return f"http://{LOCAL_HOST}:{self._server.server_address[1]}"

    def fault_for(self, operation: str, body: bytes) -> Fault | None:
        """The first fault that wants a call."""
        with self._counting:
            self.calls += 1
            return next((fault for fault in self.faults if fault.takes(operation, body)), None)

    def __enter__(self) -> Self:
        self._server = _Server(self)
        Thread(target=self._server.serve_forever, name="fault-proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None, "it was entered"  # noqa: S101
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__((LOCAL_HOST, 0), _Handler)
        self.proxy = proxy

    def handle_error(self, request: object, client_address: object) -> None:
        """A function that was killed in mid-call is what drills are for, nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        """Take any method: only the line and the headers are read here."""
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self._body()
        fault = self.server.proxy.fault_for(self.headers.get(_OPERATION, ""), body)

        def forward() -> Answer:
            return self._forward(body)

        try:
            answer = fault.act(forward) if fault else forward()
        except (OSError, HTTPException):
            answer = None  # the engine itself is away: so is its answer
        if answer is None:
            self._hang_up()
        else:
            self._answer(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts: list[bytes] = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _forward(self, body: bytes) -> Answer:
        connection = HTTPConnection(LOCAL_HOST, self.server.proxy.engine_port, timeout=_ANSWER_S)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, tuple(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def _answer(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
