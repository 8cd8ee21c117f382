"""Replayer: a slice of the work on a replay, for the replay workflow, which calls it until it is through."""

from typing import Any

from keyturn.adapters.telemetry import instrumented
from keyturn.shell.platform import deployed
from keyturn.shell.replay_work import work_on_replay
from keyturn.shell.start_up import built_at_start
from keyturn.shell.time_budget import has_time

RESERVE_MS = 15_000
"""Left for the piece of work under way: half of the timeout, so that what is begun also ends."""

platform = built_at_start(deployed)


@instrumented
def handler(request: dict[str, Any], context: Any) -> dict[str, Any]:
    """Go on with the replay; what is left, and when, stands in the answer."""
    return work_on_replay(platform(), request, has_time(context, RESERVE_MS), context.get_remaining_time_in_millis())
