"""What a machine needs before anything starts."""

from __future__ import annotations

import sys
from pathlib import Path

from keyturn_local.errors import PythonTooOld, ToolMissing

PYTHON_MIN = (3, 11)


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> None:
    """Refuse an interpreter older than PYTHON_MIN."""
    if version < PYTHON_MIN:
        found, needed = ".".join(map(str, version)), ".".join(map(str, PYTHON_MIN))
        raise PythonTooOld(f"Python {found} is too old: Keyturn needs {needed} or later. Try: make PYTHON=python3.13")


def tool(name: str, *, beside: str = sys.executable) -> Path:
    """The path of a program installed in the virtual environment of this interpreter.

    Only there: another `sam` on the PATH may be of another version, and run on another Python.
    """
    path = Path(beside).parent / name
    if not path.is_file():
        raise ToolMissing(f"{name} is not installed in {path.parent}. Run `make setup` first.")
    return path
