"""The project's definitions as the tests' starting point."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def definitions() -> dict[str, dict[str, Any]]:
    """Workflow -> definition; `order-draining` is the one that is derived from `order`. Not to be changed."""
    files = sorted((ROOT / "statemachines").glob("*.asl.json"))
    return {
        file.name.removesuffix(".asl.json").replace(".", "-"): json.loads(file.read_text(encoding="utf-8"))
        for file in files
    }


@pytest.fixture
def order(definitions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A fresh copy of the order workflow's definition, to break or to run."""
    return copy.deepcopy(definitions["order"])


@pytest.fixture
def lines(definitions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A fresh copy of the lines workflow's definition."""
    return copy.deepcopy(definitions["lines"])
