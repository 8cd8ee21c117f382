"""Read template.yaml, the definitions it names and routes.json; print problems; exit 1 if there are any."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from keyturn.adapters.schemas import load_routes
from keyturn.errors import SettingsError
from tools.draining import derived_files, source_of
from tools.lint_statemachines.nesting import Definitions, check_nesting
from tools.lint_statemachines.problem import Problem, UnreadableError
from tools.lint_statemachines.reading import read_json, read_text
from tools.lint_statemachines.shape import check_shape
from tools.lint_statemachines.stack import BUILT_IN, Stack, routes_from, stack_from_template

ROOT = Path(__file__).resolve().parents[2]


def lint(root: Path) -> list[Problem]:
    """All problems of the project in `root`; of what can't be read, or hasn't a run's shape, no others."""
    try:
        stack = stack_from_template(read_text(root, "template.yaml"))
        return [*_code_is_there(root, stack), *(_shape(root, stack) or _between(root, stack))]
    except UnreadableError as error:
        return [error.problem]


def _code_is_there(root: Path, stack: Stack) -> Iterator[Problem]:
    """No other check before the deploy says so."""
    for function, folder in stack.code_folders.items():
        if not (root / folder).exists():
            yield Problem(f"template.yaml, {function}", f"there is no {folder}", "Write the function, or mend CodeUri")


def _shape(root: Path, stack: Stack) -> list[Problem]:
    files = dict.fromkeys(source_of(machine.file) for machine in stack.workflows)
    return [problem for file in files for problem in check_shape(file, read_json(root, file))]


def _between(root: Path, stack: Stack) -> Iterator[Problem]:
    """Problems between the files; a derived definition is judged as what it must be."""
    derived = {str(path.relative_to(root)): text for path, text in derived_files(root).items()}
    for file, text in derived.items():
        if not (root / file).exists() or read_text(root, file) != text:
            yield Problem(file, f"is not what {source_of(file)} comes to", "Run: .venv/bin/python -m tools.draining")
    definitions: Definitions = {
        machine.file: json.loads(derived[machine.file]) if machine.file in derived else read_json(root, machine.file)
        for machine in (*stack.workflows, *stack.nested)
    }
    yield from (problem for file in derived for problem in check_shape(file, definitions[file]))
    routes = (*routes_from(read_json(root, "src/keyturn_routes/routes.json")), BUILT_IN)
    yield from check_nesting(stack, definitions, routes)


def main() -> int:
    """Print what is wrong, or that nothing is."""
    try:
        load_routes()
    except SettingsError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    problems = lint(ROOT)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print("state machines: no problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
