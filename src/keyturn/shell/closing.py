"""What an operator does with open items: what a request about many of them has in common.

A request names its items, at most so many that the invocation does them in its time; what it doesn't get to is answered
as undone, and asked for again. Each item has an answer of its own, so that one that is refused holds no other up.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any, Final

from keyturn.adapters.open_items import Closing, How, id_of
from keyturn.adapters.table import ItemKey
from keyturn.core.commands import Operator
from keyturn.errors import CannotOperate, StoreError
from keyturn.shell.platform import Platform

_HANDS: Final = 8

_BUDGET_MS: Final = 30_000
"""How long a request begins new items: half of the operator function's timeout, so that what is begun also ends."""


class Fate(StrEnum):
    """What a request did with one item."""

    DONE = "done"
    LEFT = "left"
    """It would go wrong as it did before, so it was left as it is."""
    REFUSED = "refused"
    """It is closed already, or is not in a state for this."""
    FAILED = "failed"
    """A call to AWS failed; the rest of its key was not begun."""
    UNDONE = "undone"
    """Not begun: the time was up, or something before it in its key failed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one item."""

    id: str
    place: ItemKey
    fate: Fate
    detail: str = ""
    """The reason; when it is done, the new sequence number or the replay."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much longer a request may begin things."""

    platform: Platform
    began_at_ms: int

    @classmethod
    def of(cls, platform: Platform) -> "Budget":
        """Begin now."""
        return cls(platform, platform.clock())

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be begun."""
        return self.platform.clock() - self.began_at_ms > _BUDGET_MS


def discard(platform: Platform, places: Sequence[ItemKey], operator: Operator) -> list[Answer]:
    """Close open items without doing anything for them; they stay until their time to live ends."""

    def discard_one(place: ItemKey) -> str:
        closing = Closing(How.DISCARDED, operator.by, operator.reason, platform.clock())
        platform.open_items.close(place, closing)
        return ""

    budget = Budget.of(platform)
    return platform.process.side_by_side(_HANDS, lambda place: attempt(budget, place, discard_one), places)


def by_key(
    platform: Platform,
    items: Sequence[tuple[str, str, ItemKey]],
    work: Callable[[str, Sequence[ItemKey]], list[Answer]],
) -> list[Answer]:
    """Work on (key, position, place) triples: keys side by side, the items of each together, by position."""
    in_order = sorted(items)
    groups = [(key, [place for _, _, place in group]) for key, group in groupby(in_order, lambda item: item[0])]
    found = platform.process.side_by_side(_HANDS, lambda group: work(*group), groups)
    return [answer for answers in found for answer in answers]


def attempt(budget: Budget, place: ItemKey, do: Callable[[ItemKey], str]) -> Answer:
    """Do something with one item; `do` returns the answer's detail, or raises Left, CannotOperate or StoreError."""
    if budget.is_spent:
        return answer_of(place, Fate.UNDONE)
    try:
        return answer_of(place, Fate.DONE, do(place))
    except Left as left:
        return answer_of(place, Fate.LEFT, str(left))
    except CannotOperate as refused:
        return answer_of(place, Fate.REFUSED, str(refused))
    except StoreError as failed:
        return answer_of(place, Fate.FAILED, str(failed))


class Left(Exception):
    """An item is left as it is, with the reason."""


def answer_of(place: ItemKey, fate: Fate, detail: str = "") -> Answer:
    """Make the answer about an item."""
    return Answer(id_of(place), place, fate, detail)


def told(answers: Sequence[Answer]) -> dict[str, Any]:
    """Tell what became of items, for the caller to print."""
    return {"items": [asdict(answer) for answer in answers]}
