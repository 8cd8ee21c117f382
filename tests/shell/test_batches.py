"""Runs of several events: one item a step, what a failure leaves, and what is found however slices are cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.adapters.keys import encode_state
from keyturn.adapters.process import Process
from keyturn.adapters.table import decode_item, encode_item
from keyturn.core.answers import read_steps
from keyturn.core.commands import Outcome
from keyturn.core.event import Event
from keyturn.core.positions import Position
from keyturn.core.state import KeyState
from keyturn.core.step_context import StepContext
from keyturn.core.task import Task
from keyturn.errors import Permanent, StepFailed
from keyturn.shell.checkpoint import UNSAVED_MS_MAX
from keyturn.shell.work import Workbench, work
from tests.core import states as make
from tests.core.states import at
from tests.models.dynamodb import DynamoDB
from tests.shell.faults import Fault, Faults, FaultyClient
from tests.shell.world import SETTINGS, WORKER_TIMEOUT_MS

EVENTS = 12
Function = Callable[[Event, StepContext], Any]


class Dies(BaseException):
    """The Lambda is killed: nothing of it runs on."""


@dataclass
class Key:
    """A key's table, and a worker that is called for slices of its log."""

    now_ms: int = 1_700_000_000_000
    dynamodb: DynamoDB = field(default_factory=DynamoDB)
    faults: Faults = field(default_factory=Faults)
    fence: int = 0
    timeout_ms: int = WORKER_TIMEOUT_MS

    def __post_init__(self) -> None:
        """Build the workbench."""
        client = FaultyClient(self.dynamodb, self.faults)
        settings = replace(SETTINGS, state_table="state")
        self.bench = Workbench.build(settings, lambda _service: client, Process(clock=lambda: self.now_ms))

    def work(
        self,
        places: Sequence[Position],
        function: Function,
        *,
        generations: tuple[int, int] = (0, 0),
        is_forward: bool = True,
    ) -> list[Any] | str:
        """Call the worker for an attempt of its own; return its results, or how it answered without."""
        self.fence += 1
        began_ms, (lowest, latest) = self.now_ms, generations
        state = self._state()
        self.dynamodb.put_item(TableName="state", Item=encode_item(encode_state(state)))
        header = {
            "key": "k", "fence": self.fence, "attempt": 1, "generation": lowest, "generation_latest": latest,
            "route": "batch", "first": places[0], "count": len(places), "deadline_ms": began_ms + 60_000,
            "flow_id": "f", "arrived_at_ms": 1, "personal": False, "forward": is_forward, "run_timeout_ms": 60_000,
        }  # fmt: skip
        events = [{"position": place, "flow_id": "f", "event": _event(place)} for place in places]
        task = Task.from_payload({"step": "payment", "execution_id": "x", "run": header, "events": events})
        answer = work(self.bench, task, lambda: began_ms + self.timeout_ms - self.now_ms, function)
        found: list[Any] | str = answer.get("results", answer["outcome"])
        return found

    def _state(self) -> KeyState:
        state = make.bound()
        assert state.run is not None
        run = replace(state.run, deadline_ms=self.now_ms + 60_000)
        return replace(state, fence=self.fence, run=run)

    @property
    def items(self) -> list[Mapping[str, Any]]:
        """What is stored of results."""
        found = map(decode_item, self.dynamodb.all_items())
        return [item for item in found if item["sk"].startswith("result#")]


def _event(place: Position) -> Mapping[str, Any]:
    return {"specversion": "1.0", "id": place, "source": "/t", "type": "batch", "data": {}}


def places(first: int, last: int) -> list[Position]:
    return [at(number) for number in range(first, last + 1)]


@dataclass
class Doing:
    """A worker's function: notes what it did, and fails where it is told to."""

    key: Key
    takes_ms: int = 1
    fails_at: Position | None = None
    error: BaseException = field(default_factory=lambda: OSError("no answer"))
    done: list[str] = field(default_factory=list)

    def __call__(self, _event: Event, step: StepContext) -> Any:
        """Do an event."""
        if step.position == self.fails_at:
            raise self.error
        self.key.now_ms += self.takes_ms
        self.done.append(step.position)
        return {"n": len(self.done)}


def test_a_batch_is_one_read_and_one_write() -> None:
    """Ten events of a run: one Query, one item."""
    key = Key()
    assert key.work(places(1, 10), Doing(key)) == [{"n": number} for number in range(1, 11)]
    assert key.faults.made == {"query": 1, "put_item": 1}
    assert [item["sk"] for item in key.items] == [f"result#{at(10)}#0#payment"]


def test_a_run_of_one_event_stores_it_alone() -> None:
    """As plainly as ever."""
    key = Key()
    key.work([at(1)], Doing(key))
    (item,) = key.items
    assert (item["result"], item["ended_at_ms"] - item["began_at_ms"]) == ('{"n":1}', 1)


