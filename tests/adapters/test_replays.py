"""What replays read and write: the plan, the stream again, step results of several generations, a whole table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import boto3
import pytest

from keyturn.adapters.keys import partition
from keyturn.adapters.log import EventLog, place_of
from keyturn.adapters.past_steps import PastSteps
from keyturn.adapters.process import Process
from keyturn.adapters.replays import ReplayStore
from keyturn.adapters.steps import StepStore
from keyturn.adapters.stream_reader import Mark, StreamReader
from keyturn.adapters.table import Table
from keyturn.core.log_entry import LogEntry
from keyturn.core.positions import position
from keyturn.core.replay_job import Act, JobState, ReplayJob, Source
from keyturn.core.replay_plan import Fate, Outcome, PlannedKey, Selection, Tally
from keyturn.core.state import Span
from keyturn.errors import JobChanged
from tests.adapters.results import results

ONE, TWO, THREE = (position(1, str(number)) for number in (1, 2, 3))
JOB = ReplayJob(
    "r",
    JobState.APPLYING,
    Source.STREAM,
    Selection(from_ms=5, type="shop.*", outcome=Outcome.RETRIED, to_position=TWO),
    Act("sam", "why", 1_000),
    applied=Act("kim", "go", 2_000),
    cursor="x",
    tally=Tally(keys=2, events=3),
    counts={Fate.DONE: 1},
    passing={Fate.APPLIED: 2},
    busy_until_ms=9,
)
PLANNED = PlannedKey(
    "k", Fate.PLANNED, ONE, THREE, (Span(ONE, TWO),), 2, 1, 7, THREE, 4, 5, ("a", "b"), "f", Tally(events=2), "held"
)


def test_a_job_comes_back_as_it_was_written(table: Table) -> None:
    store = ReplayStore(table)
    created = store.create(JOB)
    assert store.load("r") == created == replace(JOB, revision=1)
    assert store.listed() == [created]
    assert store.load("other") is None


def test_of_two_who_change_a_job_one_is_told(table: Table) -> None:
    store = ReplayStore(table)
    created = store.create(JOB)
    store.save(created)
    with pytest.raises(JobChanged, match="replay r was changed"):
        store.save(replace(created, rate=1))


def test_keys_come_back_in_the_plans_order_page_by_page(table: Table) -> None:
    store = ReplayStore(table)
    keys = [PLANNED, *(PlannedKey(f"k{number}") for number in range(4))]
    store.write_keys(JOB, keys)
    first = store.keys("r", "", 3)
    rest = store.keys("r", first[-1][0])
    assert sorted((one for _, one in first + rest), key=lambda one: one.key) == sorted(keys, key=lambda one: one.key)
    assert store.named("r", ["k", "nobody"]) == {"k": PLANNED}


def test_spans_beyond_the_first_rewind_stand_apart(table: Table) -> None:
    store = ReplayStore(table)
    store.write_spans(JOB, "k", [PLANNED.spans, (Span(THREE, THREE),)])
    assert store.spans("r", PLANNED, 0) == PLANNED.spans
    assert store.spans("r", PLANNED, 1) == (Span(THREE, THREE),)


def test_steps_of_all_generations_count_and_none_makes_a_run_look_long(table: Table) -> None:
    steps = StepStore(table, 100)
    for generation, place, step, began_ms in (
        (0, ONE, "a", 1_000),
        (0, ONE, "b", 1_200),
        (1, ONE, "a", 900_000),
        (0, THREE, "a", 1),
    ):
        made = results([place], step, generation=generation, began_ms=began_ms, ended_ms=began_ms + 100)
        steps.store("k", made)
    found = PastSteps(table).stored("k", ONE, TWO)
    assert {place: (one.steps, one.took_ms) for place, one in found.items()} == {ONE: (frozenset({"a", "b"}), 300)}


def test_results_that_stand_behind_the_last_event_count(table: Table) -> None:
    """A run that took more events than are asked for stored them where its last one is."""
    StepStore(table, 100).store("k", results([ONE, TWO, THREE], "a"))
    found = PastSteps(table).stored("k", ONE, TWO)
    assert {place: one.steps for place, one in found.items()} == dict.fromkeys((ONE, TWO), frozenset({"a"}))
    assert PastSteps(table).reach("k", ONE) == THREE


def test_a_scan_finds_the_events_that_may_be_selected(table: Table) -> None:
    log = EventLog(table, 100)
    entries = [LogEntry(place, name, "f", at, b"{}") for place, name, at in ((ONE, "x.1", 1), (TWO, "y", 2))]
    log.write((("k", entry) for entry in entries), 0)
    table.put_many([{"pk": partition("k"), "sk": "id#1"}])
    everything = log.scan(Selection(route="r"), "")
    assert (everything.scanned, everything.after) == (3, "")
    assert [place_of(item) for item in everything.items] == [("k", ONE), ("k", TWO)]
    assert [place_of(item) for item in log.scan(Selection(type="x.*"), "").items] == [("k", ONE)]
    assert [place_of(item) for item in log.scan(Selection(from_ms=2, to_ms=2, flow_id="f"), "").items] == [("k", TWO)]


@pytest.mark.usefixtures("aws")
def test_the_stream_is_read_again_from_a_time_and_from_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """All shards, one after the other; what came before the time is left out."""
    since_ms = 1_767_600_000_000
    since = datetime.fromtimestamp(since_ms / 1_000, UTC).replace(tzinfo=None)  # as the emulator's clock has it
    monkeypatch.setattr("moto.kinesis.models.utcnow", lambda: since - timedelta(seconds=1))
    client: Any = boto3.client("kinesis")
    client.create_stream(StreamName="s", ShardCount=2)
    reader = StreamReader(lambda _service: client, "s")
    client.put_record(StreamName="s", PartitionKey="early", Data=b"early")
    monkeypatch.setattr("moto.kinesis.models.utcnow", lambda: since)
    for number in range(6):
        client.put_record(StreamName="s", PartitionKey=f"k{number}", Data=b"late")
    until_ms = since_ms + 60_000
    pieces = list(reader.read(since_ms, until_ms, Mark()))
    keys = [one["kinesis"]["partitionKey"] for records, _ in pieces for one in records]
    assert sorted(keys) == [f"k{number}" for number in range(6)]
    (last, mark) = pieces[-1]
    assert list(reader.read(since_ms, until_ms, Mark.parse(str(mark)))) == []
    before = last[0]["kinesis"]["sequenceNumber"]
    again = list(reader.read(since_ms, until_ms, Mark(mark.shard, before)))
    assert [one for records, _ in again for one in records] == list(last[1:])


class IdleShard:
    """Kinesis with one shard of which each call reads a minute, whether anything came in it or not, as AWS does."""

    MINUTE_MS = 60_000

    def __init__(self, now_ms: int, arrived_ms: list[int]) -> None:
        """Have a record for each arrival."""
        self.now_ms = now_ms
        self.arrived_ms = arrived_ms
        self.calls = 0

    def list_shards(self, **_call: Any) -> Any:
        return {"Shards": [{"ShardId": "shardId-000000000000"}]}

    def get_shard_iterator(self, **call: Any) -> Any:
        if call["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER":
            return {"ShardIterator": str(int(call["StartingSequenceNumber"]) + 1)}
        return {"ShardIterator": str(round(call["Timestamp"].timestamp() * 1_000))}

    def get_records(self, **call: Any) -> Any:
        self.calls += 1
        begin = int(call["ShardIterator"])
        end = begin + self.MINUTE_MS
        records = [
            {
                "SequenceNumber": str(at_ms),
                "PartitionKey": f"k{at_ms}",
                "Data": b"{}",
                "ApproximateArrivalTimestamp": datetime.fromtimestamp(at_ms / 1_000, UTC),
            }
            for at_ms in self.arrived_ms
            if begin <= at_ms < end
        ]
        return {
            "Records": records,
            "NextShardIterator": str(end),
            "MillisBehindLatest": max(0, self.now_ms - end),
        }


def read_in_pieces(shard: IdleShard, from_ms: int, until_ms: int, calls: int) -> list[str]:
    """Read a stream as the replayer does: so many calls, then again from the mark that was written down."""
    reader = StreamReader(lambda _service: shard, "s", Process(clock=lambda: shard.now_ms, sleep=lambda _s: None))
    found, mark = list[str](), str(Mark())
    for _ in range(1_000):
        pieces = list(islice(reader.read(from_ms, until_ms, Mark.parse(mark)), calls))
        found += [one["kinesis"]["partitionKey"] for records, _ in pieces for one in records]
        if len(pieces) < calls:
            return found
        mark = str(pieces[-1][1])
    raise AssertionError("it never came to the shard's end")


def test_records_behind_a_long_idle_time_are_found() -> None:
    """A quiet night takes hundreds of calls that find nothing: who stopped there would leave the morning out."""
    now_ms = 1_767_600_000_000
    evening, morning = now_ms - 700 * 60_000, now_ms - 10 * 60_000
    shard = IdleShard(now_ms, [evening, morning])
    assert set(read_in_pieces(shard, evening, now_ms, calls=10)) == {f"k{evening}", f"k{morning}"}


def test_an_idle_shard_is_read_no_further_than_is_asked() -> None:
    """What arrived until an hour ago is found by then, whatever the stream has since."""
    now_ms = 1_767_600_000_000
    shard = IdleShard(now_ms, [now_ms - 60_000])
    assert read_in_pieces(shard, now_ms - 120 * 60_000, now_ms - 60 * 60_000, calls=10) == []
    assert shard.calls < 70


def test_a_shard_that_never_says_that_it_is_at_its_end_is_left() -> None:
    """An emulator's may: a replay is planned all the same."""
    shard = IdleShard(1_767_600_000_000, [])
    shard.get_records = lambda **_call: {"Records": [], "NextShardIterator": "1", "MillisBehindLatest": 7}  # type: ignore[method-assign]
    assert read_in_pieces(shard, 1, 2_000_000_000_000, calls=10) == []


@pytest.mark.usefixtures("aws")
def test_a_stream_has_no_records_of_before_it_was_there() -> None:
    """Nor of longer ago than it keeps them. Of a stack's first stream nothing came before it."""
    client: Any = boto3.client("kinesis")
    client.create_stream(StreamName="s", ShardCount=1)
    summary = client.describe_stream_summary(StreamName="s")["StreamDescriptionSummary"]
    created_ms = round(summary["StreamCreationTimestamp"].timestamp() * 1_000)
    for age_h, is_first, since_h in ((1, False, 0), (30, False, 6), (1, True, -23)):
        now_ms = created_ms + age_h * 3_600_000
        reader = StreamReader(lambda _service: client, "s", Process(clock=lambda now_ms=now_ms: now_ms))  # type: ignore[misc]
        assert reader.keeps_since_ms(is_first=is_first) == created_ms + since_h * 3_600_000
