"""What the operator function can be asked about releases."""

from collections.abc import Mapping
from typing import Any

from keyturn.core.commands import Operator
from keyturn.core.rollout import WHOLE, Canary, CanaryRules, Rollout
from keyturn.errors import CannotOperate
from keyturn.shell import releases
from keyturn.shell.platform import Platform

Request = Mapping[str, Any]


def begin_release(platform: Platform, _request: Request, _operator: Operator) -> dict[str, Any]:
    """Give out the number under which versions are to be published."""
    return {"number": releases.begin(platform)}


def publish_release(platform: Platform, request: Request, operator: Operator) -> dict[str, Any]:
    """Make known what was published: ARNs of versions by name, in `machines` and `workers`."""
    machines, workers = _arns(request, "machines"), _arns(request, "workers")
    return told(releases.publish(platform, _number(request), machines, workers, operator))


def try_release(platform: Platform, request: Request, operator: Operator) -> dict[str, Any]:
    """Let a share of the keys take a release: `share` is in hundredths of a percent."""
    defaults = CanaryRules()
    rules = CanaryRules(
        ended_min=_whole(request, "ended_min", 1, 1_000_000, defaults.ended_min),
        failed_percent=_whole(request, "failed_percent", 1, 100, defaults.failed_percent),
        promote_after_runs=_whole(request, "promote_after_runs", 0, 1_000_000_000, 0),
        promote_after_ms=_whole(request, "promote_after_ms", 0, 366 * 86_400_000, 0),
    )
    canary = Canary(_number(request), _whole(request, "share", 1, WHOLE, None), platform.clock(), rules)
    return told(releases.try_out(platform, canary, operator))


def promote_release(platform: Platform, request: Request, operator: Operator) -> dict[str, Any]:
    """Make the canary everybody's, or the release that is named."""
    return told(releases.promote(platform, _number_or_none(request), operator))


def roll_release_back(platform: Platform, request: Request, operator: Operator) -> dict[str, Any]:
    """Take the canary back, else the stable release; or the one that is named."""
    return told(releases.roll_back(platform, _number_or_none(request), operator))


def told(rollout: Rollout) -> dict[str, Any]:
    """Tell how the releases stand, for the caller to print."""
    canary = rollout.canary
    return {
        "stable": rollout.stable or None,
        "canary": {"number": canary.number, "share": canary.share, "since_ms": canary.since_ms} if canary else None,
        "published": sorted(rollout.machines),
        "rolled_back": list(rollout.rolled_back),
    }


def _number(request: Request) -> int:
    return _whole(request, "number", 1, 2**31, None)


def _number_or_none(request: Request) -> int | None:
    return None if request.get("number") is None else _number(request)


def _whole(request: Request, name: str, low: int, high: int, default: int | None) -> int:
    value = request.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise CannotOperate(f"{name} must be a whole number from {low} to {high}")
    return value


def _arns(request: Request, name: str) -> Mapping[str, str]:
    given = request.get(name)
    if not isinstance(given, dict) or not all(isinstance(arn, str) for arn in given.values()):
        raise CannotOperate(f"the request names no {name}")
    return given
