"""An audit that could not be made is never taken for one without findings."""

import json
from typing import Any

import pytest

from tools.audit import FAULTY, FINE, LOCKS, ROOT, UNREACHABLE, verdict

KNOWN = {"name": "a", "version": "1", "vulns": []}
FAULT = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("dependencies", "code", "said"),
    [
        ([KNOWN], FINE, []),
        ([KNOWN, FAULT], FAULTY, ["b 2 has CVE-1, mended in 3"]),
        ([SKIPPED, FAULT], FAULTY, ["b 2 has CVE-1, mended in 3"]),
        ([SKIPPED], UNREACHABLE, ["the advisory database answered nothing about 1 of 1 packages, c among them"]),
        ([KNOWN, SKIPPED], UNREACHABLE, ["the advisory database answered nothing about 1 of 2 packages, c among them"]),
    ],
)
def test_what_was_found_decides(dependencies: list[Any], code: int, said: list[str]) -> None:
    """A fault fails the audit, whatever else could not be looked up."""
    assert verdict(json.dumps({"dependencies": dependencies, "fixes": []}), "") == (code, said)


@pytest.mark.parametrize("answer", ["", "nonsense", "[]", "{}"])
def test_without_an_answer_nothing_is_known(answer: str) -> None:
    """The last line of what the tool said tells why."""
    code, said = verdict(answer, "Traceback ...\nConnectionError: no route to host\n")
    assert (code, said) == (UNREACHABLE, ["the advisory database can't be asked: ConnectionError: no route to host"])


def test_every_lock_that_is_installed_or_deployed_is_audited() -> None:
    """The lock for run is a part of the lock for dev."""
    packages = [set(_pins(name)) for name in ("requirements.txt", *LOCKS)]
    assert packages[0] <= packages[1]
    assert all(packages)


def _pins(lock: str) -> list[str]:
    return [line.split()[0] for line in (ROOT / lock).read_text().splitlines() if "==" in line]
