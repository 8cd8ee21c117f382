"""What the operator function can be asked: a command with its subject, who asks, and why.

It runs in the stack, not in the caller's terminal: with the routes that are deployed, and with the function's rights,
so that an operator needs the right to invoke it and to read. What can't be done is answered as `refused`, in a line.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from keyturn.adapters import telemetry
from keyturn.core.commands import Operator
from keyturn.errors import CannotOperate, StoreError
from keyturn.shell import asked
from keyturn.shell.asked import Request
from keyturn.shell.describe import describe
from keyturn.shell.hold_routes import EVERYTHING, hold_route, release_route
from keyturn.shell.item_requests import discard_items, redrive_given_up, redrive_quarantined
from keyturn.shell.operate import hold, release, resume, skip, told
from keyturn.shell.platform import Platform
from keyturn.shell.release_requests import (
    begin_release,
    promote_release,
    publish_release,
    roll_release_back,
    try_release,
)
from keyturn.shell.replay_requests import apply_plan, cancel, plan

_Handler = Callable[[Platform, Request, Operator], dict[str, Any]]


def answer(platform: Platform, request: Request) -> dict[str, Any]:
    """Carry a request out; return what stands afterwards, or `refused` with the reason."""
    if not isinstance(request, Mapping):
        return {"refused": "a request is a JSON object: use the keyturn command"}
    try:
        command = asked.text(request, "command")
        operator = Operator(asked.text(request, "by", "unknown"), asked.text(request, "reason"))
        done = _handler(command)(platform, request, operator)
    except (CannotOperate, StoreError) as error:
        return {"refused": str(error)}
    telemetry.logger().info("operated", extra={"command": command, "by": operator.by})
    return done


def _handler(command: str) -> _Handler:
    handler = HANDLERS.get(command)
    if handler is None:
        raise CannotOperate(f"unknown command {command[:50]!r}: one of {', '.join(HANDLERS)}")
    return handler


HANDLERS: Final[Mapping[str, _Handler]] = {
    "describe": lambda platform, _request, _operator: describe(platform),
    "hold-key": lambda platform, request, operator: told(hold(platform, asked.key(request), operator)),
    "release-key": lambda platform, request, operator: told(release(platform, asked.key(request), operator)),
    "hold-route": lambda platform, request, operator: hold_route(platform, asked.named(request, "route"), operator),
    "release-route": lambda platform, request, operator: release_route(
        platform, asked.named(request, "route"), operator, closes_breaker=bool(request.get("closes_breaker"))
    ),
    "hold-everything": lambda platform, _request, operator: hold_route(platform, EVERYTHING, operator),
    "release-everything": lambda platform, _request, operator: release_route(
        platform, EVERYTHING, operator, closes_breaker=False
    ),
    "resume": lambda platform, request, operator: told(
        resume(platform, asked.key(request), operator, is_fresh=bool(request.get("is_fresh")))
    ),
    "skip": lambda platform, request, operator: told(
        skip(platform, asked.key(request), operator, parked_at_ms=asked.whole(request, "parked_at_ms"))
    ),
    "quarantine-redrive": redrive_quarantined,
    "deadletter-redrive": redrive_given_up,
    "discard": discard_items,
    "release-begin": begin_release,
    "release-publish": publish_release,
    "release-canary": try_release,
    "release-promote": promote_release,
    "release-rollback": roll_release_back,
    "replay-plan": plan,
    "replay-apply": apply_plan,
    "replay-cancel": cancel,
}
