"""All drills, in the order in which they are run."""

from __future__ import annotations

from typing import Final

from keyturn_cli.drills.deploys import BAD_DEPLOY
from keyturn_cli.drills.drill import Drill
from keyturn_cli.drills.load import HOT_KEY, OUTAGE
from keyturn_cli.drills.lost import LOST_FINISH, LOST_START, THROTTLED
from keyturn_cli.drills.platform import ENGINE_RESTART, RESHARD, WATCHDOG_OFF
from keyturn_cli.drills.records import DUPLICATE_BATCH, PAYLOADS, POISON_KEY, POISON_RECORD
from keyturn_cli.drills.workers import HUNG, KILLED, ZOMBIE
from keyturn_cli.errors import NotFound

DRILLS: Final[tuple[Drill, ...]] = (
    DUPLICATE_BATCH,
    POISON_RECORD,
    POISON_KEY,
    PAYLOADS,
    KILLED,
    HUNG,
    ZOMBIE,
    LOST_START,
    LOST_FINISH,
    THROTTLED,
    HOT_KEY,
    OUTAGE,
    RESHARD,
    WATCHDOG_OFF,
    BAD_DEPLOY,
    ENGINE_RESTART,
)


def drill_named(name: str) -> Drill:
    """Find a drill. Raises NotFound, with all names."""
    for drill in DRILLS:
        if drill.name == name:
            return drill
    names = ", ".join(drill.name for drill in DRILLS)
    raise NotFound(f"there is no drill {name!r}. There are: {names}")
