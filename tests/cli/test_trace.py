"""`keyturn trace` finds the event that is meant, on moto's tables and logs, or says what else could be said of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.config import Config
from keyturn_cli.errors import CliError, NotFound
from keyturn_cli.tracing.find import Finder, Wanted
from keyturn_cli.tracing.items import Items
from keyturn_cli.tracing.logs import Logs, read_line
from keyturn_cli.tracing.reading_times import from_rfc3339, span_ms
from keyturn_cli.tracing.scan import TableSize
from keyturn_cli.tracing.story import Story, Wait
from moto import mock_aws

from keyturn.adapters.controls import Controls, RouteOperation
from keyturn.adapters.duplicates import DuplicateIndex, Identified
from keyturn.adapters.keys import KeyStore
from keyturn.adapters.log import EventLog
from keyturn.adapters.outcomes import OutcomeStore
from keyturn.adapters.payloads import PayloadStore
from keyturn.adapters.quarantine import Quarantine
from keyturn.adapters.steps import StepStore
from keyturn.adapters.table import Table
from keyturn.core.actions import RecordAttempt
from keyturn.core.event import Reason, Rejection, flow_id_of, identity_hash
from keyturn.core.log_entry import LogEntry, PayloadReference
from keyturn.core.naming import key_hash
from keyturn.core.route_hold import RouteHold
from keyturn.core.state import KeyState, WaitsFor
from tests.adapters.aws import UNHURRIED, create_state_table
from tests.adapters.results import results
from tests.core import states as make
from tests.core.states import at

NOW_MS = time.time_ns() // 1_000_000
ARRIVED_MS = NOW_MS - 60_000
DAY_S = 86_400


def attributes(number: int, **more: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": f"order/{number}", "source": "/shop", "type": "t", "data": {"secret": 1}} | more


class World:
    """A state table, a payload bucket and log groups, written as the platform writes them."""

    def __init__(self, clients: Mapping[str, Any]) -> None:
        self.table = Table(clients["dynamodb"], create_state_table(clients["dynamodb"]), UNHURRIED)
        self.logs = clients["logs"]
        self.payloads = PayloadStore(clients.__getitem__, "payloads")
        self.stack_name = self.table.name
        self.count = 0
        for name in ("dispatcher", "sequencer"):
            self.logs.create_log_group(logGroupName=f"/aws/lambda/{self.stack_name}-{name}")
            self.logs.put_retention_policy(logGroupName=f"/aws/lambda/{self.stack_name}-{name}", retentionInDays=30)
            self.logs.create_log_stream(logGroupName=f"/aws/lambda/{self.stack_name}-{name}", logStreamName="s")

    def put(self, number: int, key: str = "k", *, is_large: bool = False, trace: str = "", **more: Any) -> str:
        """Write an event to its key's log; return its flow id."""
        event = attributes(number, **more) | ({"traceparent": f"00-{trace}-{'b' * 16}-01"} if trace else {})
        content: bytes | PayloadReference = json.dumps(event).encode()
        if is_large and isinstance(content, bytes):
            content = self.payloads.put(key, at(number), content)
        flow_id = flow_id_of(event)
        entry = LogEntry(at(number), event["type"], flow_id, ARRIVED_MS, content)
        EventLog(self.table, DAY_S).write([(key, entry)], ARRIVED_MS + 500)
        identified = Identified(key, identity_hash(event["source"], event["id"]), at(number))
        DuplicateIndex(self.table, DAY_S).remember([identified], ARRIVED_MS + 500)
        return flow_id

    def state(self, state: KeyState) -> None:
        KeyStore(self.table, 8, 60_000).save(replace(state, version=0))

    def log(self, message: str, name: str = "dispatcher", **fields: Any) -> None:
        """Log a line as a function does."""
        self.count += 1
        content = {"level": "INFO", "message": message, "service": name, "function_request_id": "x", **fields}
        self.logs.put_log_events(
            logGroupName=f"/aws/lambda/{self.stack_name}-{name}",
            logStreamName="s",
            logEvents=[{"timestamp": ARRIVED_MS + 1_000 + self.count, "message": json.dumps(content)}],
        )

    def story(self, event: str, key: str = "", source: str = "", *, scans: bool = False) -> Story:
        items = Items(self.table, self.payloads)
        finder = Finder(items, Logs(self.logs, self.stack_name), NOW_MS, NOW_MS - DAY_S * 1000)
        return finder.story(Wanted(event, key, source), self._everything if scans else None)

    def _everything(self) -> Iterator[Any]:
        for key in ("k", "k2"):
            yield from Items(self.table, self.payloads).log(key)


