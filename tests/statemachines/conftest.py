"""The project's definitions as the tests' starting point."""

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def order() -> dict[str, Any]:
    """A fresh copy of the order workflow's definition, to break or to run."""
    return _definition("order")


@pytest.fixture
def lines() -> dict[str, Any]:
    """A fresh copy of the lines workflow's definition."""
    return _definition("lines")


def _definition(workflow: str) -> dict[str, Any]:
    text = (ROOT / "statemachines" / f"{workflow}.asl.json").read_text(encoding="utf-8")
    definition: dict[str, Any] = json.loads(text)
    return definition
