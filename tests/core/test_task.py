"""Whether a worker may begin, and what names its effects."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.naming import execution_name, key_hash
from keyturn.core.positions import position
from keyturn.core.state import KeyState
from keyturn.core.task import Permission, Task, permission
from keyturn.errors import KeyturnError
from tests.core import states

HEADER: dict[str, Any] = {
    "key": "k",
    "fence": 1,
    "attempt": 1,
    "generation": 0,
    "route": "sample",
    "first": position(1, "1"),
    "count": 1,
    "deadline_ms": 0,
    "flow_id": "flow",
    "arrived_at_ms": 1,
    "personal": False,
}
MARGIN_MS = 1_000


def payload(**changes: Any) -> dict[str, Any]:
    events = [{"position": position(1, "1"), "flow_id": "flow", "event": {"id": "1"}}]
    return {"step": "payment", "execution_id": "x", "run": HEADER, "events": events} | changes


def asked(state: KeyState, ends_by_ms: int = 0, **changes: Any) -> Permission:
    return permission(state, Task.from_payload(payload(**changes)), ends_by_ms, MARGIN_MS)


def test_the_current_attempt_in_its_execution_may_begin() -> None:
    """Before any worker began, the execution must be bound first."""
    assert asked(states.bound()) is Permission.GRANTED
    assert asked(states.running()) is Permission.AFTER_BINDING


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        (states.idle(), {}),
        (states.waiting_for_slot(), {}),
        (states.waiting_for_time(), {}),
        (states.parked(), {}),
        (states.bound(), {"run": HEADER | {"fence": 2}}),
        (states.bound(), {"run": HEADER | {"fence": 0}}),
        (states.running(), {"run": HEADER | {"fence": 2}}),
        (states.bound(), {"execution_id": "twin"}),
    ],
)
def test_nobody_else_may(state: KeyState, changes: dict[str, Any]) -> None:
    """A key that isn't running, another fence, a twin of the execution: refused, whatever the time."""
    assert asked(state, **changes) is Permission.REFUSED
    assert asked(state, ends_by_ms=10**15, **changes) is Permission.REFUSED


@pytest.mark.parametrize("state", [states.bound(), states.running()])
def test_a_worker_begins_only_if_it_ends_before_the_deadline(state: KeyState) -> None:
    """Less the margin for clocks: behind the deadline the next attempt may start."""
    assert state.run is not None
    last_ms = state.run.deadline_ms - MARGIN_MS
    assert asked(state, last_ms) in {Permission.GRANTED, Permission.AFTER_BINDING}
    assert asked(state, last_ms + 1) is Permission.OUT_OF_TIME


def test_an_effects_name_survives_attempts_but_not_generations() -> None:
    """A retry, a new attempt and another slice name the same effect; another step, event, key or generation doesn't."""
    place = position(1, "1")
    name = Task.from_payload(payload()).idempotency_key(place)
    again = payload(execution_id="y", run=HEADER | {"fence": 9, "attempt": 4, "first": position(1, "0"), "count": 3})
    assert Task.from_payload(again).idempotency_key(place) == name
    others = [
        Task.from_payload(payload(step="inventory")).idempotency_key(place),
        Task.from_payload(payload(run=HEADER | {"generation": 1})).idempotency_key(place),
        Task.from_payload(payload(run=HEADER | {"key": "l"})).idempotency_key(place),
        Task.from_payload(payload()).idempotency_key(position(1, "2")),
    ]
    assert len({name, *others}) == 5


def test_what_a_state_machine_adds_is_the_workers() -> None:
    """Such as the line that an iteration of a Map is about."""
    assert Task.from_payload(payload(line=3)).payload == {"line": 3}
    assert Task.from_payload(payload()).payload == {}


@pytest.mark.parametrize("left_out", ["step", "execution_id", "run", "events"])
def test_a_task_that_lacks_something_is_told_in_one_line(left_out: str) -> None:
    """With the field, and where to look."""
    broken = {name: value for name, value in payload().items() if name != left_out}
    with pytest.raises(KeyturnError, match=left_out) as told:
        Task.from_payload(broken)
    assert "\n" not in str(told.value)


@given(route=st.text(max_size=60), incarnation=st.integers(1, 9999), key=st.text(), fence=st.integers(1, 10**26))
def test_an_execution_name_is_one_that_aws_takes(route: str, incarnation: int, key: str, fence: int) -> None:
    """At most 80 characters, none but letters, digits, - and _, for any route, key and fence."""
    name = execution_name(route, incarnation, key, fence)
    assert re.fullmatch(r"[0-9A-Za-z_-]{1,80}", name)


@given(st.tuples(st.text(), st.integers(1, 99)), st.tuples(st.text(), st.integers(1, 99)))
def test_every_attempt_has_a_name_of_its_own(one: tuple[str, int], other: tuple[str, int]) -> None:
    """And the same attempt always the same."""
    names = [execution_name("order", 1, key, fence) for key, fence in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    assert len(key_hash(one[0])) == 26
