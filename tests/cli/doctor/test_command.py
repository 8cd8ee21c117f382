"""`keyturn doctor` as it is typed."""

from __future__ import annotations

import json

import pytest
from keyturn_cli.app import app
from keyturn_cli.doctor import command
from typer.testing import CliRunner, Result

from keyturn.adapters.passes import Passes
from keyturn.adapters.process import now_ms
from tests.cli.doctor.patient import Patient


@pytest.fixture
def typed(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """The command talks to the patient."""
    patient.now_ms = now_ms()
    monkeypatch.setattr(command, "target_of", lambda *_: patient.target())
    return CliRunner()


def ran(typed: CliRunner, *arguments: str) -> Result:
    return typed.invoke(app, ["doctor", "--no-canary", *arguments])


def test_findings_are_printed_with_what_to_do(typed: CliRunner, patient: Patient) -> None:
    """And a failed one ends in exit code 1."""
    patient.mappings["records"]["State"] = "Disabled"
    done = ran(typed)
    assert done.exit_code == 1
    assert "  failed       stream is read" in done.stdout
    assert "-> aws lambda update-event-source-mapping --enabled --uuid records" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("not checked")


def test_programs_get_json(typed: CliRunner, patient: Patient) -> None:
    """One document, nothing else on standard output; warnings alone are no failure."""
    patient.alarms["stack-parked"]["AlarmActions"] = []
    Passes(patient.table).record("watchdog", patient.now_ms, patient.now_ms, {})
    done = ran(typed, "--output", "json")
    findings = json.loads(done.stdout)["findings"]
    assert done.exit_code == 0, [one for one in findings if one["verdict"] == "failed"]
    assert {"group", "name", "verdict", "told", "todo"} == findings[0].keys()
    assert [one["name"] for one in findings if one["verdict"] == "warning"] == ["alarms are heard"]


def test_a_scan_is_asked_for_with_its_cost(typed: CliRunner) -> None:
    """Nothing is read when nobody can be asked."""
    done = ran(typed, "--thorough")
    assert done.exit_code == 1
    assert "1 items" in str(done.exception)
    assert "USD of reads" in str(done.exception)
    assert "no key is forgotten" in ran(typed, "--thorough", "--yes").stdout