@pytest.fixture(scope="module")
def clients() -> Iterator[Mapping[str, Any]]:
    """Clients of moto's services: making them takes longer than these tests do."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.delenv("AWS_PROFILE", raising=False)
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        with mock_aws():
            made: dict[str, Any] = {"dynamodb": boto3.client("dynamodb"), "logs": boto3.client("logs")}
            made["s3"] = boto3.client("s3")
            made["s3"].create_bucket(Bucket="payloads")
            yield made


@pytest.fixture
def world(clients: Mapping[str, Any]) -> World:
    """A stack of its own."""
    return World(clients)


FINDS: list[Callable[[World, str], Story]] = [
    lambda world, _flow_id: world.story("order/1", "k"),
    lambda world, _flow_id: world.story("order/1", "k", "/shop"),
    lambda world, flow_id: world.story(flow_id, "k"),
    lambda world, flow_id: world.story(flow_id),
    lambda world, _flow_id: world.story("order/1", source="/shop"),
    lambda world, _flow_id: world.story("order/1", scans=True),
]


@pytest.mark.parametrize("find", FINDS, ids=["id", "identity", "flow in key", "flow in logs", "source", "scan"])
def test_an_event_is_found_by_whatever_is_known_of_it(world: World, find: Callable[[World, str], Story]) -> None:
    flow_id = world.put(1)
    world.put(2)
    world.log("run started", flow_id=flow_id, key="k", position=at(1), attempt=1, fence=1)
    told = find(world, flow_id)
    assert (told.subject.id, told.subject.key, told.subject.position) == ("order/1", "k", at(1))
    assert [line.message for line in told.lines] == ["run started"]


def test_an_event_in_the_payload_bucket_is_found_by_its_id(world: World) -> None:
    world.put(1, is_large=True, time="2026-01-05T07:00:00Z")
    told = world.story("order/1", "k")
    assert told.moments[0].text == "produced, by the event's own time"


def test_a_scan_fetches_no_payloads(world: World) -> None:
    """It would be a request for each large event of the table: those are found by their source, or with their key."""
    world.put(1, is_large=True)
    with pytest.raises(NotFound, match="found by --source only"):
        world.story("order/1", scans=True)
    assert world.story("order/1", source="/shop", scans=True).subject.id == "order/1"


def test_nothing_of_the_data_is_in_a_story(world: World) -> None:
    world.put(1)
    assert "secret" not in str(world.story("order/1", "k"))


def test_a_keys_own_trace_is_not_mixed_with_other_events_of_it(world: World) -> None:
    """A trace may hold many events: lines go by key and position."""
    world.put(1, trace="a" * 32)
    world.put(2, trace="a" * 32)
    for number in (1, 2):
        world.log("run started", flow_id="a" * 32, key="k", position=at(number), attempt=1, fence=number)
    assert [line.get("position") for line in world.story("order/2", "k").lines] == [at(2)]
    with pytest.raises(NotFound, match="isn't one event but 2"):
        world.story("a" * 32)


@pytest.mark.parametrize("cut", [(((1, 2), 1), ((3,), 2)), (((1,), 1), ((2,), 1), ((3,), 2))], ids=["whole", "cut up"])
def test_lines_of_a_run_of_several_events_belong_to_each_of_them(
    world: World, cut: Sequence[tuple[Sequence[int], int]]
) -> None:
    """Though they carry the first one's flow id only."""
    flow_id = world.put(1)
    world.put(2)
    world.put(3)
    steps = StepStore(world.table, DAY_S)
    for numbers, fence in cut:
        places = [at(number) for number in numbers]
        steps.store("k", results(places, fence=fence, began_ms=NOW_MS - 9_000, ended_ms=NOW_MS - 8_000))
    world.state(replace(make.idle(), cursor=at(3), tail=at(3), admitted=3, finished=3, fence=2))
    world.log("run started", flow_id=flow_id, key="k", position=at(1), attempt=1, fence=1)
    assert [line.message for line in world.story("order/2", "k").lines] == ["run started"]
    assert world.story("order/3", "k").lines == ()


