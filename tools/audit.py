"""Looks every locked dependency up in the advisory database: `python -m tools.audit`.

Exits with 0 when all were looked up and none has a known fault, 1 when one has, 3 when the database can't be asked.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
LOCKS: Final = ("requirements-dev.txt", "src/requirements.txt", "src/requirements-compiled.txt")
"""Among them they hold everything: the lock for dev holds all of the one for run."""

FINE, FAULTY, UNREACHABLE = 0, 1, 3


def main() -> int:
    """Audit the locks, print what is wrong, return the exit code."""
    verdicts = {lock: verdict(*_asked(lock)) for lock in LOCKS}
    for lock, (_, lines) in verdicts.items():
        for line in lines:
            print(f"{lock}: {line}", file=sys.stderr)
    codes = {code for code, _ in verdicts.values()}
    return next((code for code in (FAULTY, UNREACHABLE) if code in codes), FINE)


def verdict(answer: str, said: str) -> tuple[int, list[str]]:
    """Judge what pip-audit answered for one lock: an exit code, and lines for people.

    It calls a package that the database doesn't know skipped, and a run in which all were skipped fine.
    """
    try:
        dependencies: list[Mapping[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = said.strip().splitlines()[-1:] or ["no answer"]
        return UNREACHABLE, [f"the advisory database can't be asked: {last[0][:200]}"]
    faults = list(_faults(dependencies))
    if faults:
        return FAULTY, faults
    skipped = [one["name"] for one in dependencies if "skip_reason" in one]
    if skipped:
        count = f"{len(skipped)} of {len(dependencies)} packages, {skipped[0]} among them"
        return UNREACHABLE, [f"the advisory database answered nothing about {count}"]
    return FINE, []


def _faults(dependencies: list[Mapping[str, Any]]) -> Iterator[str]:
    for one in dependencies:
        for fault in one.get("vulns", ()):
            mended = ", ".join(fault.get("fix_versions") or ["no version yet"])
            yield f"{one['name']} {one['version']} has {fault['id']}, mended in {mended}"


def _asked(lock: str) -> tuple[str, str]:
    program = Path(sys.executable).with_name("pip-audit")
    options = ("--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off", "--timeout", "10")
    command = [str(program), *options, "--requirement", str(ROOT / lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a tool of our own lock
    return done.stdout, done.stderr


if __name__ == "__main__":
    sys.exit(main())
