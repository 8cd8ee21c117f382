"""The alarms: there, armed, and heard by somebody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from keyturn_cli.doctor.examination import ALARM, Examination
from keyturn_cli.doctor.finding import Finding, failed, listed, not_checked, ok, warning

_NAMES_MAX: Final = 100
"""DescribeAlarms API reference, AlarmNames."""


def check_alarms(examined: Examination) -> Iterator[Finding]:
    """Every alarm that the stack was deployed with."""
    wanted = [alarm.id for alarm in examined.of_kind(ALARM)]
    if not wanted:
        yield warning("alarms armed", "the stack was deployed without alarms", "deploy with AlarmsEnabled=true")
        return
    found = _described(examined, wanted)
    if not found and examined.target.is_local:
        yield not_checked("alarms armed", "this engine has no alarms")
        return
    yield _armed(wanted, found)
    yield _heard(found)
    yield _silent(examined, found)


def _described(examined: Examination, names: list[str]) -> Mapping[str, Mapping[str, Any]]:
    aws = examined.client("cloudwatch")
    return {
        alarm["AlarmName"]: alarm
        for start in range(0, len(names), _NAMES_MAX)
        for alarm in aws.describe_alarms(AlarmNames=names[start : start + _NAMES_MAX], MaxRecords=_NAMES_MAX)[
            "MetricAlarms"
        ]
    }


def _armed(wanted: list[str], found: Mapping[str, Mapping[str, Any]]) -> Finding:
    name = "alarms armed"
    missing = [alarm for alarm in wanted if alarm not in found]
    if missing:
        return failed(name, f"somebody deleted {listed(missing)}", "deploy the stack again: sam deploy")
    off = [alarm for alarm, about in found.items() if not about.get("ActionsEnabled", True)]
    if off:
        return failed(
            name,
            f"actions are switched off for {listed(off)}",
            f"aws cloudwatch enable-alarm-actions --alarm-names {' '.join(sorted(off))}",
        )
    return ok(name, f"{len(wanted)} alarms are armed")


def _heard(found: Mapping[str, Mapping[str, Any]]) -> Finding:
    name = "alarms are heard"
    unheard = [alarm for alarm, about in found.items() if not about.get("AlarmActions")]
    if unheard:
        return warning(
            name, f"{len(unheard)} alarms only show in CloudWatch", "deploy with AlarmTopicArn, the ARN of an SNS topic"
        )
    return ok(name, "every alarm notifies somebody")


def _silent(examined: Examination, found: Mapping[str, Mapping[str, Any]]) -> Finding:
    name = "no alarm rings"
    ringing = [examined.short(alarm) for alarm, about in found.items() if about.get("StateValue") == "ALARM"]
    if ringing:
        return warning(name, f"in alarm: {listed(ringing)}", "docs/operations.md, Alarms, says what each one means")
    return ok(name, "none is in state ALARM")
