"""What Keyturn promises, one class a promise, checked against what workers really did.

Pure: a checker is handed a `History` and yields violations. The demo, `keyturn push --wait` and the end-to-end tests
use the same ones, so that what a user is told is what the tests hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from keyturn_cli.guarantees.history import Effect, History, Place, Sent, Violation
from keyturn_cli.guarantees.nothing_lost import Fate, NothingLost, fate
from keyturn_cli.guarantees.once import EachEffectOnce
from keyturn_cli.guarantees.one_at_a_time import OneRunAtATime
from keyturn_cli.guarantees.only_events import OnlyEvents
from keyturn_cli.guarantees.order import Order

__all__ = [
    "GUARANTEES",
    "EachEffectOnce",
    "Effect",
    "Fate",
    "Guarantee",
    "History",
    "NothingLost",
    "OneRunAtATime",
    "OnlyEvents",
    "Order",
    "Place",
    "Sent",
    "Violation",
    "fate",
    "violations",
]


class Guarantee(Protocol):
    """One promise."""

    promise: ClassVar[str]

    def check(self, history: History) -> Iterator[Violation]:
        """Yield what breaks it."""

    def proof(self, history: History) -> str:
        """Say in a line what was looked at, for when nothing broke it."""


GUARANTEES: tuple[Guarantee, ...] = (Order(), OneRunAtATime(), EachEffectOnce(), NothingLost(), OnlyEvents())


def violations(history: History) -> list[Violation]:
    """Everything in a history that breaks any promise; empty for a good one."""
    return [violation for guarantee in GUARANTEES for violation in guarantee.check(history)]
