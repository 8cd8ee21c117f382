"""When an execution may go on with its key's next run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.adapters.keys import state_document
from keyturn.core import commands as ask
from keyturn.core.actions import GoOnWith, StartRun
from keyturn.core.draining import RESERVE_MS, DrainingExecution
from keyturn.core.log_entry import LogEntry, PayloadReference, execution_input, handed_over_bytes_max
from keyturn.core.positions import Position
from keyturn.core.protocol import Refusal, Transition
from keyturn.core.route import Exhaustion, Kind
from keyturn.core.run_header import RunHeader
from keyturn.core.state import HandedOn, Hold, KeyState, Phase, Replay, Run, Slice, Span, WaitsFor
from tests.core import states as make
from tests.core.states import EXPRESS, NOW_MS, decide
from tests.core.world import RUN_TIMEOUT_MS, route

HEADER = RunHeader("k", 4, 1, 0, "r", "1", 1, 0, "f", 0, is_personal=False, release=7, machine="order-express")
TOLD = {"id": "x", "name": "n", "started_at": "2026-11-30T01:00:00.500Z", "timeout_s": 300}
BEGAN_MS = 1_796_000_400_500
RUN = Run(Slice(Position("2"), Position("2"), 1, "r", 0, "f"), 1, "order", Kind.EXPRESS, 0, 140_000, "other")
STATE = KeyState("k", release=7)
EXECUTION = DrainingExecution("x", "n", "order-express", 7, 300_000)


def test_an_execution_tells_until_when_it_lasts() -> None:
    """Step Functions' own text for the time."""
    execution = DrainingExecution.from_payload({"execution": TOLD}, HEADER)
    assert execution == DrainingExecution("x", "n", "order-express", 7, BEGAN_MS + 300_000)


@given(
    st.one_of(
        st.none(), st.text(), st.lists(st.integers()),
        st.fixed_dictionaries(
            {},
            optional={
                "id": st.one_of(st.none(), st.text(), st.integers(), st.just("\ud800")),
                "name": st.one_of(st.text(), st.lists(st.text())),
                "started_at": st.one_of(st.none(), st.text(), st.integers(), st.just("0001-01-01T00:00:00")),
                "timeout_s": st.one_of(st.none(), st.text(), st.floats(allow_nan=True, allow_infinity=True)),
            },
        ),
    )
)  # fmt: skip
def test_whatever_else_is_told_leads_to_a_start(told: Any) -> None:
    """The run is finished all the same: nothing is raised."""
    execution = DrainingExecution.from_payload({"execution": told}, HEADER)
    assert execution is None or not execution.fits(STATE, RUN, execution.ends_by_ms)


def test_one_that_makes_an_id_for_each_run_does_not_go_on() -> None:
    """Its definition is of an earlier version, pinned by a release: what follows is started."""
    told = {name: value for name, value in TOLD.items() if name != "id"}
    assert DrainingExecution.from_payload({"execution": told}, HEADER) is None


def test_one_that_tells_nothing_does_not_go_on() -> None:
    """A Standard execution, or one of a definition that doesn't drain."""
    assert DrainingExecution.from_payload({"run": {}, "steps": []}, HEADER) is None


@pytest.mark.parametrize(
    ("state", "run", "now_ms", "fits"),
    [
        (STATE, RUN, 0, True),
        (STATE, RUN, 300_000 - RESERVE_MS - 140_000, True),
        (STATE, RUN, 300_001 - RESERVE_MS - 140_000, False),
        (STATE, replace(RUN, workflow="lines"), 0, False),
        (STATE, replace(RUN, kind=Kind.STANDARD), 0, False),
        (replace(STATE, release=8), RUN, 0, False),
        (replace(STATE, release=0), RUN, 0, False),
    ],
    ids=["all", "just in time", "too late", "other workflow", "other kind", "other release", "no release"],
)
def test_it_goes_on_with_what_it_would_have_been_started_for(
    state: KeyState, run: Run, now_ms: int, *, fits: bool
) -> None:
    """The same version of the same state machine, and all of the run's time within its own."""
    assert EXECUTION.fits(state, run, now_ms) is fits


