"""Keyturn and the baselines: put into a stream, read by the local event source, judged by their ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from keyturn_cli.putter import CALL_RECORDS_MAX
from keyturn_local.poller.source import EventSource, event_source

from bench.contender import Outcome
from bench.cpu import cpu_s
from bench.errors import Refused, TooSlow
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
            put_at_ms = put_all(kinesis, self.stream, events)
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


def put_all(kinesis: Any, stream: str, events: Sequence[BenchEvent]) -> dict[str, int]:
    """Put all events, as many a call as it takes, so that none waits for its producer; return when, by their ids.

    A call keeps the order within a key as long as no record of it is refused; raises Refused if one is.
    """
    put_at_ms: dict[str, int] = {}
    for begin in range(0, len(events), CALL_RECORDS_MAX):
        together = events[begin : begin + CALL_RECORDS_MAX]
        put_at_ms |= dict.fromkeys((event.id for event in together), int(time.time() * 1_000))
        records = [{"Data": event.data, "PartitionKey": event.key} for event in together]
        if refused := kinesis.put_records(StreamName=stream, Records=records)["FailedRecordCount"]:
            raise Refused(f"stream {stream} refused {refused} records of {len(together)}: run the bench again")
    return put_at_ms


def _wait(run: str, wanted: int, limit_s: float, name: str) -> None:
    deadline_s = time.monotonic() + limit_s
    while (found := ledger.count_of(run)) < wanted:
        if time.monotonic() > deadline_s:
            raise TooSlow(f"{name}: {wanted - found} effects are missing after {limit_s:.0f} s")
        time.sleep(LOOK_EVERY_S)