def test_the_keys_turn_came_when_the_run_before_ended(world: World) -> None:
    """Its last attempt may have ended long after its last step; a run's own events aren't before it."""
    for number in (1, 2, 3):
        world.put(number)
    steps = StepStore(world.table, DAY_S)
    steps.store("k", results([at(1)], began_ms=ARRIVED_MS + 600, ended_ms=ARRIVED_MS + 700))
    steps.store("k", results([at(2), at(3)], fence=3, began_ms=ARRIVED_MS + 9_000, ended_ms=ARRIVED_MS + 9_100))
    run = make.running().run
    assert run is not None
    outcomes = OutcomeStore(world.table, DAY_S, index_buckets=1)
    record = outcomes.attempt("k", RecordAttempt(run, 2, "succeeded", "", ARRIVED_MS + 8_000))
    world.table.put_many([record])
    world.state(replace(make.idle(), cursor=at(3), tail=at(3), admitted=3, finished=3, fence=3))
    gaps = {gap.wait: gap.length_ms for gap in world.story("order/3", "k").gaps}
    assert gaps[Wait.EARLIER] == 7_500


def test_all_that_the_stores_wrote_of_an_event_is_in_its_story(world: World) -> None:
    """Attempt records of runs that it was part of, operations, duplicates, a dead letter."""
    world.put(1)
    state = make.parked()
    assert state.run is not None
    outcomes = OutcomeStore(world.table, DAY_S, 8)
    run = replace(state.run, started_at_ms=ARRIVED_MS + 700)
    record = outcomes.attempt("k", RecordAttempt(run, 1, "failed", "no such card", ARRIVED_MS + 900))
    world.table.put_many([record])
    DuplicateIndex(world.table, DAY_S).record(Identified("k", "h", at(9)), at(1), ARRIVED_MS + 5_000)
    DuplicateIndex(world.table, DAY_S).record(Identified("k", "h", at(8)), at(7), ARRIVED_MS + 5_000)
    entry = LogEntry(at(1), "t", "f", ARRIVED_MS, b"{}")
    outcomes.record_dead_letter("k", entry, "r", "given up", ARRIVED_MS + 7_000, since_ms=0)
    world.state(replace(make.idle(), cursor=at(1), tail=at(1), admitted=1, finished=1, fence=1))
    assert [moment.what.value for moment in world.story("order/1", "k").moments] == [
        "put",
        "admitted",
        "attempt began",
        "attempt ended",
        "duplicate",
        "dead-lettered",
    ]


def test_holds_of_the_route_are_read_as_the_shell_wrote_them(world: World) -> None:
    """A hold that lasts is what the event waits for now."""
    world.put(1)
    controls = Controls(world.table, DAY_S)
    for route, at_ms in (("canary", 700), ("", 800)):
        held = RouteHold(route, is_held=True, by="ana", reason="why", at_ms=ARRIVED_MS + at_ms)
        controls.hold(held, RouteOperation("Hold", route, "ana", "why", held.at_ms))
    world.state(replace(make.waiting_for_slot(), waits_for=WaitsFor.RELEASE, held_route="t"))
    told = world.story("order/1", "k")
    assert [gap.label for gap in told.gaps] == ["queue", "waiting for a slot", "held with everything, until now"]
    assert "everything held by ana: why" in [moment.text for moment in told.moments]


