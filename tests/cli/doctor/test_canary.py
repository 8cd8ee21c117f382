"""The canary: how far it came tells where to look."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from keyturn_cli.doctor.canary import check_canary
from keyturn_cli.doctor.finding import Finding, Verdict

from keyturn.adapters.controls import Controls, RouteOperation
from keyturn.adapters.log import EventLog
from keyturn.adapters.process import now_ms
from keyturn.adapters.schemas import load_routes
from keyturn.adapters.steps import StepStore
from keyturn.core.canary import CANARY, CANARY_KEY
from keyturn.core.commands import Admit, Bind, Ending, Finish, Next, Outcome
from keyturn.core.log_entry import LogEntry
from keyturn.core.positions import position
from keyturn.core.protocol import Rules, transition
from keyturn.core.route_hold import RouteHold
from keyturn.core.state import Hold, KeyState, Parked, Phase, Slice, WaitsFor
from tests.adapters.results import results
from tests.cli.doctor.patient import NOW_MS, Patient

PLACE = position(1, "1")
ADMITTED_MS, BEGAN_MS, ENDED_MS = NOW_MS + 200, NOW_MS + 500, NOW_MS + 510


def admitted(*, has_slot: bool = True) -> KeyState:
    part = Slice(PLACE, PLACE, 1, CANARY.name, NOW_MS, "f" * 32)
    command = Admit(PLACE, 1, NOW_MS, Next(part, CANARY, has_slot))
    return transition(KeyState(CANARY_KEY), command, ADMITTED_MS, Rules()).state


def bound() -> KeyState:
    state = admitted()
    return transition(state, Bind(state.fence, "execution"), BEGAN_MS, Rules()).state


def finished() -> KeyState:
    state = bound()
    ending = Ending(Outcome.SUCCEEDED, clean=True)
    return transition(state, Finish(state.fence, "execution", ending, CANARY, None), ENDED_MS, Rules()).state


def step_done(patient: Patient) -> None:
    done = results([PLACE], "canary", began_ms=BEGAN_MS, ended_ms=ENDED_MS)
    StepStore(patient.table, 86_400).store(CANARY_KEY, done)


def in_log(patient: Patient) -> None:
    entry = LogEntry(PLACE, CANARY.type, "f" * 32, NOW_MS, b"{}")
    EventLog(patient.table, 86_400).write([(CANARY_KEY, entry)], ADMITTED_MS)


def canary(patient: Patient, **options: Any) -> Finding:
    return patient.findings(check_canary, **options)["canary"]


def test_a_canary_that_comes_through_tells_where_its_time_went(patient: Patient) -> None:
    """From what the stack itself noted down."""
    step_done(patient)
    patient.keys.save(finished())
    found = canary(patient)
    assert found.verdict is Verdict.OK
    assert "step 0.0 s" in found.told
    (put,) = patient.puts
    event = json.loads(put["Data"])
    assert (put["PartitionKey"], event["type"], event["subject"]) == (CANARY_KEY, CANARY.type, CANARY_KEY)
    assert load_routes().for_type(event["type"]) == CANARY


def test_each_part_of_the_way_is_told(patient: Patient) -> None:
    """Seen on its way: claimed 0.2 s after it was put, begun 0.3 s later, done when it was last looked at."""
    in_log(patient)
    patient.keys.save(bound())
    examined, over = patient.examination(), replace(finished(), version=1)
    steps: list[Callable[[], object]] = [
        lambda: None,
        lambda: step_done(patient),
        lambda: patient.keys.save(over),
    ]

    def wait(duration_s: float) -> None:
        patient.now_ms += int(duration_s * 5_000)
        steps.pop(0)()

    (found,) = check_canary(replace(examined, sleep=wait))
    assert found.told == "through in 1.5 s: put to admitted 0.2 s, to its step 0.3 s, step 0.0 s, to done 1.0 s"


def held_route(patient: Patient) -> None:
    state = admitted(has_slot=False)
    patient.keys.save(replace(state, waits_for=WaitsFor.RELEASE, held_route=CANARY.name))


def held_key(patient: Patient) -> None:
    state = replace(admitted(has_slot=False), waits_for=WaitsFor.RELEASE)
    patient.keys.save(replace(state, hold=Hold(NOW_MS, "sam", "looking")))


def parked(patient: Patient) -> None:
    state = replace(admitted(has_slot=False), waits_for=None, waiting_since_ms=0)
    patient.keys.save(replace(state, phase=Phase.PARKED, parked=Parked(NOW_MS, "used up")))


def retried(patient: Patient) -> None:
    patient.keys.save(replace(admitted(has_slot=False), waits_for=WaitsFor.TIME, not_before_ms=NOW_MS + 10**6))


def in_quarantine(patient: Patient) -> None:
    patient.now_ms = now_ms()  # days are counted up to today's
    item = {"pk": f"quarantine#{datetime.now(UTC).date()}", "sk": f"shardId-000000000000#{PLACE}", "key": CANARY_KEY}
    patient.table.put_many([item | {"reason": "unknown_type", "detail": ""}])


def step_only(patient: Patient) -> None:
    patient.keys.save(bound())
    step_done(patient)


@pytest.mark.parametrize(
    ("stop", "told", "todo"),
    [
        (lambda _: None, "after 5 s nobody has read it from the stream", "dispatcher's log"),
        (in_quarantine, "it went to quarantine: unknown_type", "deploy again"),
        (lambda patient: patient.keys.save(admitted(has_slot=False)), "it waits for a slot", "MaxInFlightRuns"),
        (held_route, "after 5 s it waits for a release, though nobody holds it any more", "watchdog's log"),
        (retried, "an attempt at it failed, and it waits for the next one", "log of canary"),
        (parked, "its key is parked: used up", 'keyturn skip "keyturn/canary"'),
        (lambda patient: patient.keys.save(admitted()), "its execution has not begun its step", "Lambda's concurrency"),
        (lambda patient: patient.keys.save(bound()), "after 5 s its step is not done", "log of canary"),
        (step_only, "its step is done, its run is not finished", "log of sequencer"),
        (lambda patient: patient.keys.save(finished()), "it was given up", "log of canary"),
    ],
)
def test_a_canary_that_is_stuck_tells_where(
    patient: Patient, stop: Callable[[Patient], object], told: str, todo: str
) -> None:
    """Within its limit, not longer."""
    stop(patient)
    found = canary(patient, limit_s=5)
    assert found.verdict is Verdict.FAILED
    assert told in found.told
    assert todo in found.todo
    assert patient.waited_s <= 5.1


def hold(patient: Patient, route: str, *, is_held: bool = True) -> None:
    held = RouteHold(route, is_held=True, by="ana", reason="a bad deploy", at_ms=NOW_MS)
    controls = Controls(patient.table, 86_400)
    controls.hold(held, RouteOperation("Hold", route, "ana", "a bad deploy", NOW_MS))
    if not is_held:
        released = replace(held, is_held=False, at_ms=NOW_MS + 1)
        controls.release(held, released, RouteOperation("Release", route, "ana", "mended", NOW_MS + 1))


@pytest.mark.parametrize(
    ("stop", "told", "todo"),
    [
        (lambda patient: hold(patient, ""), "everything is held by ana since 08:00:00 UTC (just now)", "--everything"),
        (lambda patient: hold(patient, CANARY.name), "its route is held by ana", f"--route {CANARY.name}"),
        (held_key, "its key is held by sam", f"{CANARY_KEY} --reason"),
    ],
)
def test_a_canary_that_is_held_is_a_warning_at_once_and_not_sent(
    patient: Patient, stop: Callable[[Patient], object], told: str, todo: str
) -> None:
    """Nothing is broken, and an event more would only wait."""
    stop(patient)
    found = canary(patient)
    assert (found.verdict, patient.waited_s, patient.puts) == (Verdict.WARNING, 0, [])
    assert told in found.told
    assert found.todo.startswith(f"release to test: keyturn release {todo}")


def test_a_hold_that_comes_while_the_canary_is_under_way_is_told_at_once(patient: Patient) -> None:
    def wait(_duration_s: float) -> None:
        held_route(patient)
        hold(patient, "")

    (found,) = check_canary(replace(patient.examination(), sleep=wait))
    assert (found.verdict, "everything is held by ana" in found.told) == (Verdict.WARNING, True)


def test_a_hold_that_was_released_holds_no_canary(patient: Patient) -> None:
    hold(patient, "", is_held=False)
    step_done(patient)
    patient.keys.save(finished())
    assert canary(patient).verdict is Verdict.OK


def test_no_event_is_sent_when_none_is_wanted(patient: Patient) -> None:
    assert canary(patient, is_with_canary=False).verdict is Verdict.NOT_CHECKED
    assert patient.puts == []
