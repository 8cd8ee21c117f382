"""Reads what the fan-out of an execution came to: its workers' answers, or the errors that its branches caught."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from keyturn.core.commands import Ending, Outcome
from keyturn.core.naming import as_unicode
from keyturn.core.task import EXCUSED

_NEVER_RAN: Final = "Lambda.TooManyRequestsException"

_ENDED_FOR_SURE: Final = frozenset(
    {
        "StepFailed",  # raised by our own decorator around the worker's function
        "Runtime.HandlerError",  # how MiniStack names any exception that a handler raised; AWS gives the class name
        _NEVER_RAN,  # throttled
        "States.DataLimitExceeded",  # the worker answered, with too much
    }
)
"""Errors that prove that the Lambda behind a task ended or never ran. After any other it may still be at work."""

_OUTCOMES: Final = ("done", "failed", "refused", "out_of_time")
"""What `keyturn.core.task.answer` writes."""

_REASON_CHARACTERS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an execution came to. `ending` is None when it was refused: it may not finish the run."""

    ending: Ending | None
    execution_id: str | None
    seen: Any = None
    """The key's state as the worker wrote it that bound the attempt, if it tells: an item, or whatever came instead."""


def read_steps(steps: Any) -> Verdict:
    """Sum the answers of a fan-out up.

    `steps` is the result of the fan-out state: answers nested in lists and objects as branches and maps nest, or the
    error of the fan-out as a whole. A branch without an answer is a failure: silence is no proof that work was done.
    """
    answers = list(_answers(steps))
    execution_id = next((_text(answer["execution_id"]) for answer in answers if "execution_id" in answer), None)
    if any(answer.get("outcome") == "refused" for answer in answers):
        return Verdict(None, execution_id)
    errors = [*_errors(answers), *_error_of_the_whole(steps), *_silences(steps)]
    if errors:
        return Verdict(_ending(errors), execution_id)
    if any(answer.get("outcome") == "out_of_time" for answer in answers):
        late = Ending(Outcome.OUT_OF_TIME, clean=True, reason="a worker was left too little time to begin")
        return Verdict(late, execution_id)
    return Verdict(Ending(Outcome.SUCCEEDED, clean=True), execution_id, _seen(answers))


def _seen(answers: list[Mapping[str, Any]]) -> Any:
    """Return the state that a worker tells of, if all answers are of one execution.

    An event that a workflow passes on beside its answers may look like one; the id of its execution it can't know.
    """
    if any(answer.get("execution_id") != answers[0].get("execution_id") for answer in answers):
        return None
    return next((answer["seen"] for answer in answers if "seen" in answer), None)


@dataclass(frozen=True, slots=True)
class _Error:
    name: str
    where: str
    cause: str
    is_permanent: bool
    is_clean: bool
    is_failure: bool = True
    """Whether it says something about the workflow: not so if the step never began, or only ran out of time."""


def _ending(errors: list[_Error]) -> Ending:
    return Ending(
        Outcome.FAILED if any(error.is_failure for error in errors) else Outcome.OUT_OF_TIME,
        clean=all(error.is_clean for error in errors),
        permanent=any(error.is_permanent for error in errors),
        reason="; ".join(f"{error.where}: {error.name}: {error.cause}" for error in errors)[:_REASON_CHARACTERS_MAX],
    )


def _errors(answers: list[Mapping[str, Any]]) -> Iterator[_Error]:
    for answer in answers:
        where = _text(answer["step"])
        if answer.get("outcome") == "failed":
            yield replace(_caught(answer.get("error") or {}, where), is_permanent=True, is_clean=True)
        elif "error" in answer:
            yield _caught(answer["error"], where)
        elif answer.get("outcome") not in _OUTCOMES:
            yield _unanswered(where)


def _error_of_the_whole(steps: Any) -> Iterator[_Error]:
    if isinstance(steps, Mapping) and "Error" in steps:
        name = _text(steps["Error"])
        yield _Error(name, "the fan-out", _message(steps.get("Cause", "")), name == "States.DataLimitExceeded", False)


def _silences(steps: Any) -> Iterator[_Error]:
    """Find branches in which no worker answered, such as one whose state machine passes the answer on in part."""
    if isinstance(steps, Mapping) and "Error" in steps:
        return
    branches = steps if isinstance(steps, list) and steps else [steps]
    for number, branch in enumerate(branches, start=1):
        if next(_answers(branch), None) is None:
            yield _unanswered(f"branch {number}")


def _unanswered(where: str) -> _Error:
    # Not clean: whatever ran there in the worker's place may still be at it.
    return _Error(
        "NoAnswer", where, "it is no answer of a worker: decorate it with @worker, pass on $.Payload", False, False
    )


def _caught(error: Any, where: str) -> _Error:
    if not isinstance(error, Mapping):
        return _unanswered(where)
    name, message = _text(error.get("Error", "")), _message(error.get("Cause", ""))
    is_permanent = name == "States.DataLimitExceeded"
    is_clean = name in _ENDED_FOR_SURE
    is_failure = name != _NEVER_RAN and not (is_clean and message.startswith(EXCUSED))
    return _Error(name, where, message, is_permanent, is_clean, is_failure)


def _message(cause: Any) -> str:
    """Return the message in a cause: AWS hands on a Lambda's error as JSON, with its stack trace."""
    try:
        content = json.loads(cause)
    except (TypeError, ValueError, RecursionError):
        return _text(cause)
    message = content.get("errorMessage") if isinstance(content, dict) else None
    return _text(cause if message is None else message)


def _text(value: Any) -> str:
    """Read a text where a branch may have put anything."""
    return as_unicode(value) if isinstance(value, str) else f"(a {type(value).__name__})"


def _answers(value: Any) -> Iterator[Mapping[str, Any]]:
    """Find the answers in whatever branches and maps nested them in, however deep; never looks inside an answer."""
    left = [value]
    while left:
        found = left.pop()
        if isinstance(found, Mapping) and "step" in found:
            yield found
        elif isinstance(found, Mapping):
            left.extend(reversed(list(found.values())))
        elif isinstance(found, list):
            left.extend(reversed(found))
