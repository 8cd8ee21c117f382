"""What the operator function can be asked about open items: redrive and discard, a page of them at a time."""

from collections.abc import Mapping
from typing import Any, Final

from keyturn.adapters.table import ItemKey
from keyturn.core.commands import Operator
from keyturn.errors import CannotOperate
from keyturn.shell.closing import discard, told
from keyturn.shell.dead_letters import redrive_dead_letters
from keyturn.shell.platform import Platform
from keyturn.shell.redrive import redrive

ITEMS_A_REQUEST_MAX: Final = 50
"""Open items that one request may name: what an invocation does in its time, large records apart."""

_Request = Mapping[str, Any]


def redrive_quarantined(platform: Platform, request: _Request, operator: Operator) -> dict[str, Any]:
    """Put quarantined records into the stream again; with `is_forced` those too that are still no events."""
    return told(redrive(platform, _places(request), operator, is_forced=bool(request.get("is_forced"))))


def redrive_given_up(platform: Platform, request: _Request, operator: Operator) -> dict[str, Any]:
    """Replay the events of dead letters; with `is_fresh` their finished steps too."""
    return told(redrive_dead_letters(platform, _places(request), operator, is_fresh=bool(request.get("is_fresh"))))


def discard_items(platform: Platform, request: _Request, operator: Operator) -> dict[str, Any]:
    """Close open items of either kind."""
    return told(discard(platform, _places(request), operator))


def _places(request: _Request) -> list[ItemKey]:
    """Read which items a request is about: pairs of pk and sk."""
    pairs = request.get("places")
    if not isinstance(pairs, list) or not 1 <= len(pairs) <= ITEMS_A_REQUEST_MAX:
        raise CannotOperate(f"the request names no items, or more than {ITEMS_A_REQUEST_MAX}")
    return [(str(pk), str(sk)) for pk, sk in pairs]
