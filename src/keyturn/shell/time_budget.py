"""How much of an invocation's time may still be spent on beginning things."""

from collections.abc import Callable
from typing import Any, Final

HasTime = Callable[[], bool]
"""Whether the invocation may begin something more."""

_RESERVE_MS: Final = 5_000
"""Left for what is under way to end and for the answer: a call to AWS takes at most this long, its retries included
in the common case. What is cut off is redelivered, so being wrong here costs time only."""


def has_time(context: Any, reserve_ms: int = _RESERVE_MS) -> HasTime:
    """Return a function that tells whether the invocation of `context` may begin something more."""
    return lambda: bool(context.get_remaining_time_in_millis() > reserve_ms)
