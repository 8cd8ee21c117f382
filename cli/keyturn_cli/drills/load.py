"""Drills about too much at once, and about a downstream that is down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from keyturn.adapters.controls import Controls
from keyturn.core.breaker import Breaker
from keyturn_cli.drills.drill import Drill
from keyturn_cli.drills.events import paid, tracked
from keyturn_cli.drills.ground import Ask, Ground
from keyturn_cli.facts import Facts
from keyturn_cli.report import Check
from keyturn_cli.store import Attempt

_BURST: Final = 400
_OTHERS: Final = 8
_BREAKER: Final = "card-service"
_KEYS_DOWN: Final = 10
_DOWN: Final = "the provider is down"
_OUTAGE: Final = {"pk": {"S": "demo"}, "sk": {"S": "outage#payment"}}


def _burst(ground: Ground) -> None:
    """Put hundreds of events of one key, then a few of others."""
    hot = ground.key(0)
    ground.put(*(Ask(hot, tracked(hot, number)) for number in range(_BURST)))
    others = [ground.key(number) for number in range(1, _OTHERS + 1)]
    ground.put(*(Ask(key, paid(key, number)) for number in range(2) for key in others))


def _others_flowed(ground: Ground, facts: Facts) -> Sequence[Check]:
    """Whether the others came through while the hot key was still busy."""
    ends: dict[bool, list[int]] = {True: [], False: []}
    for effect in facts.history.effects:
        ends[effect.place.key == ground.key(0)].append(effect.ended_at_ms)
    hot, others = max(ends[True]), max(ends[False])
    runs = facts.states[ground.key(0)].fence
    told = (
        f"{_BURST} events of the hot key in {runs} runs; the others were done {(hot - others) / 1000:.1f} s before it"
        if others <= hot
        else f"the last of the others was done {(others - hot) / 1000:.1f} s after {_BURST} events of the hot key"
    )
    return [Check("other keys flow beside it", others <= hot, (told,))]


@contextmanager
def _outage(ground: Ground) -> Iterator[None]:
    """Switch the payment provider off, for events that ask for it."""
    client, table = ground.target.client("dynamodb"), ground.target.outputs.ledger_table_name
    client.put_item(TableName=table, Item=_OUTAGE | {"is_down": {"BOOL": True}})
    try:
        yield
    finally:
        client.put_item(TableName=table, Item=_OUTAGE | {"is_down": {"BOOL": False}})


def _breaker(ground: Ground) -> Breaker:
    return Controls(ground.store.table, 1).breaker(_BREAKER)


def _go_down(ground: Ground) -> None:
    """Let the payment provider be down until its breaker is open, then come back."""
    keys = [ground.key(number) for number in range(_KEYS_DOWN)]
    with _outage(ground):
        ground.put(*(Ask(key, paid(key, number, payment="outage")) for number in range(2) for key in keys))
        ground.until("the breaker opens", lambda: _breaker(ground).is_holding, limit_s=120)
        opened = _breaker(ground)
        ground.see(
            f"breaker {_BREAKER!r} open after {len(opened.failures)} keys failed, a probe after {opened.wait_ms} ms"
        )
        ground.until("a key waits for it", lambda: any(_is_held(ground, number) for number in range(_KEYS_DOWN)))


def _is_held(ground: Ground, number: int) -> bool:
    return bool(ground.state(number).held_route)


def _closed_again(ground: Ground) -> str:
    return ground.left() or ("the breaker is still open" if _breaker(ground).is_holding else "")


def _is_used_up(attempt: Attempt) -> bool:
    return attempt.outcome == "failed" and _DOWN in attempt.reason


def _nobody_parked(_ground: Ground, facts: Facts) -> Sequence[Check]:
    outcomes = Counter(attempt.outcome for attempt in facts.attempts)
    worst = Counter(attempt.key for attempt in facts.attempts if _is_used_up(attempt))
    most = max(worst.values(), default=0)
    told = f"{dict(outcomes)}; no key used up more than {most} of its attempts"
    return [Check("an outage uses no attempts up", most <= 1, (told,))]


HOT_KEY: Final = Drill(
    name="hot-key-burst",
    does=f"Puts {_BURST} events of one key at once, and a few of {_OTHERS} other keys behind them.",
    promises="The hot key is worked off in order, and the others are through long before it.",
    inject=_burst,
    checks=_others_flowed,
    limit_s=180,
)
OUTAGE: Final = Drill(
    name="downstream-outage",
    does=f"Lets the payment provider be down for {_KEYS_DOWN} keys until its circuit breaker opens, then come back.",
    promises="The breaker holds the routes, no key is parked for it, one probe closes it, all go on.",
    inject=_go_down,
    wait=_closed_again,
    checks=_nobody_parked,
    limit_s=180,
    local_only="its breaker would hold the routes of other keys, too",
)
