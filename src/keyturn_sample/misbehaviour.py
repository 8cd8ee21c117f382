"""What a sample worker does wrong on purpose, as the event's data ask: `"demo": {"payment": "fail_twice"}`."""

import time
from typing import Final

from keyturn import Event, Permanent, StepContext
from keyturn_sample.ledger import ledger

_TRIES_THAT_FAIL: Final = 2
_LONGER_THAN_ANY_SAMPLE_WORKER_MAY_TAKE_S: Final = 60
_SHORTER_THAN_ANY_SAMPLE_WORKER_MAY_TAKE_S: Final = 1.5


class ProviderDown(Exception):
    """Stands for whatever a real provider's client raises."""


def misbehave(event: Event, step: StepContext) -> None:
    """Fail, hang, take its time or return, as the event asks of this step."""
    match _wanted(event, step):
        case "fail_twice" if ledger().tries(step) <= _TRIES_THAT_FAIL:
            raise ProviderDown("no answer from the provider")
        case "hang" if ledger().tries(step) == 1:
            time.sleep(_LONGER_THAN_ANY_SAMPLE_WORKER_MAY_TAKE_S)
            raise ProviderDown("nothing stopped this worker, which is past any timeout of the sample")
        case "slow" if ledger().tries(step) == 1:
            time.sleep(_SHORTER_THAN_ANY_SAMPLE_WORKER_MAY_TAKE_S)
        case "outage" if ledger().is_down(step):
            raise ProviderDown("the provider is down")
        case "fail_for_good":
            raise ProviderDown("the provider never answers for this order")
        case "permanent":
            raise Permanent("the provider refused: no such card")


def _wanted(event: Event, step: StepContext) -> str | None:
    demo = event.data.get("demo", {})
    wanted = demo.get(step.step.partition("-")[0])
    return str(wanted) if wanted else None
