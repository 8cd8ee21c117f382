"""Figures of runs, their medians, and the tables, plots and page made of them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import report
from bench.contender import Outcome
from bench.errors import BenchError
from bench.measurement import Measurement, Results, Usage, beside, done_at_ms, merged, percentile, summarize
from bench.order import Effect
from bench.page import PAGE, drawings, filled, write_page
from bench.plots import nice_step
from bench.runner import measured, rotated
from bench.workload import BESIDE, STEPS, BenchEvent, Workload

PROJECT = Path(__file__).parents[2]


def _measurement(contender: str, speed: float, number: int = 1, workload: str = "spread") -> Measurement:
    return Measurement(
        contender=contender,
        workload=workload,
        events=100,
        keys=1 if workload == "keys-1" else 50,
        round=number,
        events_per_s=speed,
        p50_ms=10 * speed,
        p99_ms=20 * speed,
        cpu_s=2.0,
        order="every event",
    )


def _results() -> Results:
    runs = [_measurement("naive-unordered", speed, number) for number, speed in enumerate((100.0, 50.0, 80.0), start=1)]
    runs += [_measurement("keyturn-strict", speed, number) for number, speed in enumerate((70.0, 40.0, 64.0), start=1)]
    runs += [_measurement("keyturn-strict", 12.0, workload="keys-1")]
    runs += [_measurement("keyturn-strict", 50.0, workload=BESIDE.without_busy_key().name)]
    runs += [_measurement("keyturn-strict", 75.0, workload=BESIDE.name)]
    used = Usage(
        contender="keyturn-strict",
        workload="spread",
        events=100,
        keys=50,
        write_units=9.5,
        read_units=5.0,
        transitions=0.0,
        express_starts=1.0,
        invocations=4.0,
        log_bytes=700.0,
        dollars_per_million=9.0,
    )
    return Results({"machine": "a machine"}, tuple(runs), (used,), {"dbos": "no PostgreSQL here"})


@given(st.lists(st.integers(-1_000, 1_000), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_so_many_do_not_pass(values: list[int], share: float) -> None:
    """By the nearest rank: at least the share is at or below it, and less is below it."""
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert sum(value < found for value in values) < share * len(values) + 1e-6


def test_an_event_is_done_with_its_last_effect() -> None:
    """One that lacks a step is not done."""
    ends_ms = zip(STEPS, (5, 9, 7), strict=True)
    effects = [Effect("k", turn, 0, step, at_ms) for turn, (step, at_ms) in enumerate(ends_ms)]
    assert done_at_ms([*effects, Effect("k", 4, 1, STEPS[0], 8)]) == {("k", 0): 9}


def test_a_runs_figures_go_from_the_first_put_to_the_last_effect() -> None:
    """Speed over the whole run; waits from each event's own put."""
    sent = [BenchEvent("k", number, f"k/{number}", b"") for number in (0, 1)]
    effects = [Effect("k", 3 * number, number, step, 1_000 + 500 * number) for number in (0, 1) for step in STEPS]
    found = measured("dbos", Workload("hot", 2, 1), 1, sent, Outcome({"k/0": 500, "k/1": 600}, effects, 0.5))
    assert found.events_per_s == pytest.approx(2.0)
    assert (found.p50_ms, found.p99_ms) == (500, 900)


def test_ratios_are_taken_within_a_round_and_then_their_median() -> None:
    """A machine that is slower in one round doesn't move them."""
    runs = [_measurement("keyturn-strict", speed, number) for number, speed in enumerate((70.0, 40.0, 64.0), start=1)]
    found = summarize(runs, {1: 100.0, 2: 50.0, 3: 80.0})
    assert (found.events_per_s, found.slowest, found.fastest) == (64.0, 40.0, 70.0)
    assert found.ratio == pytest.approx(0.8)
    assert found.cpu_ms_per_event == 20.0


def test_no_run_of_a_broken_order_hides_behind_the_others() -> None:
    """The worst verdict of the runs is shown."""
    runs = [_measurement("naive-unordered", 1.0)]
    worse = replace(runs[0], order="no: 2 out")
    assert summarize([*runs, worse], {}).order == "no: 2 out"


