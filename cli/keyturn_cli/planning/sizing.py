"""How much of everything a load takes: shards, lanes, concurrency, slots, index buckets, units a second."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import Final

from keyturn.adapters.capacity import nobody_waits_ms
from keyturn_cli.planning.flow import UTILISATION_MAX, ClassFlow, RunTimes
from keyturn_cli.planning.latencies import Latencies, on_processor
from keyturn_cli.planning.simulation import Intake
from keyturn_cli.planning.units import Shape, Units, units_of
from keyturn_cli.planning.workload import Settings, Workload

SHARD_BYTES: Final = 1_000_000
SHARD_RECORDS: Final = 1_000
"""A second, in. Kinesis Developer Guide, "Quotas and limits"."""
PARTITION_WRITE_UNITS: Final = 1_000
PARTITION_READ_UNITS: Final = 3_000
"""A second, of one DynamoDB partition: of one key, and of one index bucket."""
FACTOR_MAX: Final = 10
"""ParallelizationFactor."""
BUCKETS_LEAST: Final = 8
BUCKETS_MAX: Final = 256
SLOTS_MAX: Final = 100_000
"""The template's bounds of IndexBuckets and MaxInFlightRuns."""
SPARE_CONCURRENCY: Final = 5
"""Left to watchdog, sweeper and the rest."""

BATCH_RECORDS: Final = 10_000
"""BatchSize of the template's mapping."""
POLL_MS: Final = 1_000
"""Lambda reads a shard once a second at least. Lambda Developer Guide, "Using AWS Lambda with Amazon Kinesis"."""
_HANDS: Final = 8
"""Keys that a dispatcher works on side by side."""
_ITEMS_A_CALL: Final = 25
"""Of BatchWriteItem; an event is two of them."""
DISPATCHER_MB: Final = 1_024
"""The template's."""
_DEVIATIONS: Final = 3
_SPREAD_SHARDS_MAX: Final = 100_000
_COLD_RUN_UNITS: Final = 3
_ENDLESS: Final = 1e9
"""A batch so large that nothing is left of what is shared among its events."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """What a load takes, at its asked rate and at every lower one."""

    shards_by_bytes: int
    shards_by_records: int
    shards_by_dispatch: int
    """As many as it takes for ten dispatchers each to keep up."""
    shards_by_spread: int
    """As many as it takes for the fullest shard to hold the keys that it gets: they are dealt out by their hash."""
    parallelization_factor: int
    records_a_batch: float
    dispatcher_ms: float
    """Of one batch."""
    window_ms: float
    """How long a batch's first record waits for others."""
    worker_concurrency: int
    sequencer_concurrency: int
    dispatcher_concurrency: int
    max_in_flight_runs: int
    in_flight: float
    runs_max: float
    """A second, at the load up to the asked one at which they are most."""
    write_units_max: float
    read_units_max: float
    index_write_units_max: float
    index_buckets: int
    slot_reads: float
    slot_writes: float
    control_reads: float
    """A second, of what all functions share: the item of the slots, and the partition of the controls."""
    key_rate_by_partition: float
    """Events a second of one hot key that its partition's units allow."""
    key_rate_by_shard: float
    """Events a second of one hot key that its shard takes."""

    @property
    def shards(self) -> int:
        """Shards of a provisioned stream."""
        return max(self.shards_by_bytes, self.shards_by_records, self.shards_by_dispatch, self.shards_by_spread)

    @property
    def lambda_concurrency(self) -> int:
        """Invocations at once, of all functions."""
        return self.worker_concurrency + self.sequencer_concurrency + self.dispatcher_concurrency + SPARE_CONCURRENCY

    @property
    def intake(self) -> Intake:
        """What a record goes through before its key is looked at."""
        return Intake(self.window_ms, self.dispatcher_ms)


