"""Puts records to a Kinesis stream so that the records of a key keep their order.

PutRecords alone doesn't keep it: a call may take a key's second record and refuse its first (a throttled shard), and
the first would come in behind when it is put again. So a call here carries one record of each key at most, and a key's
next record goes only after its last one was taken. A refused record is put again, with everything behind it in its key
held back. A file of many keys still goes 500 records a call; a file of one key goes one record a call.

The sequence numbers that come back are checked to rise within each key, since they are what the order is made of. A
call whose answer was lost is repeated, so a record may be in the stream twice: Keyturn drops it as a duplicate.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from keyturn_cli.errors import PutFailed
from keyturn_cli.records import Record

CALL_RECORDS_MAX: Final = 500
CALL_BYTES_MAX: Final = 5 * 1_048_576
"""Kinesis PutRecords API reference; data and partition keys together."""
WINDOW_RECORDS: Final = 10_000
"""How far ahead of the first unput record the input is read, so that a call finds enough keys."""
FRUITLESS_CALLS_MAX: Final = 12
"""In a row; with the waits below, about 30 s in which the stream takes nothing."""
_WAIT_FIRST_S: Final = 0.1
_WAIT_MAX_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Put:
    """A record that the stream took."""

    record: Record
    sequence_number: str
    shard_id: str
    at_ms: int
    """When the call that it went with was made, by this machine's clock."""


@dataclass(slots=True)
class Putter:
    """Puts records in order. `client` is a Kinesis client."""

    client: Any
    stream_name: str
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time
    _queues: dict[str, deque[Record]] = field(default_factory=dict)
    _last: dict[str, int] = field(default_factory=dict)
    _pending: int = 0

    def put(self, records: Iterable[Record]) -> Iterator[list[Put]]:
        """Put all records; yield what each call put. Raises PutFailed when the stream takes nothing for too long."""
        source = iter(records)
        fruitless = 0
        while True:
            self._fill(source)
            if not self._pending:
                return
            taken, refusal = self._call(self._next_call())
            if taken:
                fruitless = 0
                yield taken
            if refusal:
                fruitless += 0 if taken else 1
                if fruitless >= FRUITLESS_CALLS_MAX:
                    raise PutFailed(f"stream {self.stream_name} took nothing for {fruitless} calls in a row: {refusal}")
                self._wait(fruitless)

    def _fill(self, source: Iterator[Record]) -> None:
        while self._pending < WINDOW_RECORDS and (record := next(source, None)) is not None:
            self._queues.setdefault(record.key, deque()).append(record)
            self._pending += 1

    def _next_call(self) -> list[Record]:
        """The first record of as many keys as a call may carry, those that wait longest first."""
        chosen: list[Record] = []
        size = 0
        for queue in self._queues.values():
            size += queue[0].size
            if len(chosen) == CALL_RECORDS_MAX or (chosen and size > CALL_BYTES_MAX):
                break
            chosen.append(queue[0])
        return chosen

    def _call(self, records: list[Record]) -> tuple[list[Put], str]:
        """Make one call; return what was taken, and a refusal if something wasn't."""
        at_ms = int(self.clock() * 1000)
        answer = self.client.put_records(
            StreamName=self.stream_name,
            Records=[{"Data": record.data, "PartitionKey": record.key} for record in records],
        )
        taken: list[Put] = []
        refusal = ""
        for record, said in zip(records, answer["Records"], strict=True):
            if said.get("ErrorCode"):
                refusal = f"{said['ErrorCode']}: {said.get('ErrorMessage', '')}"
            else:
                taken.append(Put(record, said["SequenceNumber"], said["ShardId"], at_ms))
        for put in taken:
            self._settle(put)
        return taken, refusal

    def _settle(self, put: Put) -> None:
        key, sequence = put.record.key, int(put.sequence_number)
        if sequence <= self._last.get(key, -1):
            raise PutFailed(
                f"stream {self.stream_name} gave the record of line {put.record.line} (key {key!r}) a lower sequence"
                " number than the one before it: their order is lost"
            )
        self._last[key] = sequence
        queue = self._queues.pop(key)
        queue.popleft()
        self._pending -= 1
        if queue:
            self._queues[key] = queue  # behind all others

    def _wait(self, fruitless: int) -> None:
        longest_s = min(_WAIT_MAX_S, _WAIT_FIRST_S * 2**fruitless)
        self.sleep(random.uniform(longest_s / 2, longest_s))  # noqa: S311  spreads load, no secret
