"""Ports for engines of the tests' own."""

from __future__ import annotations

import os
import socket
from itertools import count, islice
from typing import Final

from keyturn_local.settings import LOCAL_HOST

_FIRST: Final = 20_000
_SHARE: Final = 500
_SHARES: Final = 24
"""All below 32768, where the ports begin that Linux gives to connections: none of them takes one in between."""

_tries = count(os.getpid())


def free_port() -> int:
    """A port that nobody listens on now, and that no other of pytest-xdist's workers takes before it is listened on."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST + worker % _SHARES * _SHARE
    return next(port for port in (first + number % _SHARE for number in islice(_tries, _SHARE)) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the engine does, after one that just ended
        try:
            probe.bind((LOCAL_HOST, port))
        except OSError:
            return False
        return True
