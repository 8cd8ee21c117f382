"""Canary: does nothing, so that `keyturn doctor` can tell how long everything around a worker takes."""

from keyturn import Event, StepContext, worker


@worker
def handler(_event: Event, _step: StepContext) -> None:
    """Leave no trace but the step's stored result."""
