"""What drills say, and that each part of a verdict can be a bad one. They run for real in tests/endtoend."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any, cast

import pytest
from keyturn_cli.app import app
from keyturn_cli.drills import running
from keyturn_cli.drills.attempts import attempts_add_up
from keyturn_cli.drills.catalogue import DRILLS
from keyturn_cli.drills.drill import Drill, Ended, NotHere, Result
from keyturn_cli.drills.ground import Ground
from keyturn_cli.drills.report import as_json, print_result, print_sum
from keyturn_cli.drills.running import check_fates, check_keys, check_stack, run_drills
from keyturn_cli.drills.standing import StackStanding
from keyturn_cli.errors import NotDone, NotFound
from keyturn_cli.facts import Facts
from keyturn_cli.guarantees import Fate, History, Place, Sent
from keyturn_cli.report import Check
from keyturn_cli.screen import Screen
from keyturn_cli.store import Attempt
from keyturn_cli.target import Target
from keyturn_local.settings import LocalSettings
from rich.console import Console
from typer.testing import CliRunner

from keyturn.core.state import KeyState, Phase
from tests.cli.fakes import state

PLACE = Place("drill-0", "0001-1-000000")
STANDING = StackStanding({"watchdog": "ENABLED"}, 2, (), 0, {})
DRILL = Drill(name="nothing", does="Nothing.", promises="Nothing.", inject=lambda _ground: None)


def facts(*states: KeyState, **more: Any) -> Facts:
    """What became of one record that was put."""
    sent = Sent(place=PLACE, steps=frozenset({"payment"}))
    return Facts(History(sent=(sent,), effects=(), **more), {one.key: one for one in states}, (), (), 0)


def asking(fate: Fate) -> Ground:
    """A ground that asked for one record."""
    ground = Ground.__new__(Ground)
    ground.asked = {PLACE: fate}
    return ground


def drawn(result: Result) -> str:
    """What a person reads."""
    console = Console(file=io.StringIO(), width=200, highlight=False)
    print_result(Screen(console), result)
    return cast(io.StringIO, console.file).getvalue()


def test_a_record_that_ends_otherwise_than_meant_fails_its_drill() -> None:
    """Lost, or quarantined for another's sake."""
    parked = facts(quarantined={PLACE: "empty"})
    assert check_fates(asking(Fate.QUARANTINED), parked).holds
    assert not check_fates(asking(Fate.DONE), parked).holds
    assert "is lost, not done" in check_fates(asking(Fate.DONE), facts()).lines[0]


def test_a_key_that_is_not_drained_fails_its_drill() -> None:
    """Running, with something pending, or in a state that the protocol never makes."""
    assert check_keys(facts(state("k", cursor=1, tail=1))).holds
    assert not check_keys(facts(state("k", phase=Phase.PARKED, cursor=1, tail=2))).holds
    assert not check_keys(facts(state("k", cursor=1, tail=2))).holds
    assert not check_keys(facts(replace(state("k", cursor=2, tail=2), tail=state("k", tail=1).tail))).holds


def test_a_run_that_was_started_twice_fails_its_drill() -> None:
    """An attempt more than there are events needs a record of one that failed."""
    key = replace(state("k", cursor=2, tail=2), fence=3)
    failed, done = Attempt("k", "failed", "timed out"), Attempt("k", "succeeded", "")
    assert attempts_add_up(replace(facts(key), attempts=(failed, done)), 2).holds
    assert not attempts_add_up(replace(facts(key), attempts=(done,)), 2).holds
    assert not attempts_add_up(replace(facts(key), attempts=(failed,)), 3).holds


@pytest.mark.parametrize(
    "after",
    [
        replace(STANDING, schedules={"watchdog": "DISABLED"}),
        replace(STANDING, open_shards=3),
        replace(STANDING, holds=("route order-paid",)),
        replace(STANDING, release=1),
        replace(STANDING, endpoints={"sequencer": "http://127.0.0.1:1"}),
    ],
)
def test_a_stack_that_is_not_as_before_fails_its_drill(after: StackStanding) -> None:
    """Whatever a drill changes it must put back."""
    assert check_stack(STANDING, STANDING).holds
    assert not check_stack(STANDING, after).holds


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Target:
    """A stack on AWS that nobody may reach: what a drill finds there is told to it."""
    monkeypatch.setattr(running, "stack_standing", lambda _target: STANDING)
    monkeypatch.setattr("keyturn_cli.drills.ground.Store.of", lambda _target: None)
    monkeypatch.setattr(Ground, "facts", lambda _ground: facts())
    return cast(Target, type("OnAws", (), {"is_local": False}))


