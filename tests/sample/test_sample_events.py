"""The files in events/ are what the functions are really invoked with."""

import json
from pathlib import Path
from typing import Any

import pytest

from keyturn.adapters.records import read_records
from keyturn.adapters.schemas import load_routes
from keyturn.core.answers import read_steps
from keyturn.core.canary import canary_event
from keyturn.core.commands import Outcome
from keyturn.core.event import Admissible, Event, Reason, Rejection
from keyturn.core.run_header import RunHeader
from keyturn.core.task import Task
from tools.sample_events.__main__ import main
from tools.sample_events.files import written

ROOT = Path(__file__).parents[2]
WORKERS = ("inventory", "payment", "notification", "packing", "picking")


def sample(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "events" / name).read_text(encoding="utf-8"))
    return content


def read(name: str, *, accepts: bool = False) -> list[Admissible | Rejection]:
    return read_records(sample(name), load_routes(), epoch=1, accepts_aggregated=accepts)


def test_the_files_are_as_the_tool_writes_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody edited them by hand, and none is left that isn't written any more."""
    assert main(["--check"]) == 0, capsys.readouterr().out
    assert {str(path.relative_to(ROOT / "events")) for path in ROOT.glob("events/*/*.json")} == set(written())


def test_every_function_has_a_sample() -> None:
    """One folder a function."""
    assert {path.name for path in (ROOT / "events").iterdir()} == {path.name for path in (ROOT / "functions").iterdir()}


def test_the_dispatchers_batch_holds_events_a_resend_and_bad_records() -> None:
    """And the redelivered part of it has the same places in the stream."""
    found = read("dispatcher/batch.json")
    events = [one for one in found if isinstance(one, Admissible)]
    assert len({one.identity for one in events}) == len(events) - 1
    assert [one.reason for one in found if isinstance(one, Rejection)] == [Reason.NOT_JSON, Reason.DATA]
    assert read("dispatcher/redelivered.json") == found[2:]


def test_the_aggregate_is_one() -> None:
    """Rejected or taken apart, as the stack's setting says."""
    assert [type(one) for one in read("dispatcher/aggregated.json")] == [Rejection]
    assert [type(one) for one in read("dispatcher/aggregated.json", accepts=True)] == [Admissible, Admissible]


@pytest.mark.parametrize(("name", "outcome"), [("succeeded", Outcome.SUCCEEDED), ("failed", Outcome.FAILED)])
def test_the_sequencer_reads_its_samples(name: str, outcome: Outcome) -> None:
    """As a success and as an unclean failure."""
    payload = sample(f"sequencer/{name}.json")
    assert RunHeader.from_input(payload["run"]).route == "order-placed"
    ending = read_steps(payload["steps"]).ending
    assert ending is not None
    assert (ending.outcome, ending.clean) == (outcome, outcome is Outcome.SUCCEEDED)


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_reads_its_sample(worker: str) -> None:
    """The step is the worker's own, and the event one that it can do."""
    task = Task.from_payload(sample(f"{worker}/task.json"))
    assert task.step.partition("-")[0] == worker
    (found,) = task.events
    assert isinstance(found.content, dict)
    assert Event.from_attributes(found.content).data["lines"]


def test_the_canary_reads_its_sample() -> None:
    """An event without data, through the built-in route."""
    task = Task.from_payload(sample("canary/task.json"))
    (found,) = task.events
    assert (task.step, found.content) == ("canary", json.loads(canary_event("c0ffee")))


def test_the_watchdogs_samples_name_the_key() -> None:
    """As it reads them."""
    detail = sample("watchdog/status-change.json")["detail"]
    keys = [json.loads(detail["input"])["run"]["key"]]
    keys += [json.loads(message["body"])["key"] for message in sample("watchdog/wake-up.json")["Records"]]
    assert keys == ["order-1001", "order-1001", ""]
