"""What a drill stands on: a stack, keys of its own, and the ways to look at what becomes of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from keyturn_local.settings import LocalSettings

from keyturn.core.state import KeyState
from keyturn_cli.errors import CliError, NotDone
from keyturn_cli.facts import Facts, gather
from keyturn_cli.guarantees import Fate, Place
from keyturn_cli.items.found import Items, Words
from keyturn_cli.operator import operate
from keyturn_cli.progress import Watch
from keyturn_cli.putter import Put, Putter
from keyturn_cli.records import Record
from keyturn_cli.store import Store
from keyturn_cli.target import Target
from keyturn_cli.ticker import ticking

LOOK_EVERY_S: Final = 0.2
WATCHDOG_EVERY_S: Final = 2.0
"""On the local engine, besides the schedule, which knows minutes only."""
_INVOCATION_S: Final = 90
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Ask:
    """A record to put, and what must become of it."""

    key: str
    data: bytes
    fate: Fate = Fate.DONE


@dataclass(slots=True)
class Watchdog:
    """Comes every two seconds on the local engine; a drill may send it away for a while."""

    target: Target
    _running: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Let it come; on AWS its schedule does."""
        if self.target.is_local:
            name = self.target.outputs.watchdog_function_name
            self._running.enter_context(ticking(self.target, name, WATCHDOG_EVERY_S))

    def stop(self) -> None:
        """Let only its schedule send it."""
        self._running.close()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Send it away for a while."""
        self.stop()
        try:
            yield
        finally:
            self.start()


@dataclass
class Ground:
    """One drill's own."""

    target: Target
    settings: LocalSettings
    """Of the local engine; without meaning on AWS."""
    watchdog: Watchdog
    prefix: str
    """What its keys begin with: nobody else's do."""
    keeping: ExitStack = field(default_factory=ExitStack)
    """What lasts as long as the drill."""
    puts: list[Put] = field(default_factory=list)
    asked: dict[Place, Fate] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    """What its injection leaves for its checks."""
    _watch: Watch | None = None

    def __post_init__(self) -> None:
        """Open the stack's tables."""
        self.store = Store.of(self.target)

    def key(self, number: int = 0) -> str:
        """A key of this drill."""
        return f"{self.prefix}-{number}"

    def put(self, *asked: Ask) -> list[Put]:
        """Put records into the stream, keeping each key's order."""
        fates: dict[str, list[Fate]] = {}
        for one in asked:
            fates.setdefault(one.key, []).append(one.fate)
        first = len(self.puts) + 1
        records = (Record(one.key, one.data, number) for number, one in enumerate(asked, start=first))
        putter = Putter(self.target.client("kinesis"), self.target.outputs.stream_name)
        made = [put for call in putter.put(records) for put in call]
        for put in made:  # a key's come in its order
            self.asked[self.place(put)] = fates[put.record.key].pop(0)
        self.puts += made
        if self._watch is None:
            self._watch = Watch(self.store, since_ms=made[0].at_ms)
        self._watch.add(made)
        return made

    def place(self, put: Put) -> Place:
        """Where the stream has a record."""
        return self.store.place(put.record.key, put.sequence_number)

    def state(self, number: int = 0) -> KeyState:
        """The state of one of its keys."""
        return self.store.states([self.key(number)])[self.key(number)]

    def until(self, what: str, holds: Callable[[], _T | None], limit_s: float = 60) -> _T:
        """Wait for a condition, and return what it gave. Raises NotDone when it doesn't come."""
        deadline_s = time.monotonic() + limit_s
        while not (found := holds()):
            if time.monotonic() >= deadline_s:
                raise NotDone(f"after {limit_s:.0f} s still not so: {what}")
            time.sleep(LOOK_EVERY_S)
        return found

    def see(self, line: str) -> None:
        """Note what was seen, for the report."""
        self.seen.append(line)

    def left(self) -> str:
        """What isn't through of its records; empty when all is."""
        if self._watch is None:
            return ""
        standing = self._watch.look()
        if standing.is_over:
            return ""
        keys = ", ".join(repr(key) for key in standing.open_keys[:3])
        left = f"{standing.left:,} of {standing.total:,} records are not through"
        return f"{left}, on {len(standing.open_keys):,} keys ({keys})"

    def facts(self) -> Facts:
        """Everything that became of its records and of whatever else its keys did."""
        return gather(self.store, self.puts, is_whole=True, is_local=self.target.is_local, own_keys=True)

    def attempts(self, number: int = 0) -> list[str]:
        """How the attempts of a key ended that did not simply succeed: "outcome: reason"."""
        return [f"{one.outcome}: {one.reason}" for one in self.store.attempts([self.key(number)])]

    def tries(self, number: int = 0) -> dict[str, int]:
        """How often the workers that misbehave on purpose began a step of a key."""
        return self.store.tries(self.key(number))

    def operate(self, command: str, **subject: Any) -> Mapping[str, Any]:
        """Ask the operator function for something, as a person's command does."""
        return operate(self.target, command, f"drill {self.prefix}", **subject)

    def discard(self, words: Words) -> int:
        """Close the quarantined records or dead letters of its keys; how many there were."""
        items = Items.of(self.target, words, lambda reason, wanted: reason == wanted)
        own = [list(found.place) for found in items.opened() if found.key.startswith(self.prefix)]
        if own:
            self.operate("discard", places=own)
        return len(own)

    def invoke(self, function_name: str, payload: Mapping[str, Any]) -> Any:
        """Invoke a function; what it answered. Raises CliError when it raised."""
        answer = self.target.patient_client("lambda", _INVOCATION_S).invoke(
            FunctionName=function_name, Payload=json.dumps(payload).encode()
        )
        body = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise CliError(f"{function_name} failed: {body}")
        return body


def all_through(ground: Ground) -> str:
    """Wait for all records of the drill to be done, set aside or parked."""
    return ground.left()
