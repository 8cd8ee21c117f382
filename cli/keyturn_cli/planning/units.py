"""What an event takes of AWS, in billed units: the one table that every figure of a plan rests on.

Derived from the protocol (docs/design.md), for runs that succeed at the first attempt and never wait for a slot, which
takes two write units more; tests/shell/test_units.py counts the same, call by call. For a cold key, three steps, and an
event's item of up to 1,024 bytes:

    write units   an event: event 1, identity 1
                  a run:    claim 1, index in 1, bind 1, a step 1 each, finish 1, index out 1     8, so 10 strictly
    read units    an event: identity 1
                  a run:    key state 1, slice 1, a step 1 each                                   5, so 6 strictly
    invocations   a run:    a step 1 each, sequencer 1                                            4
    transitions   a run:    fan-out 1, a step 1 each, sequencer 1: 5 on Standard, 1 nested, no billed ones on Express
    a dispatcher's batch:   1 invocation, and its slots: 1 write unit, 1.5 read units

The sequencer reads nothing: whoever bound the attempt handed it the key state. A write that is refused is
billed all the same: a worker's that binds although another did just now, or a sequencer's whose key has moved on. How
many are is a matter of milliseconds, so it is the one figure here that is taken for granted and not derived.

A run of a *busy* key is claimed by the finish of the one before it: no claim, and no index writes, since the key stays
running. Instead its events are admitted to a running key, one write for all that a dispatcher's batch has of the key,
and the sequencer reads the slice. On Express it goes on in the same execution (docs/design.md, "Draining"), to which it
is bound when it is claimed: so it needs no start and no bind but for each slot's quantum. A batch of N shares a run's
units among N events; a step's results for all of them are one item, which grows by a row an event.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import ceil
from typing import Final

from keyturn.limits import EVENT_INLINE_BYTES_MAX
from keyturn_cli.planning.workload import Kind

WRITE_UNIT_BYTES: Final = 1_024
_READ_UNIT_BYTES: Final = 4_096

EVENT_ITEM_BYTES: Final = 220
"""An event's item without its content: its keys with the position, type, flow id, times; of a key of ten characters."""
KEY_STATE_BYTES: Final = 760
IDLE_STATE_BYTES: Final = 220
"""Of a key that doesn't run: it stays."""
RESULT_ITEM_BYTES: Final = 190
"""A step's item without results."""
RESULT_ROW_BYTES: Final = 50
"""A small result of one event in it."""
SLOT_QUANTUM_RUNS: Final = 20
"""The template's: a busy key yields its slot after so many runs, if others wait; an execution lasts for more."""
STORAGE_OVERHEAD_BYTES: Final = 100
"""Of each item, as its storage is billed. DynamoDB Developer Guide, "Item sizes and formats"."""
IDENTITY_ITEM_BYTES: Final = 180
REFERENCE_BYTES: Final = 200
"""Stands for an event's content that lies in S3."""

_LOG_BYTES_A_RUN: Final = 690
"""Of the sequencer: one line, and one with metrics. A worker that succeeds writes none, nor does Lambda below WARN."""
_LOG_BYTES_A_DISPATCHER: Final = 310
"""Metrics."""

BINDS_LOST: Final = 0.05
"""Taken for granted: they wait for the one that binds, 15 ms at first, where a read and a write take about ten."""
_DISPATCHER_WRITES: Final = 1
_DISPATCHER_READS: Final = 1.5
"""Once an invocation: slots taken; slots and controls read."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How events go through, on average."""

    kind: Kind
    steps: int
    payload_bytes: int
    batch: float = 1
    """Events of a run."""
    busy: float = 0
    """Share of the runs that follow their key's run before at once."""
    admitted_together: float = 1
    """Events of one key in a dispatcher's batch."""
    records: float = 20
    """Records of a dispatcher's batch."""
    binds_lost: float = BINDS_LOST
    """Share of a run's other workers whose bind is refused."""


