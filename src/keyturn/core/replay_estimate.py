"""What a replay will cost and how long it will take, as far as its plan can tell."""

from dataclasses import dataclass
from typing import Final

from keyturn.core.prices import PriceList
from keyturn.core.replay_plan import Tally

_EVENT_MS_UNKNOWN: Final = 1_000
"""How long the steps of an event take where no result tells."""
_RUN_OVERHEAD_MS: Final = 500
"""Starts, states between and the sequencer."""
_INVOCATION_OVERHEAD_MS: Final = 60
"""Of a worker beside its work, of a sequencer, or of one that finds its step done."""
_WRITES_A_RUN: Final = 5
"""Claim, binding and finish, and the index entry in and out."""
_WRITES_A_REWIND: Final = 6
"""Key state and operation record in one transaction, which doubles them, and the plan's own items."""
_READS_AN_INVOCATION: Final = 3
"""Key state, stored results, the slice."""
_LAMBDA_GB: Final = 256 / 1_024
"""What the template gives a function unless it says otherwise; on x86_64."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Dollars and seconds."""

    step_functions: float
    lambda_: float
    dynamodb: float
    by_rate_s: float
    """If the rate at which keys are rewound is what holds it up."""
    by_slots_s: float
    """If the runs that may be in flight at once are; other keys' runs come on top."""
    by_longest_key_s: float

    @property
    def total(self) -> float:
        """Dollars."""
        return self.step_functions + self.lambda_ + self.dynamodb

    @property
    def takes_s(self) -> float:
        """Seconds."""
        return max(self.by_rate_s, self.by_slots_s, self.by_longest_key_s)


def estimate(tally: Tally, prices: PriceList, *, rate: int, max_in_flight_runs: int) -> Estimate:
    """Estimate what a plan comes to."""
    event_s = (tally.worked_ms / tally.timed_events if tally.timed_events else _EVENT_MS_UNKNOWN) / 1_000
    run_s = event_s * tally.events / max(1, tally.runs) + _RUN_OVERHEAD_MS / 1_000
    express_gb_s = tally.express_runs * prices.express_billed_gb_s(run_s * 1_000)
    express = tally.express_runs * prices.express_start + prices.express_usd(express_gb_s)
    # A step that is done takes as long as its event whatever run it is in: a batch saves invocations, not their time.
    lambda_s = tally.steps_to_run * event_s + tally.invocations * _INVOCATION_OVERHEAD_MS / 1_000
    writes = tally.runs * _WRITES_A_RUN + tally.steps_to_run + tally.keys * _WRITES_A_REWIND
    reads = tally.invocations * _READS_AN_INVOCATION
    return Estimate(
        step_functions=tally.transitions * prices.standard_transition + express,
        lambda_=tally.invocations * prices.lambda_request + lambda_s * _LAMBDA_GB * prices.lambda_gb_s_x86,
        dynamodb=writes * prices.dynamodb_write_unit + reads * prices.dynamodb_read_unit,
        by_rate_s=tally.keys / rate,
        by_slots_s=tally.runs * run_s / max_in_flight_runs,
        by_longest_key_s=tally.longest_runs * run_s,
    )


def scan_cost(size_bytes: int, prices: PriceList) -> float:
    """What it costs to read a whole table, eventually consistent, in dollars."""
    return size_bytes / (2 * prices.rounding.read_unit_bytes) * prices.dynamodb_read_unit