def test_beside_a_busy_key_only_the_others_waits_are_told() -> None:
    """Its own events wait for each other, as they must; they count as work that was done."""
    sent = [BenchEvent("busy", 0, "busy/0", b"", is_busy=True), BenchEvent("k", 0, "k/0", b"")]
    ends_ms = {"busy": 9_000, "k": 2_000}
    effects = [Effect(key, turn, 0, step, ends_ms[key]) for key in ends_ms for turn, step in enumerate(STEPS)]
    found = measured("keyturn-strict", BESIDE, 1, sent, Outcome({"busy/0": 1_000, "k/0": 1_500}, effects, 0.5))
    assert (found.p50_ms, found.p99_ms) == (500, 500)
    assert found.events_per_s == pytest.approx(2 / 8)


def test_a_busy_keys_harm_is_told_within_rounds() -> None:
    """A round that lacks one of both runs tells nothing."""
    alone = [replace(_measurement("keyturn-strict", 1.0, number), p99_ms=p99) for number, p99 in ((1, 10.0), (2, 20.0))]
    with_busy = [replace(alone[0], p99_ms=15.0), replace(alone[1], p99_ms=60.0), replace(alone[1], round=3)]
    found = beside(alone, with_busy)
    assert found is not None
    assert (found.p99_alone_ms, found.p99_ms, found.p99_ratio) == (15.0, 37.5, 2.25)
    assert beside(alone, []) is None


def test_rounds_begin_with_different_contenders() -> None:
    """So that none always has the freshest engine."""
    assert [rotated("abc", by) for by in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_tables_hold_medians_ratios_and_who_is_missing() -> None:
    """In Markdown."""
    text = report.report(_results())
    row = next(line for line in text.splitlines() if line.startswith("| keyturn-strict"))
    assert [cell.strip() for cell in row.split("|")[1:4]] == ["keyturn-strict", "64 (40 to 70)", "0.80"]
    assert "- dbos: no PostgreSQL here" in text
    assert "100 events on 50 keys" in text
    (waits,) = (line for line in report.beside(_results()).splitlines() if line.startswith("| keyturn-strict"))
    assert [cell.strip() for cell in waits.split("|")[2:-1]] == ["0.50 s", "0.75 s", "1.00 s", "1.50 s", "1.50"]
    assert waits in text
    assert BESIDE.name not in report.throughput(_results())


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    """So that the page can be written again."""
    _results().write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == _results()


def test_newer_results_take_the_place_of_older_ones() -> None:
    """Of the same contender and workload; a long bench may be done in parts."""
    newer = Results({"machine": "another"}, (_measurement("naive-unordered", 7.0),), (), {})
    both = merged(_results(), newer)
    speeds = [one.events_per_s for one in both.measurements if one.contender == "naive-unordered"]
    assert speeds == [7.0]
    assert len(both.measurements) == len(_results().measurements) - 3 + 1
    assert both.usage == _results().usage


def test_plots_are_well_formed() -> None:
    """One for each workload that was run, and the curve."""
    drawn = drawings(_results())
    assert set(drawn) == {"spread.svg", "curve.svg"}
    for drawing in drawn.values():
        assert ET.fromstring(drawing).tag.endswith("svg")  # noqa: S314  our own drawing


@given(st.floats(0.001, 1e7))
def test_an_axis_has_few_round_steps(highest: float) -> None:
    """Three to eight."""
    assert 2 <= highest / nice_step(highest) <= 8


def test_the_page_takes_results_between_its_markers(tmp_path: Path) -> None:
    """The rest of it stays, and a second time changes nothing."""
    page = tmp_path / PAGE
    page.parent.mkdir()
    page.write_bytes((PROJECT / PAGE).read_bytes())
    write_page(tmp_path, _results())
    first = page.read_text(encoding="utf-8")
    assert "64 (40 to 70)" in first
    write_page(tmp_path, _results())
    assert page.read_text(encoding="utf-8") == first


def test_a_page_without_markers_is_refused() -> None:
    """Rather than left as it is."""
    with pytest.raises(BenchError, match="bench: curve"):
        filled("# Performance\n", {"curve": "a table"})
