"""What comes by itself: schedules, the rule on status changes, and when their functions last came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from keyturn.adapters.passes import Passes
from keyturn_cli.doctor.examination import RULE, SCHEDULE, Examination
from keyturn_cli.doctor.finding import Finding, failed, not_checked, ok, seconds

LATEST_MS: Final = {"watchdog": 3 * 60_000, "sweeper": 2 * 86_400_000}
"""How long ago the last pass of a function may be: a minute's schedule and a day's, with room to be late."""


_RULES: Final[Mapping[str, tuple[str, str]]] = {
    "WatchdogFunctionRunEnded": (
        "status changes are reported",
        "failed executions are found at their deadline only",
    ),
    "WatchdogFunctionCanaryAlarm": (
        "a canary's alarms are reported",
        "a failing canary is rolled back by its own count of attempts only",
    ),
}
"""Rule, by its logical id -> what is checked, and what is lost without it."""


def check_schedules(examined: Examination) -> Iterator[Finding]:
    """Schedules and rules enabled; passes made."""
    yield from _schedules(examined)
    yield from _rules(examined)
    for function, latest_ms in LATEST_MS.items():
        if f"{function.capitalize()}Function" in examined.resources:
            yield _came(examined, function, latest_ms)


def _schedules(examined: Examination) -> Iterator[Finding]:
    aws = examined.client("scheduler")
    for schedule in examined.of_kind(SCHEDULE):
        name = f"schedule {examined.short(schedule.id)}"
        about = aws.get_schedule(Name=schedule.id)
        if about["State"] != "ENABLED":
            yield failed(
                name,
                f"it is {about['State']}: its function comes no more",
                f"enable it in the console (EventBridge Scheduler, {schedule.id}), or deploy again",
            )
        else:
            yield ok(name, f"enabled, {about['ScheduleExpression']}")


def _rules(examined: Examination) -> Iterator[Finding]:
    aws = examined.client("events")
    for rule in examined.of_kind(RULE):
        name, lost = _RULES.get(rule.logical_id, (f"rule {rule.logical_id}", "what it tells of goes unheard"))
        about = aws.describe_rule(Name=rule.id.rpartition("|")[2])
        if about["State"] != "ENABLED":
            yield failed(
                name,
                f"rule {rule.id} is {about['State']}: {lost}",
                f"aws events enable-rule --name {rule.id}",
            )
        elif not aws.list_targets_by_rule(Rule=rule.id.rpartition("|")[2])["Targets"]:
            yield failed(name, f"rule {rule.id} has no target: {lost}", "deploy the stack again: sam deploy")
        else:
            yield ok(name, "the rule is enabled")


def _came(examined: Examination, function: str, latest_ms: int) -> Finding:
    name = f"last pass of the {function}"
    last = Passes(examined.table).last(function)
    now_ms = examined.clock()
    if last is None:
        deployed_ms = _deployed_at_ms(examined, f"{function.capitalize()}Function")
        if now_ms - deployed_ms < latest_ms:
            return not_checked(name, "it was deployed a moment ago and hasn't come yet", "ask again later")
        return failed(name, "it never came", f"look at its schedule and at the log of {function}")
    age_ms = now_ms - int(last["at_ms"])
    if age_ms > latest_ms:
        return failed(
            name, f"{seconds(age_ms)} ago, it should be {seconds(latest_ms)} at most", f"look at the log of {function}"
        )
    return ok(name, f"{seconds(max(0, age_ms))} ago")


def _deployed_at_ms(examined: Examination, logical_id: str) -> int:
    text = str(examined.functions[logical_id]["LastModified"])
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)
