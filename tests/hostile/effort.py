"""How hard the properties look, and what they measure by: function calls and bytes, never a clock.

`make test` looks at few examples, the same ones each time in CI; `make fuzz EXAMPLES=20000` looks at many.
"""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

_EXAMPLES = int(os.environ.get("EXAMPLES", "0"))


def looking(examples: int) -> settings:
    """Look at so many examples, or at as many as the environment asks for."""
    return settings(
        max_examples=_EXAMPLES or examples,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


def calls_of(work: Callable[[], Any]) -> int:
    """Count the Python and C functions that are called while something is done."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    gc.collect()  # what earlier tests left would call its finalizers in the midst of the work
    gc.disable()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return calls


def assert_linear(work_on: Callable[[int], Callable[[], Any]], size: int) -> None:
    """Fail when twice as much takes clearly more than twice the calls: `work_on(n)` prepares work of size n.

    Quadratic work takes four times the calls; what is done once whatever the size makes the ratio smaller.
    """
    work_on(size)()  # caches are filled once
    once, twice, four_times = (calls_of(work_on(times * size)) for times in (1, 2, 4))
    assert twice < 2.5 * once + 200, (once, twice, four_times)
    assert four_times < 2.5 * twice + 200, (once, twice, four_times)


def peak_bytes(work: Callable[[], Any]) -> int:
    """Return the most memory that something takes besides what is there before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
