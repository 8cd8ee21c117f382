"""Mends things side by side, as far as an invocation's time goes."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from keyturn.adapters import telemetry
from keyturn.adapters.table import chunks
from keyturn.errors import StoreError
from keyturn.shell.platform import Platform
from keyturn.shell.time_budget import HasTime

_HANDS: Final = 16

_T = TypeVar("_T")
_R = TypeVar("_R")


def each(platform: Platform, subjects: Sequence[_T], mend: Callable[[Platform, _T], None], has_time: HasTime) -> None:
    """Mend keys side by side while there is time; what fails or is left stays in the index for the next pass."""

    def mend_one(subject: _T) -> None:
        if not has_time():
            return
        try:
            mend(platform, subject)
        except StoreError as error:
            leave(error)

    platform.process.side_by_side(_HANDS, mend_one, subjects)


def for_a_while(
    platform: Platform, hands: int, do: Callable[[_T], _R], subjects: Sequence[_T], most_ms: int
) -> list[_R]:
    """Do something for subjects, as many at a time as there are hands; none is begun once so long has passed.

    Returns what came of those that were begun, in order.
    """
    began_ms = platform.clock()
    done: list[_R] = []
    for some in chunks(subjects, hands):
        done += platform.process.side_by_side(hands, do, some)
        if platform.clock() - began_ms >= most_ms:
            break
    return done


def leave(error: StoreError) -> None:
    """Say that something is left for the next pass, which finds it in the index."""
    telemetry.logger().warning("left for the next pass", extra={"reason": str(error)})
