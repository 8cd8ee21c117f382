"""The one built-in route: a workflow that does nothing, for `keyturn doctor` to send an event all the way through.

Its events have an ordering key of their own, and stay in that key's log as long as any other event does. A canary that
fails is passed over, so that one that died doesn't stand in the way of the next.
"""

import json
from typing import Final

from keyturn.core.route import Backoff, Batch, Exhaustion, Kind, Route, Routes
from keyturn.errors import SettingsError

CANARY_KEY: Final = "keyturn/canary"
CANARY: Final = Route(
    name="keyturn-canary",
    type="keyturn.canary",
    workflow="canary",
    kind=Kind.EXPRESS,
    schema=None,
    run_timeout_s=140,
    worker_timeout_s=3,
    max_attempts=3,
    backoff=Backoff(1, 2.0, 60),
    on_exhaustion=Exhaustion.SKIP,
    batch=Batch(1, 180_000),
    personal_key=False,
)


def with_canary(routes: Routes) -> Routes:
    """Add the built-in route. Raises SettingsError when a route of the file takes its name or its type."""
    for route in routes.routes:
        for field, value, reserved in (
            ("name", route.name, CANARY.name),
            ("type", route.type, CANARY.type),
            ("plain.type", route.plain.type if route.plain else "", CANARY.type),
        ):
            if value == reserved:
                raise SettingsError(
                    f'routes.json, route "{route.name}": {field} is "{value}", which is the built-in route\'s of'
                    " `keyturn doctor`: choose another"
                )
    return Routes((*routes.routes, CANARY))


def canary_event(number: str) -> bytes:
    """Write the event that goes through; `number` tells one from another."""
    event = {
        "specversion": "1.0",
        "source": "/keyturn/doctor",
        "id": number,
        "type": CANARY.type,
        "subject": CANARY_KEY,
    }
    return json.dumps(event, separators=(",", ":")).encode()
