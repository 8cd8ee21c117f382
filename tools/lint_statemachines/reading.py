"""Reads the files that are judged. Raises UnreadableError with what a person can do."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.lint_statemachines.problem import UnreadableError


def read_text(root: Path, file: str) -> str:
    """Return a file's text."""
    try:
        return (root / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(file, f"can't be read: {_first_line(error)}", "Put it there, or name another") from error


def read_json(root: Path, file: str) -> Mapping[str, Any]:
    """Return a file's JSON object."""
    try:
        document = json.loads(read_text(root, file))
    except json.JSONDecodeError as error:
        raise UnreadableError(file, f"is not JSON: {error}", "Correct it") from error
    if not isinstance(document, dict):
        raise UnreadableError(file, "is no JSON object", "Correct it")
    return document


def _first_line(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0]
