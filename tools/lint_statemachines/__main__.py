"""Read template.yaml, the definitions it names and routes.json; print problems; exit 1 if there are any."""

import json
import sys
from pathlib import Path

from tools.lint_statemachines.nesting import Definitions, check_nesting
from tools.lint_statemachines.problem import Problem
from tools.lint_statemachines.shape import check_shape
from tools.lint_statemachines.stack import BUILT_IN, routes_from, stack_from_template

ROOT = Path(__file__).resolve().parents[2]


def lint(root: Path) -> list[Problem]:
    """All problems of the project in `root`."""
    stack = stack_from_template((root / "template.yaml").read_text(encoding="utf-8"))
    definitions: Definitions = {
        machine.file: json.loads((root / machine.file).read_text(encoding="utf-8"))
        for machine in (*stack.workflows, *stack.nested)
    }
    document = json.loads((root / "src/keyturn_routes/routes.json").read_text(encoding="utf-8"))
    routes = (*routes_from(document), BUILT_IN)
    files = dict.fromkeys(machine.file for machine in stack.workflows)
    shape = [problem for file in files for problem in check_shape(file, definitions[file])]
    return [*shape, *check_nesting(stack, definitions, routes)]


def main() -> int:
    """Print what is wrong, or how much was found to be right."""
    problems = lint(ROOT)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print("state machines: no problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
