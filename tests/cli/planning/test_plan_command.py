"""`keyturn plan` works offline, says what is modelled, and tells a mistake in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from keyturn_cli.app import app
from keyturn_cli.errors import BadInput
from typer.testing import CliRunner, Result

from keyturn.errors import SettingsError

LOAD = ("--rate", "50", "--keys", "2k")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, no credentials, no region."""

    def refuse(*_: object) -> None:
        raise AssertionError("a plan asks nobody")

    monkeypatch.setattr("socket.socket.connect", refuse)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)


def plan(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["plan", *arguments])


def test_a_plan_is_told_in_words() -> None:
    told = plan(*LOAD, "--step-ms", "80")
    assert told.exit_code == 0, told.output
    for word in (
        "50 events a second on 2,000 keys, 1,024 bytes each, 3 steps of 80 ms side by side",
        "~MaxInFlightRuns=",
        "IndexBuckets=8",
        "Lambda concurrency",
        "~p50 ",
        "a million events",
        "prices of us-east-1 on 2026-11-24",
        "not checked against a page of AWS: logs_gb_month, s3_gb_month, sqs_request",
        "start_execution        p50 25 ms, p99 100 ms      assumed",
    ):
        assert word in told.output, word


def test_programs_get_one_json_document() -> None:
    told = plan(*LOAD, "--output", "json", "--kind", "nested", "--batch", "10")
    document = json.loads(told.output)
    assert document["holds"] is True
    assert document["settings"]["kind"] == "nested"
    assert document["settings"]["batch"] == 10
    assert document["rejected"] == []
    assert document["units_an_event"]["transitions"] == pytest.approx(1)
    total = sum(item["usd_a_month"] for item in document["cost"]["items"])
    assert total == pytest.approx(document["cost"]["usd_a_month"])
    modelled = {item["name"] for item in document["cost"]["items"] if item["is_modelled"]}
    assert {"Lambda GB-seconds", "Express duration"} <= modelled


def test_a_target_that_isnt_held_ends_with_1() -> None:
    told = plan(*LOAD, "--target-p99", "10")
    assert told.exit_code == 1
    assert "Nothing that was tried holds this" in told.output
    unheld = plan("--rate", "1000", "--keys", "1", "--output", "json")
    assert unheld.exit_code == 1
    assert json.loads(unheld.output)["put_to_done"] is None
    assert "keys fall behind" in plan("--rate", "1000", "--keys", "1").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate", "fast", "--keys", "5"), "--rate is 'fast': it must be a number from"),
        (("--rate", "0", "--keys", "5"), "--rate is '0'"),
        (("--rate", "5", "--keys", "1.5"), "--keys is '1.5': it must be a whole number"),
        (("--rate", "5", "--keys", "5", "--payload", "2m"), "--payload is '2m': it must be a number from 1 to"),
        (("--rate", "5", "--keys", "5", "--hot-share", "2"), "--hot-share is '2'"),
        (("--rate", "nan", "--keys", "5"), "--rate is 'nan'"),
        ((*LOAD, "--batch", "0"), "--batch is '0'"),
        ((*LOAD, "--target-p99", "-1"), "--target-p99 is '-1'"),
    ],
)
def test_a_number_that_is_none_is_told_by_its_option(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadInput, match=re.escape(said)):
        raise plan(*arguments).exception or AssertionError("nothing was raised")


def test_numbers_are_read_as_people_write_them() -> None:
    told = json.loads(plan("--rate", "1.5k", "--keys", "1e6", "--payload", "2K", "--output", "json").output)
    assert (told["workload"]["rate"], told["workload"]["keys"], told["workload"]["payload_bytes"]) == (
        1_500,
        1_000_000,
        2_048,
    )


def test_a_number_with_a_k_is_what_it_says() -> None:
    """1.005 times a thousand isn't 1,005 for a computer that counts in halves."""
    told = json.loads(plan("--rate", "1", "--keys", "1.005k", "--output", "json").output)
    assert told["workload"]["keys"] == 1_005


def test_an_event_a_day_can_be_planned() -> None:
    told = plan("--rate", "0.0000116", "--keys", "1", "--output", "json")
    assert told.exit_code == 0, told.output


def test_a_bound_that_is_named_is_taken() -> None:
    """As it is written there, and written as people do: no 1e+07, no 1.04858e+06."""
    with pytest.raises(BadInput, match=r"from 1e-05 to 10,000,000, as"):
        raise plan("--rate", "0", "--keys", "1").exception or AssertionError("nothing was raised")
    with pytest.raises(BadInput, match=r"from 1 to 1,048,576, as"):
        raise plan(*LOAD, "--payload", "2m").exception or AssertionError("nothing was raised")
    assert plan("--rate", "1e-05", "--keys", "1", "--output", "json").exit_code == 0
    told = plan("--rate", "1e7", "--keys", "1e3", "--batch", "1", "--kind", "express").output
    assert told.startswith("10,000,000 events a second on 1,000 keys")
    assert "asked           10,000 events a second of each of" in told


def test_a_price_list_of_another_region_is_refused(tmp_path: Path) -> None:
    """Quotas go by its region too, so they would be another's."""
    own = tmp_path / "own.json"
    own.write_bytes((Path(__file__).parents[3] / "src/keyturn/prices/us-east-1.json").read_bytes())
    assert plan(*LOAD, "--region", "us-east-1", "--prices", str(own)).exit_code == 0
    with pytest.raises(BadInput, match="is of us-east-1, --region is eu-west-9"):
        raise plan(*LOAD, "--region", "eu-west-9", "--prices", str(own)).exception or AssertionError(
            "nothing was raised"
        )


def test_a_region_without_prices_names_those_that_have_them(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="only for us-east-1"):
        raise plan(*LOAD, "--region", "eu-west-9").exception or AssertionError("nothing was raised")
    own = tmp_path / "own.json"
    listed = json.loads((Path(__file__).parents[3] / "src/keyturn/prices/us-east-1.json").read_bytes())
    own.write_text(json.dumps(listed | {"region": "eu-west-9"}))
    assert "prices of eu-west-9" in plan(*LOAD, "--prices", str(own)).output
