"""How a run's slice is cut off the log, and what its execution is given."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.log_entry import LogEntry, PayloadReference, cut_slice, execution_input
from keyturn.core.positions import position
from keyturn.core.route import Batch, Kind, Route, Routes
from keyturn.core.run_header import RunHeader
from keyturn.core.state import KeyState, Replay, Run, Span
from keyturn.core.task import Task
from keyturn.limits import EVENT_INLINE_BYTES_MAX, EXECUTION_INPUT_BYTES_MAX, RUN_INLINE_BYTES_MAX
from tests.core.world import route

REFERENCE = PayloadReference("abcd/key/position", 3_000_000, "0" * 64)


def entry(number: int, event_type: str = "sample", content: bytes | PayloadReference = b"{}") -> LogEntry:
    return LogEntry(position(1, str(number)), event_type, f"flow-{number}", 1000 + number, content)


def routes(events: int = 3, size: int = 1000) -> Routes:
    sample = replace(route(), batch=Batch(events, size))
    return Routes((sample, replace(sample, name="other", type="other")))


def run_of(entries: list[LogEntry], by: Routes) -> tuple[Run, Route]:
    part, found = cut_slice(entries, by)
    assert found is not None
    return Run(part, 1, "sample", Kind.STANDARD, 0, 20_000, "name"), found


def test_a_slice_is_as_long_as_its_route_allows() -> None:
    """Its first event tells when it arrived and what it is traced by."""
    part, found = cut_slice([entry(n) for n in range(1, 6)], routes(events=3))
    assert (part.first, part.last, part.count) == (position(1, "1"), position(1, "3"), 3)
    assert (part.route, part.arrived_at_ms, part.flow_id) == ("sample", 1001, "flow-1")
    assert found is not None


def test_a_slice_holds_events_of_one_route() -> None:
    """Order goes before batches: what follows another route's event waits, though it would fit."""
    part, _ = cut_slice([entry(1), entry(2, "other"), entry(3)], routes())
    assert part.count == 1


def test_a_slice_stays_within_its_routes_bytes_but_holds_one_event() -> None:
    """An event larger than the route's batch runs alone; one in the payload bucket counts for nothing."""
    large = entry(1, content=b"x" * 5000)
    assert cut_slice([large, entry(2)], routes())[0].count == 1
    assert cut_slice([entry(1, content=b"x" * 600), entry(2, content=b"x" * 600)], routes())[0].count == 1
    assert cut_slice([entry(n, content=REFERENCE) for n in (1, 2, 3)], routes())[0].count == 3


def test_an_event_without_a_route_stands_alone() -> None:
    """A removed route leaves it behind; its key is parked for it."""
    part, found = cut_slice([entry(1, "gone"), entry(2, "gone")], routes())
    assert (part.count, part.route, found) == (1, "", None)


def test_an_executions_input_says_what_workers_and_sequencer_read() -> None:
    """Header, events and references come back as they were."""
    entries = [entry(1, content=b'{"id":"1","data":1e2}'), entry(2, content=REFERENCE)]
    run, by = run_of(entries, routes())
    written = json.loads(execution_input(KeyState("k", fence=7), run, entries, by))
    assert RunHeader.from_input(written["run"]).fence == 7
    task = Task.from_payload({"step": "s", "execution_id": "x", **written})
    assert [event.content for event in task.events] == [{"id": "1", "data": 100.0}, REFERENCE]
    assert task.positions == [each.position for each in entries]


