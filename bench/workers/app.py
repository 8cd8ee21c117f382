"""Worker of the baselines."""

import os
from typing import Any

import ledger  # type: ignore[import-not-found]  # it is deployed beside this

STEP = os.environ["STEP"]
KEEPS_CHECKPOINTS = os.environ.get("CHECKPOINT_TABLE", "") != ""
if KEEPS_CHECKPOINTS:
    import checkpoints  # type: ignore[import-not-found]  # so is this


def handler(request: dict[str, Any], _context: Any) -> bool:
    """Do the step's effect, unless a checkpoint tells that it was done."""
    key, number = request["key"], request["event"]["data"]["sequence"]
    if KEEPS_CHECKPOINTS and checkpoints.is_done(STEP, key, number):
        return True
    ledger.write(STEP, key, number)
    if KEEPS_CHECKPOINTS:
        checkpoints.note(STEP, key, number)
    return True
