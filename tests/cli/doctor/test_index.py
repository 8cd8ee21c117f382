"""The index against the key states: on a table with keys in every phase, then with one thing wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from keyturn_cli.doctor import index
from keyturn_cli.doctor.finding import Verdict
from keyturn_cli.doctor.index import check_index

from keyturn.adapters.table import encode_item
from keyturn.core.commands import Admit, Next
from keyturn.core.positions import position
from keyturn.core.protocol import Rules, transition
from keyturn.core.route import Route
from keyturn.core.state import Hold, KeyState, Parked, Phase, Slice, WaitsFor
from tests.cli.doctor.patient import NOW_MS, Patient
from tests.core.states import ROUTE

MINUTE_MS = 60_000
PLACE = position(1, "1")


def admitted(key: str, at_ms: int, *, has_slot: bool, route: Route = ROUTE) -> KeyState:
    """A key that got its first event then."""
    part = Slice(PLACE, PLACE, 1, route.name, at_ms, "f" * 32)
    return transition(KeyState(key), Admit(PLACE, 1, at_ms, Next(part, route, has_slot)), at_ms, Rules()).state


def parked(key: str) -> KeyState:
    waiting = admitted(key, NOW_MS, has_slot=False)
    return replace(waiting, phase=Phase.PARKED, waits_for=None, waiting_since_ms=0, parked=Parked(NOW_MS, "used up"))


def held(key: str, route: str) -> KeyState:
    return replace(admitted(key, NOW_MS, has_slot=False), waits_for=WaitsFor.RELEASE, held_route=route)


@pytest.fixture
def busy(patient: Patient) -> Patient:
    """Keys in every phase."""
    for state in (
        admitted("running", NOW_MS, has_slot=True),
        admitted("waiting", NOW_MS, has_slot=False),
        parked("parked"),
        replace(KeyState("held"), hold=Hold(NOW_MS, "sam", "looking")),
        replace(admitted("idle", NOW_MS, has_slot=True), phase=Phase.IDLE, run=None, cursor=PLACE, pending_since_ms=0),
    ):
        patient.keys.save(state)
    return patient


def change(patient: Patient, key: str, **attributes: object) -> None:
    """Write to a key's item as nobody should."""
    place = {"pk": f"key#{key}", "sk": "state"}
    item = patient.table.get(**place) or place
    patient.table.client.put_item(TableName=patient.table.name, Item=encode_item({**item, **attributes}))


def test_keys_at_work_agree_with_the_index(busy: Patient) -> None:
    """Whatever they do; --thorough looks at idle ones too."""
    found = busy.findings(check_index, is_thorough=True)
    assert {finding.verdict for finding in found.values()} == {Verdict.OK}, found
    assert found["index agrees with key states"].told.startswith("4 of 4 entries")
    assert found["no key is forgotten"].told.startswith("all 5 key states")


@pytest.mark.parametrize(
    ("key", "attributes", "told"),
    [
        ("waiting", {"due_bucket": "running#0"}, "'waiting' stands in running#0"),
        ("waiting", {"due_at": 5}, "'waiting' stands in waiting#"),
        ("running", {"due_at": NOW_MS}, "'running' stands in running#"),
        ("running", {"phase": "idle", "run": None}, "'running' is idle with pending events (a lost wake-up)"),
        ("ghost", {"due_bucket": "waiting#0", "due_at": 5}, "'ghost' is in the index without a key state"),
    ],
)
def test_an_entry_that_contradicts_its_key_is_named(
    busy: Patient, key: str, attributes: dict[str, object], told: str
) -> None:
    """Both stand in one item, so only a hand or a bug can set them apart."""
    change(busy, key, **attributes)
    finding = busy.findings(check_index)["index agrees with key states"]
    assert finding.verdict is Verdict.FAILED
    assert told in finding.told
    assert finding.todo


def test_open_items_stand_in_the_index_until_they_are_closed(busy: Patient) -> None:
    """Quarantined records and dead letters share it with the keys."""
    entry = {"pk": "quarantine#2026-01-05", "sk": "shard#1", "due_bucket": "quarantine#1", "due_at": NOW_MS}
    busy.table.put_many([entry])
    assert busy.findings(check_index)["index agrees with key states"].told.startswith("5 of 5")
    busy.table.put_many([entry | {"closed": {"how": "discarded"}}])
    finding = busy.findings(check_index)["index agrees with key states"]
    assert finding.verdict is Verdict.FAILED
    assert "quarantine#2026-01-05/shard#1 stands in quarantine#1, it isn't open there" in finding.told


