"""Derives the definitions that drain: their executions go on with their key's next run instead of ending.

python -m tools.draining           # writes NAME.draining.asl.json for each that template.yaml names
python -m tools.draining --check   # exit code 1 when one is not what its source comes to

Two files for one workflow, since a Standard workflow pays for each transition, and Step Functions refuses states that
nothing leads to. NAME.asl.json is the one to edit.

The source's fan-out makes the execution's id. Here a state in front of it does, since the id holds for all runs that
the execution goes on with: each but the first is bound to it when it is claimed.
"""

import copy
import json
import sys
from pathlib import Path
from typing import Any, Final

from keyturn.limits import EXPRESS_EXECUTION_S_MAX
from tools.lint_statemachines.definition import Scope, is_sequencer
from tools.lint_statemachines.reading import read_json, read_text
from tools.lint_statemachines.stack import stack_from_template

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = ".asl.json"
DERIVED: Final = ".draining.asl.json"

_BEGIN: Final = "Begin"
_MORE: Final = "More"
_DONE: Final = "Done"

BEGIN_PARAMETERS: Final = {
    "run.$": "$.run",
    "events.$": "$.events",
    "execution_id.$": "States.UUID()",
    "seen": None,
}
"""What an execution makes of its input: a run, and what the sequencer's answer brings besides with each further one."""

TOLD: Final = {
    "id.$": "$.execution_id",
    "name.$": "$$.Execution.Name",
    "started_at.$": "$$.Execution.StartTime",
    "timeout_s": EXPRESS_EXECUTION_S_MAX,
}
"""What it tells the sequencer of itself."""


def choices(fan_out: str) -> list[dict[str, Any]]:
    """Lead back while the answer brings a run: to the fan-out if that is bound to this execution.

    If it isn't, the sequencer is of a version before that, as in the middle of a deploy.
    """
    return [
        {"Variable": "$.execution_id", "IsPresent": True, "Next": fan_out},
        {"Variable": "$.run", "IsPresent": True, "Next": _BEGIN},
    ]


def draining(definition: Scope, source: str) -> dict[str, Any]:
    """Make a definition drain: behind its sequencer, back to the start while the answer brings a run."""
    derived: dict[str, Any] = copy.deepcopy(dict(definition))
    derived["Comment"] = (
        f"{definition.get('Comment', '')} Drains its key. Written by tools/draining.py from {source}.".lstrip()
    )
    derived["TimeoutSeconds"] = EXPRESS_EXECUTION_S_MAX
    fan_out = definition["StartAt"]
    begin = {"Type": "Pass", "Parameters": dict(BEGIN_PARAMETERS), "Next": fan_out}
    derived["StartAt"], derived["States"] = _BEGIN, {_BEGIN: begin} | derived["States"]
    derived["States"][fan_out]["Parameters"]["execution_id.$"] = "$.execution_id"
    for state in derived["States"].values():
        if is_sequencer(state):
            state["Parameters"]["Payload"] |= {"seen.$": "$.seen", "execution": dict(TOLD)}
            del state["End"]
            state["Next"] = _MORE
    derived["States"][_MORE] = {
        "Type": "Choice",
        "Choices": choices(fan_out),
        "Default": _DONE,
    }
    derived["States"][_DONE] = {"Type": "Succeed"}
    return derived


def source_of(file: str) -> str:
    """Return the file that is edited: of a derived one its source, of any other itself."""
    return file.removesuffix(DERIVED) + SOURCE if file.endswith(DERIVED) else file


def derived_files(root: Path) -> dict[Path, str]:
    """Return what each derived file that the template names must hold. Raises UnreadableError."""
    stack = stack_from_template(read_text(root, "template.yaml"))
    files = sorted({machine.file for machine in stack.machines if machine.file.endswith(DERIVED)})
    return {root / file: _derived(root, source_of(file)) for file in files}


def _derived(root: Path, source: str) -> str:
    definition = read_json(root, source)
    return json.dumps(draining(definition, source), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write the files, or only tell which are not up to date."""
    stale = [path for path, text in derived_files(ROOT).items() if not path.exists() or path.read_text("utf-8") != text]
    if arguments == ["--check"]:
        for path in stale:
            print(f"Error: {path.relative_to(ROOT)} is not what its source comes to. Run: python -m tools.draining")
        return int(bool(stale))
    for path in stale:
        path.write_text(derived_files(ROOT)[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