def sizing_of(
    workload: Workload,
    settings: Settings,
    times: RunTimes,
    flows: Sequence[ClassFlow],
    latencies: Latencies,
    spread: Sequence[ClassFlow],
) -> Sizing:
    """Work out what a load takes; more never takes less of anything. The keys of `spread` are dealt out to shards."""
    record_ms = _record_ms(latencies)
    by_bytes = _of_limit(workload.rate * workload.payload_bytes, SHARD_BYTES)
    by_records = _of_limit(workload.rate, SHARD_RECORDS)
    lanes = _of_limit(workload.rate * record_ms, 1_000)
    by_dispatch = -(-lanes // FACTOR_MAX)
    by_spread = _shards_by_spread(workload, spread)
    shards = max(by_bytes, by_records, by_dispatch, by_spread)
    factor = -(-lanes // shards)
    dispatchers = max(lanes, shards)  # at work at once; what the factor adds by being whole is idle
    records = min(float(BATCH_RECORDS), max(1.0, workload.rate / (shards * factor) * _gathering_ms(settings) / 1_000))
    in_flight = sum(flow.in_flight for flow in flows)
    runs = sum(flow.runs_max for flow in flows)
    slots = _of_limit(in_flight, 1)
    worst = _units_at_most(workload, settings, flows, records)
    buckets = _of_limit(worst.index_write_units, PARTITION_WRITE_UNITS)
    sequencers = _of_limit(runs * times.sequencer_ms, 1_000)
    batches = workload.rate / records
    return Sizing(
        shards_by_bytes=by_bytes,
        shards_by_records=by_records,
        shards_by_dispatch=by_dispatch,
        shards_by_spread=by_spread,
        parallelization_factor=factor,
        records_a_batch=records,
        dispatcher_ms=records * record_ms,
        window_ms=settings.window_s * 1_000,
        worker_concurrency=slots * workload.steps,
        sequencer_concurrency=sequencers,
        dispatcher_concurrency=dispatchers,
        max_in_flight_runs=slots,
        in_flight=in_flight,
        runs_max=runs,
        write_units_max=worst.write_units,
        read_units_max=worst.read_units,
        index_write_units_max=worst.index_write_units,
        index_buckets=max(BUCKETS_LEAST, buckets),
        slot_reads=min(runs, sequencers * 1_000 / nobody_waits_ms(in_flight)) + batches,
        slot_writes=batches,
        control_reads=min(float(sequencers + dispatchers), runs + batches),
        key_rate_by_partition=_key_rate_by_partition(workload, settings, records),
        key_rate_by_shard=UTILISATION_MAX * min(SHARD_RECORDS, SHARD_BYTES / workload.payload_bytes),
    )


def shape_of(workload: Workload, settings: Settings, flow: ClassFlow, records: float) -> Shape:
    """How a class's events go through, on average."""
    return Shape(
        kind=settings.kind,
        steps=workload.steps,
        payload_bytes=workload.payload_bytes,
        batch=flow.batch,
        busy=flow.busy,
        admitted_together=max(1.0, flow.keys.key_rate * _gathering_ms(settings) / 1_000),
        records=records,
    )


def _gathering_ms(settings: Settings) -> float:
    """How long a batch's records come together: its window, or else as long as Lambda rests between two reads."""
    return max(settings.window_s * 1_000, POLL_MS)


def _of_limit(needed: float, limit: float) -> int:
    """How many of something whose limit is used up to a share; at least one."""
    return max(1, ceil(needed / (limit * UTILISATION_MAX)))


def _shards_by_spread(workload: Workload, flows: Sequence[ClassFlow]) -> int:
    """The fewest shards of which the fullest still takes its keys' events, or no more than a key of each class."""
    share = max(1 / SHARD_RECORDS, workload.payload_bytes / SHARD_BYTES)
    most = max(1.0, share * sum(flow.keys.key_rate for flow in flows))
    counts = range(1, _SPREAD_SHARDS_MAX)
    return bisect_left(counts, True, key=lambda shards: _fullest(flows, shards) * share <= most) + 1


def _fullest(flows: Sequence[ClassFlow], shards: int) -> float:
    """Events a second of a shard that gets more keys of each class than nearly all others: three deviations."""
    return sum(flow.keys.key_rate * _keys_of_fullest(flow.keys.keys, shards) for flow in flows)


def _keys_of_fullest(keys: int, shards: int) -> float:
    return max(1.0, min(float(keys), keys / shards + _DEVIATIONS * sqrt(keys / shards)))


def _record_ms(latencies: Latencies) -> float:
    """A dispatcher's time for one record, of a key that is idle: half of its log's call, and its key's claim and start.

    Its calls for keys go on side by side.
    """
    log_ms = latencies.dynamodb_write.mean * 2 / _ITEMS_A_CALL
    reads_ms = latencies.dynamodb_read.mean
    key_ms = (reads_ms + latencies.dynamodb_write.mean + latencies.start_execution.mean) / _HANDS
    return log_ms + key_ms + on_processor(latencies.dispatcher_record_cpu, DISPATCHER_MB)


def _units_at_most(workload: Workload, settings: Settings, flows: Sequence[ClassFlow], records: float) -> Units:
    """Units a second, at most, at any load up to the asked one: at a lower one keys are cold, and runs are smaller.

    Cold keys' claims and index entries (3 units a run) end where busy keys' admissions (one for each batch) begin.
    """
    shared = Shape(settings.kind, workload.steps, workload.payload_bytes, batch=_ENDLESS, records=records)
    event, alone = units_of(shared), units_of(replace(shared, batch=1))
    runs = sum(flow.runs_max for flow in flows)
    batches = 1_000 / _gathering_ms(settings)
    admissions = sum(
        max(0.0, flow.keys.keys * min(flow.keys.key_rate, batches) - _COLD_RUN_UNITS * flow.runs_max) for flow in flows
    )
    sure = event.times(workload.rate).plus(alone.times(runs)).plus(event.times(-runs))
    return replace(sure, write_units=sure.write_units + admissions, read_units=sure.read_units + admissions)


def _key_rate_by_partition(workload: Workload, settings: Settings, records: float) -> float:
    """Events a second of one key whose runs follow each other, full."""
    batch = workload.batch_max(settings.batch)
    shape = Shape(settings.kind, workload.steps, workload.payload_bytes, batch, 1.0, records=records)
    units = units_of(shape)
    return UTILISATION_MAX * min(PARTITION_WRITE_UNITS / units.write_units, PARTITION_READ_UNITS / units.read_units)
