"""Lambda: environments that are used again, invocations killed at their timeout, and calls to AWS that fail."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from botocore.exceptions import ClientError, ReadTimeoutError

from keyturn.adapters import telemetry
from keyturn.adapters.process import Process
from keyturn.errors import KeyturnError
from tests.models.dynamodb import refusal
from tests.simulator.hub import Hub, Killed, owner
from tests.simulator.scenario import CallFault, Struck

Handle = Callable[["Invocation", Any], Any]
"""What a function does with an event."""


class Failure(StrEnum):
    """How Lambda says that there is no answer."""

    THROTTLED = "Lambda.TooManyRequestsException"
    TIMED_OUT = "Sandbox.Timedout"
    CRASHED = "Lambda.Unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """What whoever invoked a function gets to know."""

    value: Any = None
    error: str = ""
    cause: str = ""


@dataclass(slots=True)
class Environment:
    """One process of a function: what it remembers, and how wrong its clock is."""

    skew_ms: int
    memory: Any = None


@dataclass(slots=True)
class Invocation:
    """One call of a function; owns its strands."""

    number: int
    function: Function
    event: Any
    environment: Environment
    until_ms: int
    """When Lambda kills it."""
    hub: Hub
    then: Callable[[Answer], object]
    is_dead: bool = False
    is_over: bool = False

    def remaining_ms(self) -> int:
        """Tell how long it has left, as its context does."""
        return self.until_ms - self.hub.now_ms

    def has_time(self, reserve_ms: int) -> Callable[[], bool]:
        """Tell whether it may begin something more."""
        return lambda: self.remaining_ms() > reserve_ms

    def end(self, answer: Answer, *, dies: bool = False) -> None:
        """Answer whoever invoked it, once; a process that dies answers nothing more and is used no more."""
        if self.is_over:
            return
        self.is_over, self.is_dead = True, dies
        if not dies:
            self.function.idle.append(self.environment)
        self.hub.after(self.hub.chance.randrange(1, 8), lambda: self.then(answer))


@dataclass(slots=True)
class Function:
    """A deployed function."""

    name: str
    timeout_ms: int
    handle: Handle
    idle: list[Environment] = field(default_factory=list)


_COLD_MS: Final = (150, 900)


class Lambdas:
    """Invokes functions."""

    def __init__(self, hub: Hub, skews_ms: int) -> None:
        """Have clocks that are at most so far apart."""
        self.hub, self.skews_ms = hub, skews_ms
        self.functions: dict[str, Function] = {}
        self.throttled_until_ms = 0
        self.invocations = 0
        self.under_way = 0

    def deploy(self, name: str, timeout_ms: int, handle: Handle) -> None:
        """Have a function."""
        self.functions[name] = Function(name, timeout_ms, handle)

    def invoke(self, name: str, event: Any, then: Callable[[Answer], object], late_ms: int = 0) -> None:
        """Invoke a function; `late_ms` is how much longer than usual it takes to begin."""
        chance = self.hub.chance
        if self.hub.now_ms < self.throttled_until_ms and chance.random() < 0.8:
            self.hub.after(2, lambda: then(Answer(error=Failure.THROTTLED)))
            return
        function = self.functions[name]
        if function.idle and chance.random() < 0.8:
            environment, delay_ms = function.idle.pop(), chance.randrange(1, 6)
        else:
            skew_ms = chance.randint(-self.skews_ms, self.skews_ms) if self.skews_ms else 0
            environment, delay_ms = Environment(skew_ms), chance.randrange(*_COLD_MS)
        self.under_way += 1
        self.hub.after(delay_ms + late_ms, lambda: self._begin(function, environment, event, then))

    def _begin(
        self, function: Function, environment: Environment, event: Any, then: Callable[[Answer], object]
    ) -> None:
        self.invocations += 1
        until_ms = self.hub.now_ms + function.timeout_ms
        invocation = Invocation(self.invocations, function, event, environment, until_ms, self.hub, then)
        self.hub.spawn(lambda: self._run(invocation), invocation)
        self.hub.after(function.timeout_ms, lambda: self._kill(invocation))

    def _run(self, invocation: Invocation) -> None:
        try:
            answer = Answer(invocation.function.handle(invocation, invocation.event))
        except KeyturnError as error:
            answer = Answer(error=type(error).__name__, cause=str(error))
        finally:
            self.under_way -= 1
            telemetry.metrics().clear_metrics()
        invocation.end(answer)

    def _kill(self, invocation: Invocation) -> None:
        invocation.end(Answer(error=Failure.TIMED_OUT), dies=True)


class Calls:
    """Every call to AWS of every function: takes its time, and goes wrong where the scenario says so."""

    def __init__(self, hub: Hub, struck: Iterable[Struck], tell: Callable[[str], None]) -> None:
        """Strike at some calls."""
        self.hub, self.tell = hub, tell
        self.struck = {(one.call, one.number): one.fault for one in struck}
        self.made: Counter[str] = Counter()

    def _fault(self, name: str) -> CallFault | None:
        """Count a call; return what goes wrong at it."""
        self.made[""] += 1
        self.made[name] += 1
        if not self.struck:
            return None
        any_ = self.struck.pop(("", self.made[""]), None)
        return self.struck.pop((name, self.made[name]), any_)

    def make(self, name: str, do: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Make a call for the invocation that runs."""
        caller: Invocation = owner()
        if caller.is_dead:
            raise Killed
        fault = self._fault(name)
        hub = self.hub
        if fault is None:
            hub.pause(hub.chance.randrange(1, 10))
            return do(**arguments)
        self.tell(f"{caller.function.name} {caller.number}: {name} {fault.value}")
        match fault:
            case CallFault.DIES_BEFORE:
                raise self._died(caller)
            case CallFault.DIES_AFTER:
                hub.pause(5)
                do(**arguments)
                raise self._died(caller)
            case CallFault.LOSES_ANSWER:
                hub.pause(5)
                do(**arguments)
                hub.pause(hub.chance.choice((10, 3_000)))
                raise ReadTimeoutError(endpoint_url=name)
            case CallFault.SENT_TWICE:
                self._quietly(do, arguments)
                hub.pause(hub.chance.choice((10, 2_000)))
                return self._again(do, arguments)
            case CallFault.THROTTLED:
                hub.pause(hub.chance.choice((5, 1_500)))
                raise refusal("ThrottlingException", name, "slow down")
            case CallFault.LATE:
                hub.pause(hub.chance.choice((500, 2_500, 6_000)))
                return do(**arguments)
            case CallFault.SLOW_ANSWER:
                hub.pause(5)
                answer = do(**arguments)
                hub.pause(hub.chance.choice((500, 2_500, 6_000)))
                return answer

    @staticmethod
    def _quietly(do: Callable[..., Any], arguments: dict[str, Any]) -> None:
        """Send a call whose answer nobody gets, a refusal included."""
        try:
            do(**arguments)
        except ClientError:
            return

    @staticmethod
    def _again(do: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Send a call once more; the SDK tells in a refusal that it did."""
        try:
            return do(**arguments)
        except ClientError as error:
            response: Any = error.response
            response.setdefault("ResponseMetadata", {})["RetryAttempts"] = 1
            raise

    @staticmethod
    def _died(caller: Invocation) -> Killed:
        caller.end(Answer(error=Failure.CRASHED), dies=True)
        return Killed()


class Client:
    """A service as a function's SDK has it."""

    def __init__(self, calls: Calls, service: Any) -> None:
        """Send calls to a model of the service."""
        self._calls, self._service = calls, service

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of the client."""
        calls, do = self._calls, getattr(self._service, name)

        def call(**arguments: Any) -> Any:
            return calls.make(name, do, arguments)

        setattr(self, name, call)
        return call


def process_of(invocation: Invocation, hub: Hub) -> Process:
    """Return the process of an environment: its clock is as wrong as the environment's."""
    skew_ms = invocation.environment.skew_ms
    return Process(
        clock=lambda: hub.now_ms + skew_ms,
        sleep=lambda seconds: hub.pause(round(seconds * 1_000)),
        chance=random.Random(hub.chance.random()),  # noqa: S311 - reproducible, no secret
        side_by_side=hub.side_by_side,
        new_lock=hub.new_lock,
    )
