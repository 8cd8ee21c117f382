"""The report: it says what happened in words, and a broken promise can't be read over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from keyturn_cli.demo_report import Outcome, Times, check_sample, print_report
from keyturn_cli.evidence import LEDGER_FILE, SAMPLE_FILE, save_evidence
from keyturn_cli.facts import Facts
from keyturn_cli.guarantees import Effect, Fate, History, Place, Sent, fate
from keyturn_cli.metrics import percentile
from keyturn_cli.putter import Put
from keyturn_cli.records import Record
from keyturn_cli.report import what_no_check_saw, what_wants_a_person
from keyturn_cli.sample import Expected, sample_stream
from keyturn_cli.screen import Screen
from keyturn_cli.store import Quarantined
from rich.console import Console

from keyturn.core.positions import position

SAMPLE = sample_stream(events=600, keys=60)


def outcome() -> Outcome:
    """What a demo finds when everything goes right: one step an event, one event a millisecond."""
    puts, sent, effects, quarantined = [], [], [], []
    duplicates, parked, cursors = set(), {}, {}
    turns: dict[str, int] = defaultdict(int)
    for number, one in enumerate(SAMPLE.records, start=1):
        place = Place(one.key, position(1, str(number)))
        puts.append(Put(Record(one.key, one.data, number), str(number), "shard", number))
        sent.append(Sent(place=place, event_id=str(number), steps=frozenset({"a"}), line=number))
        match one.expected:
            case Expected.RUN:
                turns[one.key] += 1
                effects.append(_effect(place, number, turns[one.key]))
                cursors[one.key] = place.position
            case Expected.DUPLICATE:
                duplicates.add(place)
            case Expected.QUARANTINED:
                assert one.reason is not None
                quarantined.append(Quarantined(place, one.reason.value, ""))
            case Expected.PARKED:
                parked[one.key] = "used up"
    history = History(
        sent=tuple(sent),
        effects=tuple(effects),
        duplicates=frozenset(duplicates),
        quarantined={found.place: found.reason for found in quarantined},
        parked=parked,
        cursors=cursors,
        is_whole=True,
    )
    facts = Facts(history, {}, tuple(quarantined), (), repeated_tries=9)
    times = Times(processed_s=3.0, watchdog_every_s=2.0, watchdog_invoked=7)
    metrics = {"PutToDone": [1000.0, 2000.0], "Started": [300.0], "Restarted": [1.0, 2.0]}
    return Outcome(
        sample=SAMPLE, puts=tuple(puts), facts=facts, metrics=metrics, times=times, evidence=Path("somewhere")
    )


def _effect(place: Place, number: int, turn: int) -> Effect:
    return Effect(
        place=place, step="a", event_id=str(number), turn=turn, fence=turn, began_at_ms=number, ended_at_ms=number
    )


def _printed(found: Outcome) -> tuple[str, int]:
    sink = StringIO()
    broken = print_report(Screen(Console(file=sink, width=200, highlight=False, soft_wrap=True)), found)
    return sink.getvalue(), broken


def test_a_good_run_reads_as_one() -> None:
    """Counts, the reasons of quarantine, why keys are parked, times and their source, where to look."""
    text, broken = _printed(outcome())
    expected = SAMPLE.expectations
    assert broken == 0
    assert "Every promise held." in text
    assert "BROKEN" not in text
    for said in (
        f"600 records on {expected.keys} keys",
        f"{expected.run} events processed",
        f"{expected.duplicates} duplicates dropped",
        f"{sum(expected.quarantined.values())} bad records in quarantine",
        "2 keys parked",
        "p50 1.0 s, p99 2.0 s (sequencer's metric PutToDone",
        "invoked the deployed watchdog 7 times",
        LEDGER_FILE,
    ):
        assert said in text


def test_effects_that_nobody_knows_are_not_called_checked() -> None:
    """Workers of one's own write into no ledger of the sample's: else `push --wait` praises 0 effects of 0 events."""
    known = outcome().facts.history
    assert what_no_check_saw(known) is None
    unknown = replace(known, effects=(), sent=tuple(replace(sent, steps=frozenset()) for sent in known.sent))
    told = what_no_check_saw(unknown)
    assert told is not None
    assert f"Of {SAMPLE.expectations.run:,} events the effects weren't checked" in told


def test_what_was_kept_for_somebody_is_told_with_what_to_do() -> None:
    """Every promise holds of a file whose every event is parked or in quarantine, and yet nothing of it is done."""
    history = outcome().facts.history
    quarantined = sum(SAMPLE.expectations.quarantined.values())
    told = what_wants_a_person(history)
    assert told is not None
    assert f"{quarantined} quarantined" in told
    assert "parked" in told
    assert told.endswith("keyturn status")
    done = tuple(sent for sent in history.sent if fate(sent, history) is Fate.DONE)
    assert what_wants_a_person(replace(history, sent=done)) is None


def _lose(found: History) -> History:
    return replace(found, effects=found.effects[1:])


def _repeat(found: History) -> History:
    return replace(found, effects=(*found.effects, replace(found.effects[0], turn=99)))


def _swap(found: History) -> History:
    effects = list(found.effects)
    first = effects[0]
    later = next(at for at, effect in enumerate(effects) if at and effect.place.key == first.place.key)
    effects[0], effects[later] = replace(first, turn=effects[later].turn), replace(effects[later], turn=first.turn)
    return replace(found, effects=tuple(effects))


def _keep(found: History) -> History:
    return replace(found, quarantined=dict.fromkeys(found.quarantined, "other"))


@pytest.mark.parametrize("broken", [_lose, _repeat, _swap, _keep])
def test_a_broken_promise_cannot_be_read_over(broken: Callable[[History], History]) -> None:
    """It is marked, counted, and makes the demo fail."""
    good = outcome()
    text, count = _printed(replace(good, facts=replace(good.facts, history=broken(good.facts.history))))
    assert count >= 1
    assert "BROKEN" in text
    assert "Every promise held" not in text


def test_the_sample_is_matched_by_key_and_not_by_the_order_of_puts() -> None:
    """Keys go out side by side; only within a key do puts follow the sample's order."""
    good = outcome()
    shuffled = tuple(sorted(good.facts.history.sent, key=lambda sent: (sent.place.key[::-1], sent.place.position)))
    history = replace(good.facts.history, sent=shuffled)
    assert check_sample(replace(good, facts=replace(good.facts, history=history))).holds


def test_evidence_outlives_the_engine(tmp_path: Path) -> None:
    """The ledger by key and turn, and the sample's ordinary events, ready to be pushed."""
    folder = save_evidence(tmp_path / "demo", SAMPLE, outcome().facts)
    assert len((folder / LEDGER_FILE).read_text().splitlines()) == SAMPLE.expectations.run
    assert 0 < len((folder / SAMPLE_FILE).read_bytes().splitlines()) < SAMPLE.expectations.run


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.99, 4), (0.01, 1)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    """Nearest rank."""
    assert percentile([4, 1, 3, 2], share) == value
