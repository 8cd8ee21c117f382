"""The longest time that a run can take, in seconds: every try times out, every wait is as long as jitter allows.

It ends with the sequencer. What a draining definition has behind that is the next run's.

Full jitter draws a wait between nothing and the backoff, so the backoff is the bound. Retriers count their attempts
apart, so all of them may be used up. A call that Lambda throttles is refused at once, so what retries nothing else adds
its waits, and no further tries of full length. Time that Step Functions itself takes between states is not in it: the
nesting rules ask for room.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from tools.lint_statemachines.definition import Scope, State, followers, inner_scopes, is_sequencer

MAP_ITEMS_MAX: Final = 40
"""Iterations that an inline Map runs at once, and so the most that a workflow's schemas should allow in a list.
Source: AWS Step Functions Developer Guide, "Map state processing modes"."""

THROTTLED: Final = "Lambda.TooManyRequestsException"
_REFUSAL_S: Final = 1.0
"""What Lambda takes at most to refuse a call for want of concurrency: it begins nothing."""


class EndlessPathError(ValueError):
    """States that lead back to themselves: no bound, and no place for one in a run."""


def longest_path_s(scope: Scope) -> float:
    """Seconds of the longest way from StartAt to an end or the sequencer's. Raises EndlessPathError for a loop."""
    return _longest_from(scope, scope["StartAt"], ())


def retry_wait_s(retrier: Mapping[str, Any]) -> float:
    """Seconds that one retrier waits at most, all its attempts added (ASL defaults: 1 s, rate 2, 3 attempts)."""
    first, rate = retrier.get("IntervalSeconds", 1), retrier.get("BackoffRate", 2.0)
    longest = retrier.get("MaxDelaySeconds", float("inf"))
    return float(sum(min(first * rate**attempt, longest) for attempt in range(retrier.get("MaxAttempts", 3))))


def _longest_from(scope: Scope, name: str, above: tuple[str, ...]) -> float:
    if name in above:
        raise EndlessPathError(name)
    state = scope["States"][name]
    behind = () if is_sequencer(state) else followers(state)
    rest = [_longest_from(scope, follower, (*above, name)) for follower in behind]
    return _state_s(state) + max(rest, default=0.0)


def _state_s(state: State) -> float:
    one_s = _one_try_s(state)
    return one_s + sum(_retries_s(retrier, one_s) for retrier in state.get("Retry", ()))


def _retries_s(retrier: Mapping[str, Any], one_s: float) -> float:
    """Seconds that what one retrier retries adds: a try behind each wait, or as many refusals in front of them."""
    tries: int = retrier.get("MaxAttempts", 3)
    each_s = _REFUSAL_S if retrier["ErrorEquals"] == [THROTTLED] else one_s
    return tries * each_s + retry_wait_s(retrier)


def _one_try_s(state: State) -> float:
    match state["Type"]:
        case "Task":
            return float(state.get("TimeoutSeconds", float("inf")))
        case "Wait":
            return float(state.get("Seconds", float("inf")))
        case "Parallel":
            return max(map(longest_path_s, inner_scopes(state)))
        case "Map":
            rounds: int = ceil(MAP_ITEMS_MAX / (state.get("MaxConcurrency") or MAP_ITEMS_MAX))
            return rounds * longest_path_s(state["ItemProcessor"])
        case _:
            return 0.0