def test_a_run_of_an_older_input_has_no_machine_and_is_followed_by_a_start() -> None:
    """An execution that was under way when this was deployed."""
    execution = DrainingExecution.from_payload({"execution": TOLD}, replace(HEADER, machine=""))
    assert execution is not None
    assert not execution.fits(STATE, RUN, BEGAN_MS)


ITSELF = DrainingExecution("x", "n", "sample-express", 0, NOW_MS + RUN_TIMEOUT_MS + RESERVE_MS)
SKIP = route(Exhaustion.SKIP, Kind.EXPRESS)


def two_events() -> KeyState:
    """Return a key whose run of event 1 execution x has begun, with event 2 behind it."""
    return make.bound(2, EXPRESS)


def finish(execution: DrainingExecution | None = ITSELF, **more: Any) -> ask.Finish:
    """Report of execution x: event 1 is done, event 2 follows."""
    return replace(make.finish(by=EXPRESS, next=make.following(2, by=EXPRESS), **more), execution=execution)


def run_of(state: KeyState) -> Run:
    """Return a running key's run."""
    assert state.run is not None
    return state.run


def starts(done: Transition) -> list[StartRun | GoOnWith]:
    """Return what a transition does with a run that is claimed."""
    return [action for action in done.actions if isinstance(action, StartRun | GoOnWith)]


def test_the_next_run_is_claimed_for_the_execution_that_goes_on() -> None:
    """One write: the cursor moves, the next run is claimed, and it belongs to that execution already."""
    done = decide(two_events(), finish())
    assert (done.state.fence, run_of(done.state).execution_id) == (2, "x")
    assert starts(done) == [GoOnWith(run_of(done.state), ITSELF)]


def test_a_run_that_was_given_up_is_followed_in_the_same_way() -> None:
    """Its policy passes it, and no worker of it can be at work any more."""
    bound = make.bound(2, SKIP)
    hopeless = finish(ending=make.HOPELESS)
    done = decide(bound, replace(hopeless, route=SKIP))
    assert starts(done) == [GoOnWith(run_of(done.state), ITSELF)]


@pytest.mark.parametrize(
    "execution",
    [
        None,
        replace(ITSELF, id="y"),
        replace(ITSELF, machine="sample-standard"),
        replace(ITSELF, release=1),
        replace(ITSELF, ends_by_ms=ITSELF.ends_by_ms - 1),
    ],
    ids=["none", "another than its workers'", "other machine", "other release", "too little time"],
)
def test_what_does_not_fit_is_claimed_for_nobody(execution: DrainingExecution | None) -> None:
    """It is started, and bound by its first worker."""
    done = decide(two_events(), finish(execution))
    assert run_of(done.state).execution_id is None
    assert starts(done) == [StartRun(run_of(done.state))]


def test_a_key_that_has_no_run_next_hands_none_over() -> None:
    """It is idle, or waits."""
    for state, following in ((make.bound(1, EXPRESS), None), (two_events(), make.following(2, has_slot=False))):
        done = decide(state, replace(finish(), next=following))
        assert (done.state.run, starts(done)) == (None, [])


def handed_over() -> KeyState:
    """Return a key whose run of event 2 was claimed for execution x, with event 3 behind it."""
    return make.after(make.bound(3, EXPRESS), finish())


def test_an_answer_that_was_lost_comes_again_however_late() -> None:
    """The execution asks again; how much time it has left was looked at when the run was claimed."""
    state = handed_over()
    late_ms = run_of(state).deadline_ms - 1
    done = decide(state, finish(), late_ms)
    assert done.refusal is Refusal.SUPERSEDED
    assert starts(done) == [GoOnWith(run_of(state), ITSELF)]


@pytest.mark.parametrize(
    "command",
    [
        replace(finish(), execution=replace(ITSELF, id="y")),
        replace(finish(), execution=replace(ITSELF, id="y"), execution_id="y"),
        replace(finish(), execution_id="y"),
        replace(finish(), execution=None),
        replace(finish(), execution_id=None),
        finish(fence=0),
        make.admit(1),
        make.admit(4, is_redelivery=True),
        ask.Claim(make.following(2)),
        ask.Bind(2, "y"),
        ask.GiveUp(2, "cannot start", EXPRESS, None),
        ask.Expire(2, ask.Evidence.NEVER_STARTED, EXPRESS, None),
        ask.Hold(make.OPERATOR),
        ask.Retime(NOW_MS),
    ],
    ids=str,
)
def test_a_bound_run_is_handed_to_nobody_else_and_never_started(command: ask.Command) -> None:
    """Not to its twin of a doubled start, not by a redelivery, a wake-up, the watchdog or an operator."""
    done = decide(handed_over(), command)
    assert starts(done) == []
    assert done.state.run is None or done.state.run.execution_id == "x"


