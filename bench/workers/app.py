"""Worker of the baselines."""

import os
from typing import Any

import ledger  # type: ignore[import-not-found]  # it is deployed beside this

STEP = os.environ["STEP"]


def handler(request: dict[str, Any], _context: Any) -> bool:
    """Do the step's effect."""
    ledger.write(STEP, request["key"], request["event"]["data"]["sequence"])
    return True
