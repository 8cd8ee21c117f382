"""Counts how the attempts on a canary end, and rolls it back or promotes it by itself.

A run that is on no canary costs nothing here: what it is on was read with the controls.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from keyturn.adapters import telemetry
from keyturn.core.commands import Operator
from keyturn.core.rollout import Canary, Health, Verdict, judge
from keyturn.errors import CannotOperate, StoreError
from keyturn.shell.platform import Platform
from keyturn.shell.releases import promote, roll_back

ITSELF: Final = "keyturn"
"""Who does what nobody asked for."""

_SECOND_MS: Final = 1_000


def count_attempt(platform: Platform, release: int, *, has_succeeded: bool) -> None:
    """Count an attempt that ended on a release, if that is a canary, and do what follows.

    Losing this costs time only: the canary's next attempt, or the watchdog, decides by what is counted then.
    """
    canary = platform.controls.recent().rollout.canary
    if canary is None or canary.number != release:
        return
    telemetry.count("CanarySucceeded" if has_succeeded else "CanaryFailed")
    _decide(platform, canary, lambda: platform.releases.count(canary, has_succeeded=has_succeeded))


def look_at_canary(platform: Platform) -> None:
    """Decide what becomes of the canary, as a pass of the watchdog does: its time may be over."""
    canary = platform.controls.read().rollout.canary
    if canary is not None:
        _decide(platform, canary, lambda: platform.releases.health(canary))


def roll_back_alarmed(platform: Platform, event: Mapping[str, Any]) -> dict[str, Any]:
    """Roll the canary back that an alarm went off for. One that was begun after the alarm isn't meant."""
    name, state = _alarm_in(event)
    canary = platform.controls.read().rollout.canary if state == "ALARM" else None
    if canary is None:
        return {"status": "no canary to roll back"}
    if _time_of(event, platform.clock()) < canary.since_ms - platform.settings.rules.clock_margin_ms:
        return {"status": "the canary was begun after the alarm"}
    _roll_back(platform, canary, f"alarm {name}")
    return {"status": "rolled back", "release": canary.number}


def _alarm_in(event: Mapping[str, Any]) -> tuple[str, str]:
    """Return an alarm's name and state; empty ones for what is no state change of an alarm."""
    try:
        return str(event["detail"]["alarmName"]), str(event["detail"]["state"]["value"])
    except (KeyError, TypeError):
        return "", ""


def _time_of(event: Mapping[str, Any], otherwise_ms: int) -> float:
    """Return when an event came about, to the second that EventBridge tells."""
    try:
        return datetime.fromisoformat(event["time"]).timestamp() * 1_000 + _SECOND_MS
    except (KeyError, TypeError, ValueError):
        return otherwise_ms


def _decide(platform: Platform, canary: Canary, health_of: Callable[[], Health]) -> None:
    """Do what follows of a canary's health. What fails holds nothing else up: the next attempt or pass does it."""
    try:
        _carry_out(platform, canary, health_of())
    except StoreError as error:
        telemetry.logger().warning("canary not judged", extra={"release": canary.number, "reason": str(error)})


def _carry_out(platform: Platform, canary: Canary, health: Health) -> None:
    match judge(canary, health, platform.clock()):
        case Verdict.ROLL_BACK:
            _roll_back(platform, canary, f"{health.failed} of {health.ended} attempts failed")
        case Verdict.PROMOTE:
            _promote(platform, canary, f"{health.succeeded} of {health.ended} attempts succeeded")
        case _:
            pass


def _roll_back(platform: Platform, canary: Canary, why: str) -> None:
    try:
        roll_back(platform, canary.number, Operator(ITSELF, why), is_canary_only=True)
    except CannotOperate:
        return  # somebody else did it, or promoted it, a moment ago
    telemetry.count("CanaryRolledBack")
    telemetry.logger().error("canary rolled back", extra={"release": canary.number, "why": why})


def _promote(platform: Platform, canary: Canary, why: str) -> None:
    try:
        promote(platform, canary.number, Operator(ITSELF, why), is_canary_only=True)
    except CannotOperate:
        return
    telemetry.logger().warning("canary promoted", extra={"release": canary.number, "why": why})