@given(
    key=st.text(min_size=1, max_size=256),
    count=st.integers(1, 100),
    fill=st.sampled_from(["1e15,", '"\\u0001",', "\u20ac,"]),
)
def test_an_executions_input_always_fits(key: str, count: int, fill: str) -> None:
    """The longest key, the fullest batch, numbers and escapes that grow when they are written anew."""
    body = fill.rstrip(",") if fill[0] != "\u20ac" else '"\u20ac"'
    share = min(EVENT_INLINE_BYTES_MAX, RUN_INLINE_BYTES_MAX // count) - 20
    repeats = max(1, share // (len(body.encode()) + 1))
    content = ('{"data":[' + ",".join([body] * repeats) + "]}").encode()
    entries = [entry(number, content=content) for number in range(1, count + 1)]
    by = routes(events=100, size=RUN_INLINE_BYTES_MAX)
    run, found = run_of(entries, by)
    taken = entries[: run.slice.count]
    written = execution_input(KeyState(key), run, taken, found)
    assert len(written.encode("utf-8", "surrogatepass")) < EXECUTION_INPUT_BYTES_MAX * 0.9
    assert written == execution_input(KeyState(key), run, taken, found)


@given(
    key=st.text(alphabet='"\\\u20ac', min_size=1, max_size=256),
    count=st.integers(1, 90),
    fill=st.sampled_from([b'""', b'"\\""', b'{"id":"a"}', b"1"]),
)
def test_the_input_of_a_nested_run_fits_as_text_too(key: str, count: int, fill: bytes) -> None:
    """Events full of quotes make a shorter batch: the state that starts the Express execution has it quoted."""
    share = min(EVENT_INLINE_BYTES_MAX, RUN_INLINE_BYTES_MAX // count) - 20
    content = b"[" + b",".join([fill] * max(1, share // (len(fill) + 1))) + b"]"
    entries = [entry(number, content=content) for number in range(1, count + 1)]
    (sample, *_) = routes(events=90, size=RUN_INLINE_BYTES_MAX).routes
    nested = replace(sample, kind=Kind.NESTED)
    run, found = run_of(entries, Routes((nested,)))
    written = execution_input(KeyState(key), replace(run, kind=Kind.NESTED), entries[: run.slice.count], found)
    passed_on = json.dumps({"Input": written}, ensure_ascii=False)
    assert len(passed_on.encode("utf-8", "surrogatepass")) < EXECUTION_INPUT_BYTES_MAX * 0.95


def header_of(state: KeyState, run: Run, by: Route) -> RunHeader:
    return RunHeader.from_input(json.loads(execution_input(state, run, [entry(1)], by))["run"])


@pytest.mark.parametrize(
    ("generation", "of_run", "is_replaying", "counted"),
    [
        (0, 0, False, (0, 0)),
        (3, 0, False, (0, 0)),
        (3, 0, True, (0, 3)),
        (3, 2, True, (2, 3)),
        (3, 3, False, (3, 3)),
    ],
    ids=["never replayed", "replayed before", "plain replay", "fresh replay", "resumed afresh"],
)
def test_an_executions_input_says_which_generations_results_count(
    generation: int, of_run: int, is_replaying: bool, counted: tuple[int, int]
) -> None:
    """Any that was ever made in a plain replay, those of the asked generation or later in a fresh one, the first
    outside: no event that was never replayed pays for reading more."""
    run, by = run_of([entry(1)], routes())
    spans = (Span(position(1, "1"), position(1, "1")),)
    replay = Replay("r", 1, of_run, spans) if is_replaying else None
    state = KeyState("k", fence=7, generation=generation, replay=replay)
    header = header_of(state, replace(run, generation=of_run), by)
    assert (header.generation, header.generation_latest) == counted


@pytest.mark.parametrize(
    ("generation", "of_run", "is_replaying", "overlaps"),
    [
        (0, 0, False, False),
        (3, 3, False, False),
        (0, 0, True, True),
        (3, 0, True, True),
        (3, 2, True, True),
        (3, 3, True, False),
    ],
    ids=["forward", "resumed afresh", "plain replay", "after a fresh one", "resumed in a fresh one", "fresh replay"],
)
def test_an_executions_input_says_whether_runs_of_other_slices_may_have_stored_what_counts(
    generation: int, of_run: int, is_replaying: bool, overlaps: bool
) -> None:
    """Not for what goes forward: a run of no replay, and a replay whose results are of its own generation."""
    run, by = run_of([entry(1)], routes())
    spans = (Span(position(1, "1"), position(1, "1")),)
    replay = Replay("r", 1, of_run, spans) if is_replaying else None
    state = KeyState("k", fence=7, generation=generation, replay=replay)
    header = header_of(state, replace(run, generation=of_run), by)
    assert (header.is_forward, header.may_overlap) == (not is_replaying, overlaps)


def test_a_replay_that_is_only_noted_changes_nothing_for_the_run_under_way() -> None:
    """Its input is the same when it is started again."""
    run, by = run_of([entry(1)], routes())
    noted = Replay("r", 1, 1, (Span(position(1, "1"), position(1, "1")),), is_noted=True)
    before = KeyState("k", fence=7)
    after = replace(before, generation=1, replay=noted)
    assert execution_input(before, run, [entry(1)], by) == execution_input(after, run, [entry(1)], by)


def test_an_executions_input_says_how_long_a_heartbeat_may_ask_for() -> None:
    """As long as an attempt has from its start."""
    run, by = run_of([entry(1)], routes())
    assert header_of(KeyState("k"), replace(run, started_at_ms=5, deadline_ms=20_005), by).run_timeout_ms == 20_000


def test_an_executions_input_says_whether_a_worker_has_to_bind_the_attempt() -> None:
    """Not where it belongs to the execution from its claim on. A start says nothing of it, as it always did."""
    run, by = run_of([entry(1)], routes())
    assert header_of(KeyState("k"), replace(run, execution_id="x"), by).is_bound
    assert not header_of(KeyState("k"), run, by).is_bound
    assert "bound" not in json.loads(execution_input(KeyState("k"), run, [entry(1)], by))["run"]


def test_an_input_that_the_version_before_wrote_is_read() -> None:
    """It is in flight while a deploy goes on: one generation counts, and no heartbeat extends it."""
    run, by = run_of([entry(1)], routes())
    written = json.loads(execution_input(KeyState("k", fence=7), replace(run, generation=2), [entry(1)], by))["run"]
    del written["generation_latest"], written["run_timeout_ms"], written["forward"]
    header = RunHeader.from_input(written)
    assert (header.generation, header.generation_latest, header.run_timeout_ms) == (2, 2, 0)
    assert not header.is_forward


def test_a_reference_of_a_later_format_is_read() -> None:
    """A deploy is not atomic: what a newer function wrote is passed over."""
    item: dict[str, Any] = REFERENCE.as_item() | {"compression": "zstd"}
    assert PayloadReference.from_item(item) == REFERENCE
