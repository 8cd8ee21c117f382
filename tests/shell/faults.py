"""AWS clients that a test can make die, lose answers or throttle at any call."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError


class Killed(BaseException):
    """The process is gone: nothing of it runs on, no `except Exception` sees it."""


class Fault(StrEnum):
    """What goes wrong at a call."""

    DIES_BEFORE = "dies before the call"
    DIES_AFTER = "dies after the call"
    LOSES_ANSWER = "the call took effect, its answer is lost"
    THROTTLES = "the call is throttled"


@dataclass
class Faults:
    """Counts calls, and strikes at one of them. All clients of a world share it, and call one at a time."""

    on_call: Callable[[], None] = lambda: None
    strike_at: int | None = None
    """Which call, from 1, counted since `arm`."""
    fault: Fault = Fault.DIES_BEFORE
    calls: int = 0
    made: Counter[str] = field(default_factory=Counter)
    """How often each call was made, ever."""
    has_struck: bool = False
    is_dead: bool = False
    struck: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def arm(self, strike_at: int | None, fault: Fault = Fault.DIES_BEFORE) -> None:
        """Strike at the `strike_at`-th call from now on; None disarms."""
        self.strike_at, self.fault, self.calls = strike_at, fault, 0
        self.has_struck = self.is_dead = False

    def revive(self) -> None:
        """Begin a new process: what died stays dead, but this one isn't it."""
        self.is_dead = False

    def around(self, name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Make a call, or let it go wrong."""
        with self.lock:
            if self.is_dead:
                raise Killed
            self.on_call()
            self.calls += 1
            self.made[name] += 1
            if self.strike_at is None or self.has_struck or self.calls != self.strike_at:
                return call(**arguments)
            self.has_struck, self.struck = True, name
            return self._strike(name, call, arguments)

    def _strike(self, name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        match self.fault:
            case Fault.DIES_BEFORE:
                self.is_dead = True
                raise Killed
            case Fault.DIES_AFTER:
                call(**arguments)
                self.is_dead = True
                raise Killed
            case Fault.LOSES_ANSWER:
                call(**arguments)
                raise ReadTimeoutError(endpoint_url=name)
            case Fault.THROTTLES:
                raise throttled(name)


def throttled(name: str, code: str = "ThrottlingException") -> ClientError:
    """Return the error that botocore raises once its own retries are used up."""
    return ClientError({"Error": {"Code": code, "Message": "slow down"}}, name)


class FaultyClient:
    """A client of one service whose calls all go through the faults."""

    def __init__(self, inner: Any, faults: Faults) -> None:
        """Wrap a client."""
        self._inner = inner
        self._faults = faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of the client, with faults around it."""
        call = getattr(self._inner, name)
        return lambda **arguments: self._faults.around(name, call, arguments)