@dataclass(frozen=True, slots=True)
class Units:
    """Billed units of one event."""

    write_units: float
    """DynamoDB's, with the index's."""
    index_write_units: float
    read_units: float
    worker_invocations: float
    sequencer_invocations: float
    dispatcher_invocations: float
    transitions: float
    standard_starts: float
    express_starts: float
    log_bytes: float
    s3_puts: float
    s3_gets: float

    @property
    def invocations(self) -> float:
        """Lambda requests."""
        return self.worker_invocations + self.sequencer_invocations + self.dispatcher_invocations

    def times(self, factor: float) -> Units:
        """So many events' units."""
        return replace(self, **{field.name: getattr(self, field.name) * factor for field in fields(self)})

    def plus(self, other: Units) -> Units:
        """Both together."""
        return replace(self, **{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})


def units_of(shape: Shape) -> Units:
    """Count the units of one event; the module's text says whence."""
    runs = 1 / shape.batch
    cold_runs = runs * (1 - shape.busy)
    started = _started_runs(shape.kind, cold_runs, runs - cold_runs)
    # A cold run's claim admits its events too; a busy key's events are admitted by writes of their own.
    admissions = cold_runs + shape.busy / max(1.0, shape.admitted_together)
    dispatches = 1 / shape.records
    index_writes = 2 * cold_runs
    in_s3 = 1.0 if shape.payload_bytes > EVENT_INLINE_BYTES_MAX else 0.0
    return Units(
        write_units=(
            ceil(event_item_bytes(shape.payload_bytes) / WRITE_UNIT_BYTES)
            + 1  # identity
            + admissions
            + index_writes
            + started * (1 + (shape.steps - 1) * shape.binds_lost)  # bind
            + runs * shape.steps * _results_units(shape.batch)
            + runs  # finish
            + dispatches * _DISPATCHER_WRITES
        ),
        index_write_units=index_writes,
        read_units=(
            1  # identity
            + admissions  # key state
            + runs * _slice_units(shape)
            + runs * shape.steps * _rounded_up(KEY_STATE_BYTES / _READ_UNIT_BYTES)
            + dispatches * _DISPATCHER_READS
        ),
        worker_invocations=runs * shape.steps,
        sequencer_invocations=runs,
        dispatcher_invocations=dispatches,
        transitions=runs * transitions_of(shape.kind, shape.steps),
        standard_starts=0 if shape.kind is Kind.EXPRESS else runs,
        express_starts=0 if shape.kind is Kind.STANDARD else started,
        log_bytes=(runs * _LOG_BYTES_A_RUN + dispatches * _LOG_BYTES_A_DISPATCHER),
        s3_puts=in_s3,
        s3_gets=in_s3 * shape.steps,
    )


def transitions_of(kind: Kind, steps: int) -> int:
    """State transitions of one run that Standard workflows are billed for: the fan-out, its steps, the sequencer.

    The nested kind's parent enters one state, its child; another one only when that fails.
    """
    match kind:
        case Kind.STANDARD:
            return steps + 2
        case Kind.NESTED:
            return 1
        case Kind.EXPRESS:
            return 0


def _started_runs(kind: Kind, cold_runs: float, busy_runs: float) -> float:
    """Runs that have an execution of their own, and are bound by its first worker."""
    return cold_runs + (busy_runs / SLOT_QUANTUM_RUNS if kind is Kind.EXPRESS else busy_runs)


def event_item_bytes(payload_bytes: int) -> int:
    """Bytes of an event's item in the log."""
    content = payload_bytes if payload_bytes <= EVENT_INLINE_BYTES_MAX else REFERENCE_BYTES
    return EVENT_ITEM_BYTES + content


def kept_bytes(payload_bytes: int, steps: int) -> int:
    """Bytes that stay in the table for one event, as billed: it and its step results, of which a batch's take less."""
    items = event_item_bytes(payload_bytes) + steps * (RESULT_ITEM_BYTES + RESULT_ROW_BYTES)
    return items + (1 + steps) * STORAGE_OVERHEAD_BYTES


def _results_units(batch: float) -> float:
    """Write units of one step's results of a run; half a unit more, on average, for rounding up."""
    return _rounded_up((RESULT_ITEM_BYTES + batch * RESULT_ROW_BYTES) / WRITE_UNIT_BYTES)


def _slice_units(shape: Shape) -> float:
    return _rounded_up(shape.batch * event_item_bytes(shape.payload_bytes) / _READ_UNIT_BYTES)


def _rounded_up(units: float) -> float:
    """Units on average: a call takes one at least, and is rounded up by half a unit if it may take more."""
    return max(1.0, units + 0.5)
