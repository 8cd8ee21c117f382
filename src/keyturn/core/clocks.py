"""Times until which something is put off, set by the clock of one process and met by another's."""

from typing import Final

_APART_MS: Final = 60_000
"""Right clocks are never so far apart; and who waits that much longer because of a wrong one is well served."""


def is_put_off(until_ms: int, now_ms: int, longest_ms: int) -> bool:
    """Tell whether a time is still to come, given how long something is put off at most.

    One that is further away was set by a clock that was ahead: everybody else would wait until it has come.
    """
    return now_ms < until_ms <= now_ms + longest_ms + _APART_MS