def test_a_key_that_logs_show_hashed_must_be_said(world: World) -> None:
    flow_id = world.put(1)
    world.log("run started", flow_id=flow_id, key=key_hash("k"), position=at(1), attempt=1, fence=1)
    with pytest.raises(NotFound, match="say --key"):
        world.story(flow_id)
    assert len(world.story(flow_id, "k").lines) == 1


def test_a_duplicates_own_flow_id_leads_to_the_event_that_came_first(world: World) -> None:
    world.put(1)
    world.log("duplicate", flow_id="d" * 32, key="k", position=at(5), first=at(1))
    assert world.story("d" * 32).subject.position == at(1)


def test_a_record_in_quarantine_is_found_by_its_id(world: World) -> None:
    raw = json.dumps(attributes(1)).encode()
    rejection = Rejection(
        shard="shard-1", position=at(1), key="k", reason=Reason.DATA, detail="data.x", raw=raw, arrived_at_ms=ARRIVED_MS
    )
    quarantine = Quarantine(world.table, world.payloads, DAY_S, 8)
    quarantine.put(rejection, ARRIVED_MS + 300)
    world.log("quarantined", shard="shard-1", position=at(1), reason="data")
    told = world.story("order/1")
    assert (told.standing, told.subject.key, len(told.lines)) == ("In quarantine as data: data.x", "k", 1)
    with pytest.raises(NotFound):
        world.story("order/1", "another key")
    quarantine.put(replace(rejection, position=at(2), detail="data.y"), ARRIVED_MS + 900)
    again = world.story("order/1")
    assert (again.standing, again.notes[-1]) == (
        "In quarantine as data: data.y",
        "the latest of 2 records in quarantine with this id",
    )


@pytest.mark.parametrize("more", [{}, {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}])
def test_a_record_in_quarantine_is_found_by_its_flow_id(world: World, more: dict[str, str]) -> None:
    """A producer has that from its own trace, or makes it of source and id: no line of ours has told it."""
    event = attributes(1) | more
    raw = json.dumps(event).encode()
    rejection = Rejection("shard-1", at(1), "k", Reason.DATA, "data.x", raw, ARRIVED_MS)
    Quarantine(world.table, world.payloads, DAY_S, 8).put(rejection, ARRIVED_MS + 300)
    assert world.story(flow_id_of(event)).standing == "In quarantine as data: data.x"
    with pytest.raises(NotFound):
        world.story("0" * 32)


def test_how_much_of_the_quarantine_was_searched_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that isn't found may be one of earlier, or of a day with more than are looked at."""
    for name in ("items", "find"):
        monkeypatch.setattr(f"keyturn_cli.tracing.{name}.QUARANTINE_READ_A_DAY_MAX", 2)
    quarantine = Quarantine(world.table, world.payloads, DAY_S, 8)
    for number in range(3):
        rejection = Rejection("shard-1", at(number), "k", Reason.NOT_JSON, "", b"{", ARRIVED_MS)
        quarantine.put(rejection, ARRIVED_MS + 300)
    day = datetime.fromtimestamp(ARRIVED_MS / 1_000, UTC).date()
    with pytest.raises(NotFound, match=rf"nor in quarantine \(since .* UTC, and of {day} 2 records only; --since"):
        world.story("order/1", "k")


