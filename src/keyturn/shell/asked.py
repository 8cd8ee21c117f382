"""Reads the fields of a request to the operator function: whoever may invoke it may send anything."""

from collections.abc import Mapping
from typing import Any, Final

from keyturn.core.naming import is_unicode, key_problem
from keyturn.errors import CannotOperate

Request = Mapping[str, Any]
"""`command`, `by`, `reason`, and what the command is about."""

TEXT_CHARACTERS_MAX: Final = 2_048
"""An ARN is as long at most; names, types and reasons are shorter."""

_WHOLE_MAX: Final = 10**14
"""Epoch milliseconds of a year in which nobody will mind."""


def text(request: Request, name: str, default: str = "") -> str:
    """Return a field's text. Raises CannotOperate for one that no item could hold."""
    value = request.get(name)
    if value is None or value == "":
        return default
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX or not is_unicode(value):
        raise CannotOperate(f"{name} must be text of {TEXT_CHARACTERS_MAX} characters at most")
    return value


def named(request: Request, name: str) -> str:
    """Return a field's text. Raises CannotOperate when there is none."""
    value = text(request, name)
    if not value:
        raise CannotOperate(f"the request names no {name}")
    return value


def key(request: Request) -> str:
    """Return the key that a request is about. Raises CannotOperate when it is none."""
    value = named(request, "key")
    problem = key_problem(value)
    if problem:
        raise CannotOperate(problem)
    return value


def whole(request: Request, name: str, default: int | None = 0, low: int = 0, high: int = _WHOLE_MAX) -> int:
    """Return a field's whole number, `default` if it is left out. Raises CannotOperate for anything else."""
    value = request.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise CannotOperate(f"{name} must be a whole number from {low} to {high}")
    return value


def texts(request: Request, name: str, most: int) -> Mapping[str, str]:
    """Return a field's names with their texts, `most` at most. Raises CannotOperate for anything else."""
    given = request.get(name)
    if not isinstance(given, dict):
        raise CannotOperate(f"the request names no {name}")
    if len(given) > most:
        raise CannotOperate(f"the request names more than {most} {name}")
    return {text({"name": one}, "name"): text(given, one) for one in given}
