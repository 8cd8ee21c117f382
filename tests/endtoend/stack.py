"""A deployed stack, as the end-to-end tests use it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from keyturn_cli.facts import Facts, gather
from keyturn_cli.progress import Watch
from keyturn_cli.putter import Put, Putter
from keyturn_cli.records import Record
from keyturn_cli.store import Store
from keyturn_cli.target import Target
from keyturn_local.lambdas import kill_lambdas
from keyturn_local.poller.source import EventSource
from keyturn_local.settings import LocalSettings

from keyturn.core.state import KeyState, Phase

LOOK_EVERY_S = 0.3
LIMIT_S = 240
"""After this long nothing comes any more: far beyond what a slow machine needs."""


@dataclass
class Reading:
    """What reads the stream for the dispatcher."""

    source: EventSource

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let nobody read the stream for a while; then go on where this one stopped."""
        self.source.stop(timeout_s=LIMIT_S)
        try:
            yield
        finally:
            old = self.source
            self.source = EventSource(mapping=old.mapping, clients=old.clients, checkpoints=old.checkpoints)
            self.source.start()


@dataclass(frozen=True)
class Stack:
    """What the tests know of it."""

    settings: LocalSettings
    target: Target
    guard_log: Path
    reading: Reading

    @property
    def store(self) -> Store:
        """Reads its tables."""
        return Store.of(self.target)

    def put(self, records: Sequence[tuple[str, bytes]]) -> list[Put]:
        """Put records into the stream, keeping the order of each key."""
        made = (Record(key, data, number) for number, (key, data) in enumerate(records, start=1))
        putter = Putter(self.target.client("kinesis"), self.target.outputs.stream_name)
        return [put for call in putter.put(made) for put in call]

    def follow(self, puts: Sequence[Put], meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until nothing becomes of the records any more."""
        watch = Watch(self.store, since_ms=puts[0].at_ms)
        watch.add(puts)

        def is_over() -> bool:
            if watch.look().is_over:
                return True
            meanwhile()
            return False

        self.until(is_over, watch.look)

    def facts(self, puts: Sequence[Put]) -> Facts:
        """Gather what became of the records."""
        return gather(self.store, puts, is_whole=False, is_local=True)

    def state(self, key: str) -> KeyState:
        """Read a key's state."""
        return self.store.states([key])[key]

    def until_done(self, key: str, count: int) -> None:
        """Wait until a key is idle and has finished so many events."""
        state = partial(self.state, key)
        self.until(lambda: (now := state()).phase is Phase.IDLE and now.finished == count, state)

    def until(self, condition: Callable[[], Any], tell: Callable[[], object] = lambda: "") -> None:
        """Wait until something holds; the test fails with what `tell` says if it doesn't come."""
        deadline_s = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline_s, f"not so after {LIMIT_S} s: {tell()}"
            time.sleep(LOOK_EVERY_S)

    def steps_done(self, key: str) -> list[str]:
        """Name the steps that had an effect for a key, in their order."""
        effects = sorted(self.store.ledger().effects, key=lambda effect: effect.turn)
        return [effect.step for effect in effects if effect.place.key == key]

    def invoke(self, function_name: str, payload: Mapping[str, Any]) -> Any:
        """Invoke a function; fails when it raised."""
        answer = self.target.patient_client("lambda", 60).invoke(
            FunctionName=function_name, Payload=json.dumps(payload).encode()
        )
        body = answer["Payload"].read()
        assert "FunctionError" not in answer, body[:500]
        return json.loads(body)

    def kill_one(self, name: str) -> bool:
        """Kill a Lambda process of a function as nothing can prepare for; False when none runs."""
        return kill_lambdas(self.settings, name, count_max=1) > 0

    def log_lines(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the JSON lines that a function logged."""
        pages = self.target.client("logs").get_paginator("filter_log_events")
        for page in pages.paginate(logGroupName=f"/aws/lambda/{self.settings.stack_name}-{name}"):
            for event in page["events"]:
                for line in event["message"].splitlines():
                    if line.startswith("{"):
                        yield json.loads(line)
