"""Some drills on the deployed stack; `make drill` runs them all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from keyturn_cli.drills.drill import Drill, Ended
from keyturn_cli.drills.ground import Ask, Ground
from keyturn_cli.drills.records import DUPLICATE_BATCH, POISON_RECORD
from keyturn_cli.drills.report import as_json
from keyturn_cli.drills.running import run_drills
from keyturn_cli.drills.workers import KILLED
from keyturn_cli.guarantees import Fate

from tests.endtoend.stack import LIMIT_S, Stack
from tests.endtoend.test_stack import permit


@pytest.mark.parametrize("drill", [DUPLICATE_BATCH, POISON_RECORD, KILLED], ids=lambda drill: drill.name)
def test_a_drill_passes_and_leaves_the_stack_as_it_was(stack: Stack, drill: Drill) -> None:
    (result,) = run_drills([drill], stack.target, stack.settings)
    assert result.ended is Ended.PASSED, as_json(result)


def _held(ground: Ground) -> None:
    """Let nothing of a key run: what is put is never done."""
    ground.put(Ask(ground.key(), permit(ground.key())))
    ground.until("the first event is done", lambda: ground.state().finished, LIMIT_S)
    ground.operate("hold-key", key=ground.key())
    ground.put(Ask(ground.key(), permit(ground.key(), 1)), Ask(ground.key(1), b"no event", Fate.DONE))
    ground.until("the bad record is set aside", lambda: ground.left().startswith("1 of 3"), LIMIT_S)


def test_a_drill_fails_where_a_promise_is_not_kept(stack: Stack) -> None:
    """A key that doesn't go on; a record that ends otherwise; a stack that isn't as before."""
    drill = Drill(name="broken", does="Holds its key.", promises="What isn't so.", inject=_held, limit_s=2)
    (late,) = run_drills([drill], stack.target, stack.settings)
    assert late.ended is Ended.FAILED
    assert late.reason.startswith("after 2 s: 1 of 3 records are not through"), late.reason
    (wrong,) = run_drills([replace(drill, wait=lambda _ground: "")], stack.target, stack.settings)
    broken = {check.title for check in wrong.checks if not check.holds}
    assert wrong.ended is Ended.FAILED
    assert broken >= {"nothing lost", "records end as meant", "keys are drained"}
