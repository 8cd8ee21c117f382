"""What the operator function can be asked about open items: redrive and discard, a page of them at a time."""

import re
from collections.abc import Collection
from typing import Any, Final

from keyturn.adapters.open_items import Kind
from keyturn.adapters.table import ItemKey
from keyturn.core.commands import Operator
from keyturn.core.naming import is_unicode
from keyturn.errors import CannotOperate
from keyturn.shell.asked import Request
from keyturn.shell.closing import discard, told
from keyturn.shell.dead_letters import redrive_dead_letters
from keyturn.shell.platform import Platform
from keyturn.shell.redrive import redrive

ITEMS_A_REQUEST_MAX: Final = 50
"""Open items that one request may name: what an invocation does in its time, large records apart."""

_SK_CHARACTERS_MAX: Final = 256


def redrive_quarantined(platform: Platform, request: Request, operator: Operator) -> dict[str, Any]:
    """Put quarantined records into the stream again; with `is_forced` those too that are still no events."""
    return told(
        redrive(platform, _places(request, Kind.QUARANTINE), operator, is_forced=bool(request.get("is_forced")))
    )


def redrive_given_up(platform: Platform, request: Request, operator: Operator) -> dict[str, Any]:
    """Replay the events of dead letters; with `is_fresh` their finished steps too."""
    return told(
        redrive_dead_letters(
            platform, _places(request, Kind.DEAD_LETTER), operator, is_fresh=bool(request.get("is_fresh"))
        )
    )


def discard_items(platform: Platform, request: Request, operator: Operator) -> dict[str, Any]:
    """Close open items of either kind."""
    return told(discard(platform, _places(request, *Kind), operator))


def _places(request: Request, *kinds: Kind) -> list[ItemKey]:
    """Read which items a request is about: pairs of pk and sk. Raises CannotOperate for items of another kind.

    Closing writes into whatever stands there and takes it out of the index: a key's state must never be named.
    """
    pairs = request.get("places")
    if not isinstance(pairs, list) or not 1 <= len(pairs) <= ITEMS_A_REQUEST_MAX:
        raise CannotOperate(f"the request names no items, or more than {ITEMS_A_REQUEST_MAX}")
    return [_place(pair, kinds) for pair in dict.fromkeys(map(_pair, pairs))]


def _pair(pair: object) -> ItemKey:
    match pair:
        case [str(pk), str(sk)]:
            return pk, sk
        case _:
            raise CannotOperate("an item is named by its pk and sk")


def _place(pair: ItemKey, kinds: Collection[Kind]) -> ItemKey:
    pk, sk = pair
    is_of_kind = any(re.fullmatch(rf"{kind.value}#\d{{4}}-\d\d-\d\d", pk, re.ASCII) for kind in kinds)
    if not is_of_kind or not 1 <= len(sk) <= _SK_CHARACTERS_MAX or not is_unicode(sk):
        raise CannotOperate(f"{pk[:50]!r} holds nothing of the kind that this is for ({', '.join(kinds)})")
    return pair