@pytest.mark.parametrize(
    ("error", "answered"), [(OSError("no answer"), StepFailed), (Permanent("no such card"), "failed")]
)
def test_what_was_done_before_a_failure_is_kept(error: Exception, answered: Any) -> None:
    """In one item; the retry goes on from the event that failed."""
    key = Key()
    first = Doing(key, fails_at=at(4), error=error)
    if answered is StepFailed:
        with pytest.raises(StepFailed):
            key.work(places(1, 6), first)
    else:
        assert key.work(places(1, 6), first) == answered
    assert len(key.items) == 1
    again = Doing(key)
    key.work(places(1, 6), again)
    assert first.done + again.done == places(1, 6)
    assert len(key.items) == 2


def test_a_worker_that_was_superseded_keeps_what_it_had_done() -> None:
    """Its successor waits until it is gone, and doesn't do those events again."""
    key = Key()
    doing = Doing(key, takes_ms=100)

    def superseded(event: Event, step: StepContext) -> Any:
        if step.position == at(3):
            key.now_ms += 20_000
            key.fence += 1
            key.dynamodb.put_item(TableName="state", Item=encode_item(encode_state(key._state())))
            step.heartbeat()
        return doing(event, step)

    assert key.work(places(1, 4), superseded) == "refused"
    again = Doing(key)
    key.work(places(1, 4), again)
    assert again.done == places(3, 4)


@pytest.mark.parametrize("takes_ms", [1, 90, 400, 1_000])
def test_a_killed_worker_repeats_a_second_of_work_at_most(takes_ms: int) -> None:
    """And the event that it was at."""
    key = Key(timeout_ms=50_000)
    killed = Doing(key, takes_ms, fails_at=at(30), error=Dies())
    with pytest.raises(Dies):
        key.work(places(1, 40), killed)
    again = Doing(key, takes_ms)
    key.work(places(1, 40), again)
    repeated = set(killed.done) & set(again.done)
    assert len(repeated) * takes_ms <= UNSAVED_MS_MAX
    assert set(killed.done) | set(again.done) == set(places(1, 40))


def test_an_event_that_would_outlive_the_lambda_is_left_to_the_next_try() -> None:
    """Judged by the longest one so far; the first one of a try always begins, so each try comes further."""
    key, tries, done = Key(), 0, list[str]()
    while len(done) < 6:
        doing = Doing(key, takes_ms=1_100)
        with suppress(StepFailed):
            key.work(places(1, 6), doing)
        tries, done = tries + 1, done + doing.done
    assert done == places(1, 6)
    assert tries == 3


def test_a_result_stays_what_it_was_when_it_was_given() -> None:
    """A function may hand out one dict again and again."""
    key, one = Key(), dict[str, int]()

    def function(_event: Event, _step: StepContext) -> Any:
        one["n"] = one.get("n", 0) + 1
        return one

    assert key.work(places(1, 3), function) == [{"n": 1}, {"n": 2}, {"n": 3}]


def nested(levels: int) -> list[Any]:
    """Return lists within lists."""
    made: list[Any] = []
    for _ in range(levels - 1):
        made = [made]
    return made


@pytest.mark.parametrize(
    "make_result",
    [
        lambda: {"amount": 2**63},
        lambda: {"amount": -(2**63) - 1},
        lambda: {"amount": 10**5_000},
        lambda: {"amount": float("nan")},
        lambda: {"amount": Decimal("1.10")},
        lambda: {1: "one", "1": "another"},
        lambda: {"half": "\ud800"},
        lambda: b"bytes",
        lambda: nested(65),
        lambda: nested(100_000),
    ],
    ids=["beyond 64 bits", "below", "huge", "NaN", "Decimal", "twice", "half", "bytes", "deep", "endless"],
)
def test_a_result_that_would_be_read_otherwise_than_it_was_given_fails_for_good(make_result: Callable[[], Any]) -> None:
    """Step Functions rounds what is beyond 64 bits, without an error. And a retry would do the effect again."""
    key = Key()
    assert key.work([at(1)], lambda _event, _step: make_result()) == "failed"
    assert key.items == []


def test_a_result_of_64_bits_and_64_levels_is_kept_as_it_is() -> None:
    """The most that an event may have too."""
    result = [2**63 - 1, -(2**63), nested(63)]
    assert Key().work([at(1)], lambda _event, _step: result) == [result]


def test_the_heartbeats_of_a_batch_go_by_its_time_and_not_by_each_events() -> None:
    """None of its events takes a tenth of the run's time, in which a heartbeat costs nothing; together they do."""
    key = Key(timeout_ms=50_000)
    began_ms = key.now_ms

    def function(_event: Event, step: StepContext) -> None:
        key.now_ms += 4_000
        step.heartbeat()

    key.work(places(1, 6), function)
    run = key.bench.keys.load("k").run
    assert run is not None
    assert run.deadline_ms == began_ms + 24_000 + 60_000


