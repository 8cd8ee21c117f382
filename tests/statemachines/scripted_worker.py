"""A Lambda that answers as a case says, attempt by attempt. Deployed to an emulator in every function's place.

The case's responses and a folder for counting come in with the run, so that one function serves all cases.
"""

import fcntl
import json
import time
from pathlib import Path
from typing import Any


class StepFailed(Exception):
    """What a worker raises for a failure that is worth another try."""


def handler(task: dict[str, Any], _context: object) -> Any:
    """Count the try, write down the input, then answer or fail."""
    script = task["run"]["script"]
    state = _state(task)
    attempt = _count(Path(script["folder"]), state, task)
    response = _response(script["responses"][state], attempt)
    if "Throw" not in response:
        answer = response["Return"]["Payload"]
        return {**answer, "run": {**answer["run"], "script": script}} if "run" in answer else answer
    if response["Throw"]["Error"] == "States.Timeout":
        time.sleep(600)  # longer than this function may take
    raise StepFailed("as the case asks")


def _state(task: dict[str, Any]) -> str:
    name = "sequence" if "steps" in task else task["step"].partition("-")[0]
    return str(name).capitalize()


def _count(folder: Path, state: str, task: dict[str, Any]) -> int:
    """Append this call to the state's file; return how many came before (of the same line)."""
    with (folder / f"{state}.jsonl").open("a+", encoding="utf-8") as calls:
        fcntl.flock(calls, fcntl.LOCK_EX)
        calls.seek(0)
        before = [json.loads(line) for line in calls]
        seen: dict[str, Any] = {
            field: task.get(field) for field in ("steps", "line", "execution_id", "run", "execution", "seen")
        }
        seen["run"] = {field: value for field, value in task["run"].items() if field != "script"}
        calls.write(json.dumps(seen) + "\n")
    return sum(call["line"] == seen["line"] for call in before)


def _response(responses: dict[str, Any], attempt: int) -> dict[str, Any]:
    for span, response in responses.items():
        low, _, high = span.partition("-")
        if int(low) <= attempt <= int(high or low):
            found: dict[str, Any] = response
            return found
    raise LookupError(f"no response for attempt {attempt}")
