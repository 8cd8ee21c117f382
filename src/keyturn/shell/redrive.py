"""Puts quarantined records into the stream again, after whatever was wrong with them was mended.

Each goes under its own key, and the records of a key in their old order. It is put first and marked then: a crash
between the two leaves it open, and the next redrive puts it once more. As an event that second one is recognised by its
`source` and `id`, like anything that a producer sends twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keyturn.adapters import telemetry
from keyturn.adapters.open_items import Closing, How
from keyturn.adapters.records import rejection_of
from keyturn.adapters.table import Item, ItemKey
from keyturn.core.commands import Operator
from keyturn.core.event import Reason
from keyturn.core.naming import key_problem
from keyturn.errors import CannotOperate, StoreError, Throttled
from keyturn.shell.closing import Answer, Budget, Fate, Left, answer_of, attempt, by_key
from keyturn.shell.platform import Platform


def redrive(platform: Platform, places: Sequence[ItemKey], operator: Operator, *, is_forced: bool) -> list[Answer]:
    """Put records again that would be events now; with `is_forced` the others too."""
    found = platform.open_items.load(places, ("key",))
    items = [(item["key"], place[1].rpartition("#")[2], place) for place, item in found.items()]
    missing = [answer_of(place, Fate.REFUSED, "it is not there any more") for place in places if place not in found]
    budget = Budget.of(platform)

    def redrive_key(key: str, in_order: Sequence[ItemKey]) -> list[Answer]:
        return _Redrive(platform, operator, is_forced, key, platform.process.token()).all(budget, in_order)

    return missing + by_key(platform, items, redrive_key)


@dataclass(slots=True)
class _Redrive:
    """The redrive of one key's records: each is put behind the one before."""

    platform: Platform
    operator: Operator
    is_forced: bool
    key: str
    token: str
    after: str | None = None

    def all(self, budget: Budget, places: Sequence[ItemKey]) -> list[Answer]:
        answers: list[Answer] = []
        for place in places:
            if answers and answers[-1].fate in {Fate.FAILED, Fate.UNDONE}:
                answers.append(answer_of(place, Fate.UNDONE))  # nothing may overtake it
            else:
                answers.append(attempt(budget, place, self._one))
        return answers

    def _one(self, place: ItemKey) -> str:
        platform = self.platform
        found = platform.open_items.get(place)
        raw = self._raw_of(found)
        self._check(found, raw)
        platform.open_items.claim(place, self.token, platform.clock())
        try:
            self.after = platform.stream.put(self.key, raw, self.after)
        except StoreError:
            platform.open_items.let_go(place, self.token)
            raise
        closing = Closing(How.REDRIVEN, self.operator.by, self.operator.reason, platform.clock(), self.after)
        platform.open_items.close(place, closing, self.token)
        telemetry.count("Redriven")
        return self.after

    def _raw_of(self, item: Item) -> bytes:
        """Return a record's bytes. One that has lost them is refused: to ask again would stop at it again."""
        try:
            return self.platform.quarantine.raw_of(item)
        except Throttled:
            raise
        except StoreError as error:
            raise CannotOperate(f"what it holds can't be had: {error}") from error

    def _check(self, item: Item, raw: bytes) -> None:
        if item["reason"] == Reason.KEY or key_problem(self.key):
            raise CannotOperate("its key is none that Kinesis takes: put what it holds under another, then discard it")
        accepts_aggregated = self.platform.settings.accepts_aggregated_records
        wrong = rejection_of(self.key, raw, self.platform.routes, accepts_aggregated=accepts_aggregated)
        if wrong is not None and not self.is_forced:
            raise Left(f"{wrong.reason}: {wrong.detail}")
