"""Does what a process needs once while it starts, before its first invocation."""

import os
from collections.abc import Callable
from functools import cache
from typing import TypeVar

_T = TypeVar("_T")


def built_at_start(build: Callable[[], _T]) -> Callable[[], _T]:
    """Return a function that gives what `build` builds, once a process.

    In a Lambda function it is built right away: start-up has a full processor whatever the function's memory, and its
    time isn't part of the function's timeout (Lambda Developer Guide, "Understanding the Lambda execution environment
    lifecycle"). Elsewhere, where the environment may hold no settings, it is built when it is first asked for.
    """
    cached = cache(build)
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        cached()
    return cached
