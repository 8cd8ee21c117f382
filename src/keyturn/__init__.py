"""Keyturn: runs a workflow for every record of a stream, strictly in order within a key.

What a worker's author needs:

    from keyturn import Event, Permanent, StepContext, worker

    @worker
    def handler(event: Event, step: StepContext) -> dict[str, object]:
        ...
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from keyturn.core.event import Event
    from keyturn.core.step_context import StepContext
    from keyturn.errors import Permanent
    from keyturn.workers import worker

__all__ = ["Event", "Permanent", "StepContext", "worker"]

_HOMES: Final = {
    "Event": "keyturn.core.event",
    "Permanent": "keyturn.errors",
    "StepContext": "keyturn.core.step_context",
    "worker": "keyturn.workers",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: the core must not load boto3 because it stands in this package."""
    if name not in _HOMES:
        raise AttributeError(f"module 'keyturn' has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