def test_a_key_that_fell_out_of_the_index_is_found_by_a_thorough_look(busy: Patient) -> None:
    """The one thing that the index itself can't show."""
    change(busy, "waiting", due_bucket=None, due_at=None)
    assert {finding.verdict for finding in busy.findings(check_index).values()} == {Verdict.OK}
    finding = busy.findings(check_index, is_thorough=True)["no key is forgotten"]
    assert finding.verdict is Verdict.FAILED
    assert "1 of 5 keys: 'waiting' stands in nowhere" in finding.told


def test_entries_beyond_the_buckets_are_found(busy: Patient) -> None:
    """After IndexBuckets was lowered, nobody looks there."""
    replace(busy.keys, index_buckets=100).save(admitted("beyond", NOW_MS, has_slot=False))
    finding = busy.findings(check_index)["index within its buckets"]
    assert finding.verdict is Verdict.FAILED
    assert "1 keys stand in waiting#" in finding.told
    assert "former IndexBuckets" in finding.todo


@pytest.mark.parametrize(
    ("control", "verdict"),
    [
        (None, Verdict.FAILED),
        ({"sk": "hold#route#orders", "status": "held"}, Verdict.OK),
        ({"sk": "hold#route#orders", "status": "releasing"}, Verdict.OK),
        ({"sk": "hold#everything", "status": "held"}, Verdict.OK),
        ({"sk": "hold#route#orders", "is_held": True}, Verdict.OK),
        ({"sk": "hold#route#orders", "is_held": False}, Verdict.FAILED),
        ({"sk": "ramp#orders"}, Verdict.OK),
        ({"sk": "breaker#card", "phase": "open"}, Verdict.OK),
        ({"sk": "breaker#card", "phase": "closed"}, Verdict.FAILED),
        ({"sk": "hold#route#others", "status": "held"}, Verdict.FAILED),
    ],
)
def test_keys_that_wait_for_a_route_that_nobody_holds_are_found(
    busy: Patient, control: dict[str, object] | None, verdict: Verdict
) -> None:
    """No release will ever come for them."""
    busy.keys.save(held("forgotten", "orders"))
    if control:
        busy.table.put_many([{"pk": "control", **control}])
    finding = busy.findings(check_index)["keys wait for held routes only"]
    assert finding.verdict is verdict
    assert verdict is Verdict.OK or "1 for orders" in finding.told


def test_a_run_that_nobody_ends_is_found(busy: Patient) -> None:
    """The watchdog comes each minute."""
    overdue_ms = NOW_MS - 10 * MINUTE_MS - ROUTE.run_timeout_s * 1_000
    busy.keys.save(admitted("stuck", overdue_ms, has_slot=True))
    finding = busy.findings(check_index)["nothing is overdue"]
    assert finding.verdict is Verdict.FAILED
    assert "1 keys or more, the longest for" in finding.told
    assert "'stuck'" in finding.told


def test_a_key_that_waits_beside_a_free_slot_is_found(busy: Patient) -> None:
    """Looked at three times: between two runs a slot is free for a moment."""
    busy.keys.save(admitted("hungry", NOW_MS - 2 * MINUTE_MS, has_slot=False))
    finding = busy.findings(check_index)["free slots are taken"]
    assert (finding.verdict, busy.waited_s) == (Verdict.FAILED, 2.0)
    assert "1 of 3 runs in flight, and 'hungry' wait" in finding.told


def test_a_key_may_wait_while_no_slot_is_free(busy: Patient) -> None:
    busy.keys.save(admitted("hungry", NOW_MS - 2 * MINUTE_MS, has_slot=False))
    for number in range(2):
        busy.keys.save(admitted(f"runs too {number}", NOW_MS, has_slot=True))
    assert busy.findings(check_index)["free slots are taken"].verdict is Verdict.OK


def test_a_large_index_is_read_in_part(busy: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says so; --thorough reads it whole."""
    monkeypatch.setattr(index, "ENTRIES_MAX", 2)
    assert "of the first 2 entries" in busy.findings(check_index)["index agrees with key states"].told
    assert "4 of 4" in busy.findings(check_index, is_thorough=True)["index agrees with key states"].told