def test_an_earlier_finish_of_the_same_execution_brings_nothing() -> None:
    """It is at a later run by then, so nobody listens."""
    state = make.after(handed_over(), replace(finish(fence=2), next=make.following(3, by=EXPRESS)))
    assert run_of(state).execution_id == "x"
    assert starts(decide(state, finish())) == []


def test_an_execution_that_died_with_a_run_of_its_own_is_found_at_the_deadline() -> None:
    """That counts as a failed attempt, though no worker may have begun; the next one is started."""
    state = handed_over()
    expire = ask.Expire(2, ask.Evidence.HUNG, EXPRESS, None)
    assert decide(state, expire, run_of(state).deadline_ms - 1).refusal is Refusal.TOO_EARLY
    expired = make.after(state, expire, run_of(state).deadline_ms)
    assert (expired.waits_for, run_of(expired).attempt, run_of(expired).execution_id) == (WaitsFor.TIME, 2, None)
    again = decide(expired, ask.Claim(make.following(2, by=EXPRESS)), expired.not_before_ms)
    assert starts(again) == [StartRun(run_of(again.state))]
    late = decide(again.state, finish())
    assert starts(late) == [StartRun(run_of(again.state))], "as whoever finds a claimed run that nobody has begun"


WIDE = "\U0001f511" * 256
"""Twelve characters each, written anew."""
TIME_MS = 1_900_000_000_000


def at(number: int) -> Position:
    """Return a position of full length."""
    return make.at(10**55 + number)


numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([1e15, -1.5e-9]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text()), lambda inner: st.lists(inner, max_size=4)
)
contents = st.one_of(
    st.dictionaries(st.text(), values, max_size=5).map(lambda made: json.dumps(made, ensure_ascii=False).encode()),
    st.sampled_from([b'{"a":1e15}', '{"\u007f":"\u007f\u00e9\U0001f511"}'.encode(), b'{"a":[1,2,3],"b":{"c":null}}']),
    st.builds(PayloadReference, st.text(max_size=80), st.integers(0, 10**7), st.just("f" * 64)),
)


@given(st.lists(contents, min_size=1, max_size=5))
def test_what_is_handed_over_is_never_larger_than_was_foreseen(found: list[bytes | PayloadReference]) -> None:
    """Whatever its events, with the longest key, names and replay: it is foreseen before the run is claimed."""
    entries = [LogEntry(at(n), "t", "f" * 32, TIME_MS, content) for n, content in enumerate(found)]
    by = replace(EXPRESS, name="r" * 48, workflow="w" * 31)
    cut = Slice(at(0), at(len(found)), len(found), by.name, TIME_MS, "f" * 32)
    run = Run(cut, 99, by.workflow, Kind.EXPRESS, TIME_MS, TIME_MS + 360_000, "e" * 80, "i" * 36, 99, 0, 900)
    spans = tuple(Span(at(2 * number), at(2 * number + 1)) for number in range(32))
    hold = Hold(TIME_MS, "p" * 256, "h" * 1_000)
    replay = Replay("r" * 60, TIME_MS, 99, spans, at(100))
    state = KeyState(
        WIDE, 10**9, Phase.RUNNING, at(0), at(100), 10**9, 10**9, 10**9, 99, 20, TIME_MS, run, None, TIME_MS, TIME_MS,
        TIME_MS, None, hold, "", replay, 10**6, 10**4, "r" * 60, at(100), 99, HandedOn(WIDE, 10**9),
    )  # fmt: skip
    document = json.loads(execution_input(state, run, entries, by, ":release-10000"))
    answer = {"outcome": "succeeded", "refusal": "superseded", **document, "execution_id": "i" * 36}
    assert len(json.dumps(answer | {"seen": state_document(state)})) <= handed_over_bytes_max(entries)