def ran(drill: Drill, stack: Target, settings: LocalSettings) -> Result:
    (result,) = run_drills([drill], stack, settings)
    return result


@pytest.fixture
def settings(tmp_path: Any) -> LocalSettings:
    return LocalSettings(root=tmp_path)


def test_what_only_runs_locally_is_skipped_on_aws_with_its_reason(stack: Target, settings: LocalSettings) -> None:
    """And nothing is injected."""

    def inject(_ground: Ground) -> None:
        raise AssertionError("it was injected")

    result = ran(replace(DRILL, inject=inject, local_only="it kills a process"), stack, settings)
    assert (result.ended, drawn(result)) == (Ended.SKIPPED, "nothing  skipped: it kills a process\n")


def test_a_drill_may_find_that_it_does_not_fit_a_stack(stack: Target, settings: LocalSettings) -> None:
    """It says so, and isn't counted as failed."""

    def inject(_ground: Ground) -> None:
        raise NotHere("its stream scales on demand")

    result = ran(replace(DRILL, inject=inject), stack, settings)
    assert (result.ended, result.reason) == (Ended.SKIPPED, "its stream scales on demand")


def test_a_condition_that_never_comes_fails_its_drill_with_what_is_missing(
    stack: Target, settings: LocalSettings
) -> None:
    """After the drill's limit, in a line."""
    result = ran(replace(DRILL, wait=lambda _ground: "k waits", limit_s=0), stack, settings)
    assert (result.ended, result.reason) == (Ended.FAILED, "after 0 s: k waits")


def test_a_broken_check_fails_its_drill_with_the_evidence(stack: Target, settings: LocalSettings) -> None:
    """Here the one record that was put never had an effect."""
    result = ran(DRILL, stack, settings)
    assert result.ended is Ended.FAILED
    assert "BROKEN  nothing lost" in drawn(result)
    assert "lacks payment" in drawn(result)


def test_what_a_drill_entered_is_left_however_it_ends(stack: Target, settings: LocalSettings) -> None:
    """A proxy, an outage or a watchdog that was sent away lasts as long as its drill only."""
    left: list[str] = []

    def inject(ground: Ground) -> None:
        ground.keeping.callback(left.append, "left")
        raise NotDone("the breaker never opened")

    assert ran(replace(DRILL, inject=inject), stack, settings).ended is Ended.FAILED
    assert left == ["left"]


def test_a_result_reads_the_same_for_programs() -> None:
    """Names, evidence, and how it ended."""
    result = Result(
        drill=DRILL, ended=Ended.PASSED, took_s=1.25, checks=(Check("order", True, ("3 effects",)),), seen=("x",)
    )
    told = json.loads(json.dumps(as_json(result)))
    assert (told["drill"], told["result"], told["seen"]) == ("nothing", "passed", ["x"])
    assert told["checks"] == [{"title": "order", "holds": True, "evidence": ["3 effects"]}]


def test_the_sum_names_the_drills_that_failed() -> None:
    console = Console(file=io.StringIO(), width=200)
    results = [Result(drill=DRILL, ended=ended, took_s=1) for ended in (Ended.PASSED, Ended.FAILED)]
    print_sum(Screen(console), results)
    assert cast(io.StringIO, console.file).getvalue() == "2 drills: 1 passed, 1 failed (nothing), 2 s\n"


@pytest.fixture(params=["text", "json"])
def listed(request: pytest.FixtureRequest) -> str:
    """What `keyturn drill --list` prints."""
    done = CliRunner().invoke(app, ["drill", "--list", "--output", request.param])
    assert done.exit_code == 0
    return done.stdout


def test_the_list_says_what_each_drill_does_and_runs_none(listed: str) -> None:
    """Without a stack."""
    for drill in DRILLS:
        assert drill.name in listed
        assert drill.promises in listed


def test_every_drill_has_a_name_of_its_own_that_can_be_typed() -> None:
    names = [drill.name for drill in DRILLS]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and " " not in name for name in names)


def test_a_name_that_no_drill_has_is_answered_with_all_names() -> None:
    """And together with --all or --list it is a mistake of the command line's."""
    assert isinstance(CliRunner().invoke(app, ["drill", "dance"]).exception, NotFound)
    assert CliRunner().invoke(app, ["drill", DRILLS[0].name, "--all"]).exit_code == 2
