"""Worker of Keyturn's contenders, in the place of the sample's."""

import ledger  # type: ignore[import-not-found]  # it is deployed beside this

from keyturn import Event, StepContext, worker


@worker
def handler(event: Event, step: StepContext) -> bool:
    """Do the step's effect."""
    ledger.write(step.step, step.key, event.data["sequence"])
    return True
