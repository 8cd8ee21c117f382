"""Keyturn and the baselines: put into a stream, read by the local event source, judged by their ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from keyturn_cli.putter import Put, Putter
from keyturn_cli.records import Record
from keyturn_local.poller.source import EventSource, event_source

from bench.contender import Outcome
from bench.cpu import cpu_s
from bench.errors import TooSlow
from bench.ground import Ground
from bench.order import Effect
from bench.workers import ledger
from bench.workload import STEPS, BenchEvent, run_of

LOOK_EVERY_S: Final = 0.25


@dataclass(slots=True)
class OnEngine:
    """An app that is deployed to the engine."""

    name: str
    event_type: str
    ground: Ground
    stream: str
    dispatcher: str
    _source: EventSource | None = field(default=None, init=False)

    def run(self, events: Sequence[BenchEvent], *, limit_s: float) -> Outcome:
        """Put all events as fast as the engine takes them, wait for the last effect. Raises TooSlow."""
        kinesis = self.ground.target.client("kinesis")
        run = run_of(events)
        with self._reading():
            cpu_before_s = cpu_s(self.ground.pids)
            put_at_ms = _put(Putter(kinesis, self.stream), events)
            _wait(run, len(events) * len(STEPS), limit_s, self.name)
            used_s = cpu_s(self.ground.pids) - cpu_before_s
        return Outcome(put_at_ms, tuple(Effect(*row) for row in ledger.effects_of(run)), used_s)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Read the stream during a run only, so that the contenders don't pay for each other's reading."""
        settings = replace(self.ground.settings)
        old = self._source or event_source(settings, self.dispatcher)
        self._source = EventSource(mapping=old.mapping, clients=old.clients, checkpoints=old.checkpoints)
        self._source.start()
        try:
            yield
        finally:
            self._source.stop(timeout_s=5.0)


def _put(putter: Putter, events: Sequence[BenchEvent]) -> dict[str, int]:
    ids = {number: event.id for number, event in enumerate(events)}
    records = (Record(event.key, event.data, number) for number, event in enumerate(events))
    puts: Iterator[Put] = (put for call in putter.put(records) for put in call)
    return {ids[put.record.line]: put.at_ms for put in puts}


def _wait(run: str, wanted: int, limit_s: float, name: str) -> None:
    deadline_s = time.monotonic() + limit_s
    while (found := ledger.count_of(run)) < wanted:
        if time.monotonic() > deadline_s:
            raise TooSlow(f"{name}: {wanted - found} effects are missing after {limit_s:.0f} s")
        time.sleep(LOOK_EVERY_S)
