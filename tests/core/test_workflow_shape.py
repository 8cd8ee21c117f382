"""What is read from the definitions of the sample's own workflows."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyturn.core.workflow_shape import WorkflowShape

FOLDER = Path(__file__).parents[2] / "statemachines"


@pytest.mark.parametrize(
    ("name", "steps", "has_items", "states", "states_per_item"),
    [
        ("order", {"inventory", "payment", "notification"}, False, 5, 0),
        ("tracking", {"notification"}, False, 3, 0),
        ("lines", {"packing"}, True, 7, 1),
    ],
)
def test_steps_and_states_are_read_from_a_definition(
    name: str, steps: set[str], has_items: bool, states: int, states_per_item: int
) -> None:
    """States are those that a run enters when nothing fails; a Map's come once for each item."""
    shape = WorkflowShape.parse((FOLDER / f"{name}.asl.json").read_text(encoding="utf-8"))
    assert (set(shape.steps), shape.has_items) == (steps, has_items)
    assert (shape.states, shape.states_per_item) == (states, states_per_item)


def test_a_maps_steps_are_those_that_have_results() -> None:
    lines = WorkflowShape.parse((FOLDER / "lines.asl.json").read_text(encoding="utf-8"))
    assert lines.expected(frozenset({"picking-1"})) == {"packing", "picking-1"}
    order = WorkflowShape.parse((FOLDER / "order.asl.json").read_text(encoding="utf-8"))
    assert order.expected(frozenset({"of-an-older-version"})) == order.steps
