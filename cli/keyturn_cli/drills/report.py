"""Says how drills ended, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from keyturn_cli.drills.drill import Drill, Ended, Result
from keyturn_cli.report import print_checks
from keyturn_cli.screen import Line, Screen

_STYLES = {Ended.PASSED: "green", Ended.FAILED: "bold red", Ended.SKIPPED: "yellow"}


def print_result(screen: Screen, result: Result) -> None:
    """Print one drill: how it ended, what it did, what was seen, what was checked."""
    took = f"  {result.took_s:.1f} s" if result.ended is not Ended.SKIPPED else ""
    reason = f": {result.reason}" if result.reason else ""
    screen.lines([Line(f"{result.drill.name}  {result.ended.value}{reason}{took}", _STYLES[result.ended])])
    if result.ended is Ended.SKIPPED:
        return
    screen.line(f"  {result.drill.does}")
    for line in result.seen:
        screen.line(f"  seen    {line}")
    if result.checks:
        print_checks(screen, list(result.checks))


def print_sum(screen: Screen, results: Sequence[Result]) -> None:
    """Print how many ended how, and the names of those that failed."""
    counts = Counter(result.ended for result in results)
    told = ", ".join(f"{counts[ended]} {ended.value}" for ended in Ended if counts[ended])
    failed = ", ".join(result.drill.name for result in results if result.ended is Ended.FAILED)
    took_s = sum(result.took_s for result in results)
    screen.line(f"{len(results)} drills: {told}{f' ({failed})' if failed else ''}, {took_s:.0f} s")


def print_list(screen: Screen, drills: Sequence[Drill]) -> None:
    """Print what drills there are."""
    for drill in drills:
        where = f"local only: {drill.local_only}" if drill.local_only else "local, AWS"
        screen.lines([Line(drill.name, "bold")])
        screen.line(f"  {drill.does}\n  {drill.promises}\n  {where}")


def as_json(result: Result) -> dict[str, Any]:
    """Everything about a result."""
    return {
        "drill": result.drill.name,
        "result": result.ended.value,
        "reason": result.reason,
        "took_s": round(result.took_s, 1),
        "does": result.drill.does,
        "promises": result.drill.promises,
        "seen": list(result.seen),
        "checks": [
            {"title": check.title, "holds": check.holds, "evidence": list(check.lines)} for check in result.checks
        ],
    }


def listed_as_json(drill: Drill) -> dict[str, Any]:
    """What a list says of a drill."""
    runs_on = ["local"] if drill.local_only else ["local", "aws"]
    return {"drill": drill.name, "does": drill.does, "promises": drill.promises, "runs_on": runs_on}