@pytest.mark.parametrize(
    ("event", "key", "scans", "says"),
    [
        (
            "nobody",
            "k",
            False,
            r"neither in the key's log nor in quarantine \(since .* UTC; --since looks",
        ),
        ("nobody", "", False, "say --key"),
        ("0" * 32, "", False, "or --scan"),
        ("nobody", "", True, "no event of the table"),
    ],
)
def test_what_is_nowhere_is_told_in_a_line(world: World, event: str, key: str, scans: bool, says: str) -> None:
    world.put(1)
    with pytest.raises(NotFound, match=says) as told:
        world.story(event, key, scans=scans)
    assert "\n" not in str(told.value)


def test_without_log_lines_the_table_tells_the_story(world: World) -> None:
    """And it is said why there may be none."""
    world.put(1)
    assert world.story("order/1", "k").notes == ()
    step = results([at(1)], began_ms=ARRIVED_MS + 900, ended_ms=ARRIVED_MS + 950)
    StepStore(world.table, DAY_S).store("k", step)
    assert "is LogLevel above INFO?" in world.story("order/1", "k").notes[0]


def test_another_stack_whose_name_begins_like_this_ones_tells_no_part_of_the_story(world: World) -> None:
    """It may have had the same event: "keyturn-" begins the log groups of "keyturn-production" too."""
    other = copy(world)
    other.stack_name = f"{world.stack_name}-production"
    for name in ("dispatcher", "sequencer", "watchdog"):
        world.logs.create_log_group(logGroupName=f"/aws/lambda/{other.stack_name}-{name}")
        world.logs.create_log_stream(logGroupName=f"/aws/lambda/{other.stack_name}-{name}", logStreamName="s")
    flow_id = world.put(1)
    world.log("this stack's", flow_id=flow_id, key="k", position=at(1))
    other.log("the other stack's", flow_id=flow_id, key="k", position=at(1))
    told = [line.message for line in world.story("order/1", "k").lines]
    assert told == ["this stack's"]


def test_logs_that_cannot_be_read_are_no_error(world: World) -> None:
    world.put(1)
    world.logs = boto3.client(
        "logs", endpoint_url="http://127.0.0.1:9", config=Config(retries={"total_max_attempts": 1})
    )
    told = world.story("order/1", "k")
    assert (told.subject.id, "some logs can't be read" in told.notes[0]) == ("order/1", True)
    with pytest.raises(NotFound, match="some logs can't be read"):
        world.story("0" * 32)


def test_a_line_has_the_functions_own_time() -> None:
    """CloudWatch may stamp a whole invocation's lines with one."""
    line = read_line('{"message":"m","timestamp":"2026-01-05 08:00:00,123+0000"}', 5)
    assert line is not None
    assert line.at_ms == 1_767_600_000_123
    assert [read_line(text, 5) for text in ("START RequestId: x", '{"_aws":{}}', "[1]")] == [None] * 3
    other = read_line('{"message":"m"}', 5)
    assert other is not None
    assert other.at_ms == 5


def test_a_scan_says_beforehand_what_it_costs() -> None:
    """A half unit for each 4 KB, 0.125 USD a million units."""
    assert str(TableSize(2_000_000, 10_000_000_000)) == "about 2,000,000 items, 10,000.0 MB, 0.15 USD"
    assert str(TableSize(5, 900)).endswith("less than a cent")


@pytest.mark.parametrize("text", ["", "24", "0h", "3w", "-1h", "1.5h"])
def test_a_span_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="no span of time"):
        span_ms(text)


def test_spans_are_minutes_hours_or_days() -> None:
    assert [span_ms(text) for text in ("30m", "24h", "7d")] == [1_800_000, 86_400_000, 604_800_000]


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-01-05T08:00:00.123Z", 1_767_600_000_123),
        ("2026-01-05t09:00:00+01:00", 1_767_600_000_000),
        ("2026-01-05T08:00:00", None),
        ("2026-01-05T08:00:60Z", None),
        ("", None),
    ],
)
def test_a_producers_time_that_names_no_moment_is_none(text: str, ms: int | None) -> None:
    """Without an offset it could be any; leap seconds are in no calendar of ours."""
    assert from_rfc3339(text) == ms