def test_a_lambda_without_time_for_the_next_event_is_no_failed_attempt() -> None:
    """What it had time for is stored, so a batch that is longer than all its tries together ends all the same."""
    key = Key(timeout_ms=2_000)

    def function(_event: Event, _step: StepContext) -> None:
        key.now_ms += 900

    with pytest.raises(StepFailed, match="time is nearly over") as ended:
        key.work(places(1, 4), function)
    error = {"Error": "StepFailed", "Cause": json.dumps({"errorMessage": str(ended.value)})}
    ending = read_steps([{"step": "payment", "execution_id": "x", "error": error}]).ending
    assert ending is not None
    assert (ending.outcome, ending.clean) == (Outcome.OUT_OF_TIME, True)


def test_results_that_are_stored_at_the_second_try_are_not_done_again() -> None:
    """Though the try has failed by then."""
    key, again = Key(), Doing(Key())
    key.faults.arm(2, Fault.THROTTLES)
    with pytest.raises(StepFailed, match="Throttled"):
        key.work(places(1, 3), Doing(key))
    assert key.work(places(1, 3), again) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert again.done == []


@dataclass(frozen=True)
class Pass:
    """Once through a stretch of the log: forward, or by a replay."""

    cuts: frozenset[int]
    """Events before which a slice begins."""
    failures: frozenset[int]
    """Events at which a try fails, the first time."""
    given_up: frozenset[int]
    """Events whose slice is given up when it fails there."""
    afresh: frozenset[int]
    """Events whose failed slice a person resumes afresh."""
    stretch: tuple[int, int]
    is_new_generation: bool
    """Of a replay: whether finished steps are done again."""


numbers = st.frozensets(st.integers(1, EVENTS))
passes = st.builds(
    Pass, numbers, numbers, numbers, numbers,
    st.tuples(st.integers(1, EVENTS), st.integers(1, EVENTS)).map(lambda ends: (min(ends), max(ends))), st.booleans(),
)  # fmt: skip


class Story:
    """Passes over one key's events, and what must have been done by them."""

    def __init__(self) -> None:
        """Nothing is done yet."""
        self.key, self.latest = Key(), 0
        self.done: dict[int, dict[int, Any]] = {number: {} for number in range(1, EVENTS + 1)}
        """Result by generation, by event."""
        self.values = count(1)

    def tell(self, one: Pass, *, is_forward: bool) -> None:
        first, last = (1, EVENTS) if is_forward else one.stretch
        self.latest += not is_forward and one.is_new_generation
        floor = self.latest if one.is_new_generation and not is_forward else 0
        begins = sorted({first, *(number for number in one.cuts if first < number <= last)})
        for begin, end in pairwise([*begins, last + 1]):
            self._run(one, range(begin, end), floor, is_forward=is_forward)

    def _run(self, one: Pass, events: range, floor: int, *, is_forward: bool) -> None:
        """Run a slice until it is through or given up."""
        left = set(one.failures)
        while True:
            latest = max(self.latest, floor) if not is_forward or floor else 0
            failed = self._try(events, (floor, latest), left, is_forward=is_forward)
            if failed is None or failed in one.given_up:
                return
            if failed in one.afresh:
                self.latest += 1
                floor = self.latest

    def _try(self, events: range, counted: tuple[int, int], left: set[int], *, is_forward: bool) -> int | None:
        """Try a slice once; return where it failed. What has no result that counts is done, and nothing else."""
        floor, latest = counted
        due = [n for n in events if not any(floor <= generation <= latest for generation in self.done[n])]
        begun: list[int] = []

        def function(_event: Event, step: StepContext) -> int:
            number = int(step.position.split("-")[1])
            begun.append(number)
            if number in left:
                left.remove(number)
                raise OSError("no answer")
            self.done[number][floor] = next(self.values)
            return int(self.done[number][floor])

        chosen = [at(number) for number in events]
        try:
            results = self.key.work(chosen, function, generations=counted, is_forward=is_forward)
        except StepFailed:
            assert begun == due[: len(begun)]
            return begun[-1]
        assert begun == due
        assert results == [
            max((g, result) for g, result in self.done[n].items() if floor <= g <= latest)[1] for n in events
        ]
        return None


@given(forward=passes, replays=st.lists(passes, max_size=3))
def test_each_step_is_done_once_a_generation_however_slices_are_cut(forward: Pass, replays: list[Pass]) -> None:
    """Whatever failed, was given up, resumed afresh or run again: each stored result is found and counts."""
    story = Story()
    story.tell(forward, is_forward=True)
    for one in replays:
        story.tell(one, is_forward=False)


@given(forward=passes, replays=st.lists(passes, max_size=2))
def test_a_run_that_does_not_say_that_it_is_forward_finds_the_same(forward: Pass, replays: list[Pass]) -> None:
    """An execution that the version before started: its reads are only dearer."""
    story = Story()
    story.key.work = _unsaid(story.key.work)  # type: ignore[method-assign]
    story.tell(forward, is_forward=True)
    for one in replays:
        story.tell(one, is_forward=False)


def _unsaid(standing: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **named: standing(*arguments, **{**named, "is_forward": False})
