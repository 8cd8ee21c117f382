"""What `keyturn replay` takes and says, without a stack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import typer
from keyturn_cli.app import app
from keyturn_cli.errors import CliError
from keyturn_cli.moments import moment_ms
from keyturn_cli.replay import _keys_of
from keyturn_cli.replay_text import (
    act_lines,
    amiss_lines,
    as_json,
    held_line,
    is_amiss,
    plan_lines,
    progress_line,
    selected,
)
from typer.testing import CliRunner

from keyturn.adapters.price_list import load_prices
from keyturn.core.positions import Position
from keyturn.core.replay_job import Act, JobState, ReplayJob, Source
from keyturn.core.replay_plan import Fate, Outcome, PlannedKey, Selection, Tally

PRICES = load_prices("us-east-1")
NOW_MS = 1_764_036_000_000  # 2025-11-25T02:00:00Z
JOB = ReplayJob(
    "20251125-020000-ab12",
    JobState.PLANNED,
    Source.STREAM,
    Selection(from_ms=NOW_MS - 7_200_000, type="shop.order.*", outcome=Outcome.RETRIED),
    Act("sam", "a bad deploy", NOW_MS),
    is_new_generation=True,
    searched=5_000,
    found=3_100,
    tally=Tally(
        keys=3_000, events=3_100, spans=3_050, runs=3_100, steps_to_run=9_300, transitions=15_500, longest_runs=4,
        parked=2, held=1, unfinished=12,
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", NOW_MS - 7_200_000),
        ("90s", NOW_MS - 90_000),
        ("3d", NOW_MS - 3 * 86_400_000),
        ("2025-11-25T02:00:00Z", NOW_MS),
        ("2025-11-25T03:00:00+01:00", NOW_MS),
    ],
)
def test_a_time_is_a_moment_or_how_long_ago(text: str, expected: int) -> None:
    assert moment_ms(text, NOW_MS) == expected


@pytest.mark.parametrize("text", ["yesterday", "2025-11-25T02:00:00", "h", "2w"])
def test_what_is_no_time_or_names_no_zone_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment_ms(text, NOW_MS)


def test_a_plan_says_all_that_should_be_known_before_it_is_applied() -> None:
    told = "\n".join(plan_lines(JOB, max_in_flight_runs=300, prices=PRICES))
    for part in (
        "3,100 of 3,000 keys, 3,050 spans, about 3,100 runs",
        "9,300 would run, 0 would be skipped: all steps are done again",
        "15,500 of Standard workflows",
        "about 5 min, by the rate of 10 keys a second",
        "queue behind their key's replay",
        "2 keys are parked and would be refused: resume or skip them first",
        "1 keys are held",
        "12 selected events aren't finished: they run anyway",
        "the stream, read again from that time (5,000 looked at)",
    ):
        assert part in told


def test_a_replay_of_held_routes_says_why_it_stands_still() -> None:
    """A rewound key of a held route waits as any other: without this line it looks stuck."""
    told = held_line(["order-paid", "order-placed"])
    assert "order-paid, order-placed: nothing of them runs until released" in told


def test_a_selection_reads_as_it_was_asked_for() -> None:
    assert selected(JOB.selection) == "arrived since 2025-11-25 00:00:00 UTC, type shop.order.*, retried"
    position = Position("0001-" + "7" * 56 + "-000000")
    assert selected(Selection(named_keys=1, from_position=position)) == f"1 named key, from position {position}"


def test_progress_is_that_of_the_last_whole_pass_or_of_the_first_one_so_far() -> None:
    applying = replace(JOB, state=JobState.APPLYING, passing={Fate.APPLIED: 7})
    assert progress_line(applying) == "applying: 7 applied of 3,000 keys"
    later = replace(applying, counts={Fate.APPLIED: 1_000, Fate.DONE: 1_999, Fate.REFUSED: 1})
    assert progress_line(later) == "applying: 1,000 applied, 1,999 done, 1 refused of 3,000 keys"
    planning = replace(JOB, state=JobState.PLANNING)
    assert progress_line(planning) == "planning: looked at 5,000, 3,100 keys found, 3,000 with events to replay"


def test_what_went_amiss_is_shown_with_why_and_all_of_it_is_in_the_json() -> None:
    keys = [PlannedKey(f"k{number}", Fate.REFUSED, why="it is held") for number in range(25)]
    assert all(map(is_amiss, keys))
    assert not is_amiss(PlannedKey("k", Fate.DONE))
    lines = list(amiss_lines(JOB, keys))
    assert lines[0].split() == ["refused", "'k0':", "it", "is", "held"]
    assert lines[-1] == "  and 5 more: --output json lists all"
    assert len(as_json(JOB, keys, 3, PRICES)["amiss"]) == 25


def test_a_parked_key_whose_replay_is_not_whole_says_how_it_goes_on() -> None:
    """Its later rewinds begin by themselves only while the replay is at work."""
    parked = PlannedKey("k", Fate.PARKED, chunks=3, chunk=1, why="no such card")
    whole = replace(parked, chunk=2)
    over = replace(JOB, state=JobState.DONE)
    *_, told = amiss_lines(over, [parked, whole])
    assert "1 of the parked have more spans" in told
    assert f"keyturn replay apply {JOB.id}" in told
    assert len(list(amiss_lines(over, [whole]))) == 1
    assert len(list(amiss_lines(replace(over, state=JobState.APPLYING), [parked]))) == 1
    assert [one["rewinds_left"] for one in as_json(over, [parked, whole], 3, PRICES)["amiss"]] == [1, 0]


def test_who_did_what_is_told() -> None:
    applied = replace(JOB, applied=Act("kim", "go", NOW_MS))
    assert [line.split()[0] for line in act_lines(applied)] == ["planned", "applied"]
    assert "by kim: go" in list(act_lines(applied))[1]


def test_a_file_of_keys_is_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("order-1\n\n order 2 \r\norder-3", encoding="utf-8")
    assert _keys_of(file) == ["order-1", " order 2 ", "order-3"]
    file.write_text("\n\n", encoding="utf-8")
    with pytest.raises(CliError, match="names no key"):
        _keys_of(file)
    with pytest.raises(CliError, match="can't be read"):
        _keys_of(tmp_path / "missing.txt")


@pytest.mark.parametrize("command", ["plan", "apply", "cancel", "status", "list"])
def test_every_commands_help_has_an_example(command: str) -> None:
    told = CliRunner().invoke(app, ["replay", command, "--help"])
    assert told.exit_code == 0
    assert f"keyturn replay {command}" in told.output


@pytest.mark.parametrize("arguments", [["plan", "--rate", "0"], ["plan", "--outcome", "lost"], ["apply"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["replay", *arguments]).exit_code == 2
