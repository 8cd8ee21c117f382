"""What is derived from a key's state: what it runs next, where a pass leads, and where it stands in the index."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core import commands as ask
from keyturn.core.positions import predecessor
from keyturn.core.state import START, KeyState, Phase, Queue, Replay, Span, due, passed, rewound, to_run
from tests.core import states as make
from tests.core.states import NOW_MS, at

EVENTS = 12


@st.composite
def replays(draw: st.DrawFn) -> tuple[KeyState, list[int]]:
    """Make a key that has finished some events and has some pending, whose replay begins; and what is planned."""
    finished = draw(st.integers(1, EVENTS))
    pending = draw(st.integers(0, 3))
    planned = draw(st.sets(st.integers(1, finished), min_size=1))
    firsts = [n for n in sorted(planned) if n - 1 not in planned]
    lasts = [n for n in sorted(planned) if n + 1 not in planned]
    spans = tuple(Span(at(first), at(last)) for first, last in zip(firsts, lasts, strict=True))
    state = replace(
        KeyState("k"),
        cursor=at(finished),
        tail=at(finished + pending),
        admitted=finished + pending,
        finished=finished,
    )
    return rewound(state, Replay("r", NOW_MS, 0, spans, is_noted=True)), sorted(planned)


@given(replays(), st.data())
def test_a_replay_runs_what_is_planned_in_order_and_returns(
    begun: tuple[KeyState, list[int]], data: st.DataObject
) -> None:
    """In slices of any length: each within its span, none twice, and at the end the key is where it was."""
    state, planned = begun
    resume_at, tail = state.replay.resume_at if state.replay else START, state.tail
    ran: list[int] = []
    while state.is_replaying:
        bounds = to_run(state)
        assert bounds is not None
        pending = [n for n in range(1, EVENTS + 4) if bounds[0] < at(n) <= bounds[1]]
        taken = pending[: data.draw(st.integers(1, 3))]
        ran += taken
        state = passed(state, at(taken[-1]), len(taken))
    assert ran == planned
    assert (state.cursor, state.tail, state.replay) == (resume_at, tail, None)
    assert state.finished == state.admitted - sum(at(n) > resume_at for n in range(1, EVENTS + 4) if at(n) <= tail)


@given(st.integers(0, EVENTS), st.integers(0, 3))
def test_without_a_replay_what_is_pending_is_run(finished: int, pending: int) -> None:
    """From the cursor through the tail; nothing when they meet."""
    cursor = at(finished) if finished else START
    state = replace(KeyState("k"), cursor=cursor, tail=at(finished + pending) if finished + pending else START)
    assert to_run(state) == ((cursor, state.tail) if pending else None)


def test_a_noted_replay_begins_when_the_run_has_passed() -> None:
    """Until then what is pending is run, and the run counts as finished."""
    state = make.after(make.after(make.done(2), make.admit(4, 2, next=make.following(3))), ask.Bind(3, "x"))
    noted = make.after(state, make.rewind(state, (1, 2)))
    assert to_run(noted) == (at(2), at(4))
    begun = passed(noted, at(3), 1)
    assert (begun.cursor, begun.finished, begun.run) == (predecessor(at(1)), 3, None)
    assert begun.replay is not None
    assert (begun.replay.resume_at, begun.is_replaying) == (at(3), True)


def test_a_replay_passes_over_a_span_that_is_passed_as_a_whole() -> None:
    """What the log has lost of it, for one: the next span is what follows."""
    state = rewound(make.done(3), Replay("r", 1, 0, make.spans((1, 1), (3, 3))))
    assert to_run(passed(state, at(1), 1)) == (predecessor(at(3)), at(3))
    assert passed(state, at(3), 2).replay is None


@pytest.mark.parametrize(
    ("state", "queue", "family"),
    [
        (make.held(make.idle()), Queue.HELD, "held"),
        (make.held(make.waiting_for_slot()), Queue.HELD, "held"),
        (make.held(make.waiting_for_time()), Queue.HELD, "held"),
        (make.held_route(), Queue.HELD, "held:sample"),
        (make.held(make.held_route()), Queue.HELD, "held"),
        (make.held(make.bound()), Queue.RUNNING, "running"),
        (make.held(make.parked()), Queue.PARKED, "parked"),
        (make.held(make.done(1)), Queue.HELD, "held"),
    ],
    ids=lambda value: str(getattr(value, "phase", value)),
)
def test_a_held_key_is_found_by_what_keeps_it_from_going_on(state: KeyState, queue: Queue, family: str) -> None:
    """A key's own hold before its route's; one that runs or is parked is found there first."""
    found = due(state, 1)
    assert found is not None
    assert (found.queue, found.family) == (queue, family)


@given(st.sampled_from(["sample", "a-route", "x" * 64]))
def test_keys_of_each_held_route_have_a_queue_of_their_own(name: str) -> None:
    """So that its release need not look at the others'."""
    waiting = make.after(make.idle(), make.admit(1, next=make.on_hold(1, name)))
    found = due(waiting, 60_000)
    assert found is not None
    assert (found.family, found.at_ms) == (f"held:{name}", NOW_MS)


def test_an_idle_key_that_is_not_held_is_not_in_the_index() -> None:
    """There is nothing to be done for it."""
    assert due(make.done(1), 1) is None
    assert make.done(1).phase is Phase.IDLE
