"""When an execution may go on with its key's next run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.draining import RESERVE_MS, DrainingExecution
from keyturn.core.positions import Position
from keyturn.core.route import Kind
from keyturn.core.run_header import RunHeader
from keyturn.core.state import KeyState, Run, Slice

HEADER = RunHeader("k", 4, 1, 0, "r", "1", 1, 0, "f", 0, is_personal=False, release=7, machine="order-express")
TOLD = {"name": "n", "started_at": "2026-11-30T01:00:00.500Z", "timeout_s": 300}
BEGAN_MS = 1_796_000_400_500
RUN = Run(Slice(Position("2"), Position("2"), 1, "r", 0, "f"), 1, "order", Kind.EXPRESS, 0, 140_000, "other")
STATE = KeyState("k", release=7)
EXECUTION = DrainingExecution("n", "order-express", 7, 300_000)


def test_an_execution_tells_until_when_it_lasts() -> None:
    """Step Functions' own text for the time."""
    execution = DrainingExecution.from_payload({"execution": TOLD}, HEADER)
    assert execution == DrainingExecution("n", "order-express", 7, BEGAN_MS + 300_000)


@given(
    st.one_of(
        st.none(), st.text(), st.lists(st.integers()),
        st.fixed_dictionaries(
            {},
            optional={
                "name": st.text(),
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
