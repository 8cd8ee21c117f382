"""What the operator function can be asked about releases."""

from typing import Any, Final

from keyturn.core.commands import Operator
from keyturn.core.rollout import WHOLE, Canary, CanaryRules, Rollout
from keyturn.shell import asked, releases
from keyturn.shell.asked import Request
from keyturn.shell.platform import Platform

_NAMES_MAX: Final = 500
"""State machines or workers of one release: far more than a template holds."""


def begin_release(platform: Platform, _request: Request, _operator: Operator) -> dict[str, Any]:
    """Give out the number under which versions are to be published."""
    return {"number": releases.begin(platform)}


def publish_release(platform: Platform, request: Request, operator: Operator) -> dict[str, Any]:
    """Make known what was published: ARNs of versions by name, in `machines` and `workers`."""
    machines, workers = asked.texts(request, "machines", _NAMES_MAX), asked.texts(request, "workers", _NAMES_MAX)
    return told(releases.publish(platform, _number(request), machines, workers, operator))


def try_release(platform: Platform, request: Request, operator: Operator) -> dict[str, Any]:
    """Let a share of the keys take a release: `share` is in hundredths of a percent."""
    defaults = CanaryRules()
    rules = CanaryRules(
        ended_min=asked.whole(request, "ended_min", defaults.ended_min, 1, 1_000_000),
        failed_percent=asked.whole(request, "failed_percent", defaults.failed_percent, 1, 100),
        promote_after_runs=asked.whole(request, "promote_after_runs", 0, 0, 1_000_000_000),
        promote_after_ms=asked.whole(request, "promote_after_ms", 0, 0, 366 * 86_400_000),
    )
    canary = Canary(_number(request), asked.whole(request, "share", None, 1, WHOLE), platform.clock(), rules)
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
    return asked.whole(request, "number", None, 1, 2**31)


def _number_or_none(request: Request) -> int | None:
    return None if request.get("number") is None else _number(request)
