"""moto for the patient's state table."""

from __future__ import annotations

import pytest

from keyturn.adapters.table import Table
from tests.adapters.conftest import aws, table
from tests.cli.doctor.patient import Patient

__all__ = ["aws", "table"]


@pytest.fixture
def patient(table: Table) -> Patient:
    """A stack in good health."""
    return Patient(table)
