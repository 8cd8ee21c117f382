"""Who is compared, and how each of them is brought up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bench.contender import Contender
from bench.ground import BATCHED, STANDARD, STRICT, Baseline, Ground
from bench.on_engine import OnEngine
from bench.rivals.running import dbos, restate

REFERENCE: Final = "naive-unordered"
ORDERED: Final = "naive-ordered"

KEYTURN: Final[Mapping[str, str]] = {
    "keyturn-strict": STRICT,
    "keyturn-standard": STANDARD,
    "keyturn-batched": BATCHED,
}
"""Name -> event type, whose route decides kind and batch."""
RUNS_AT_ONCE: Final = 4
"""Everywhere on the engine: each run is three functions at once, and each function at work is a process."""
SHARDS: Final = 2
_AT_ONCE: Final = f"RunsAtOnce={RUNS_AT_ONCE // SHARDS}"
BASELINES: Final[Mapping[str, Baseline]] = {
    REFERENCE: Baseline("naive_waiting", ("Order=none", _AT_ONCE)),
    "naive-checkpointed": Baseline("naive_waiting", ("Order=none", "Checkpoints=steps", _AT_ONCE)),
    "naive-blocking": Baseline("naive_waiting", ("Order=key", _AT_ONCE)),
    ORDERED: Baseline("naive_ordered", (_AT_ONCE,)),
}
RIVALS: Final[Mapping[str, Callable[[Path], AbstractContextManager[Contender]]]] = {"dbos": dbos, "restate": restate}
WORKFLOW_WRITES: Final[Mapping[str, float]] = {ORDERED: 1.0}
"""Write units an event of the workflow itself, where no function counts them: giving the lock back."""
CURVE: Final = ("keyturn-strict", "keyturn-batched", ORDERED)
BESIDE_BUSY: Final = (*CURVE, "naive-blocking")
"""Those that keep a key's order on the engine, and so could make its backlog the others'."""

NAMES: Final = (*KEYTURN, *BASELINES, *RIVALS)
PARAMETERS: Final[Mapping[str, str]] = {
    "MaxInFlightRuns": str(RUNS_AT_ONCE),
    "ShardCount": str(SHARDS),
    "BatchingWindowSeconds": "0",  # a second in which nobody works would be half of a short run
    "Metering": "off",  # it costs a line an invocation, and no baseline has it
}
METERED: Final[Mapping[str, str]] = {**PARAMETERS, "Metering": "on"}


def on_engine(ground: Ground) -> dict[str, OnEngine]:
    """Everything that is deployed to the engine, by name."""
    outputs = ground.target.outputs
    names = (outputs.stream_name, outputs.dispatcher_function_name)
    found = {name: OnEngine(name, event_type, ground, *names) for name, event_type in KEYTURN.items()}
    for name, stack in ground.baselines.items():
        found[name] = OnEngine(name, "bench.order", ground, stack.stream, stack.dispatcher)
    return found
