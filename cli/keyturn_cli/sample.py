"""The sample stream of the demo: a shop's orders with the awkward cases on purpose, and what must come of it.

Pure and deterministic: the same arguments give the same bytes in the same order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import Final

from keyturn.core.event import Reason
from keyturn.core.naming import KEY_CHARACTERS_MAX
from keyturn_cli.sample_shop import ShopEvent, is_shipped, lifecycle, regular, scans

EVENTS: Final = 1_000
KEYS: Final = 110

_RESENT: Final = 24
_BAD_ON_A_KEY_OF_THEIR_OWN: Final = 2
_ASTRAY: Final = 30.0
"""How many times more scans than an ordinary parcel the worst one gets, on average."""


class Expected(StrEnum):
    """What must become of a record."""

    RUN = "run"
    """Each of its workflow's steps takes effect once, after the key's earlier events."""
    DUPLICATE = "duplicate"
    QUARANTINED = "quarantined"
    PARKED = "parked"
    """Its run uses up its attempts; its key waits for a person then."""
    WAITS_BEHIND = "waits behind"
    """Its key is parked at an earlier event."""


class Trouble(StrEnum):
    """What is the matter with a record, for the report."""

    NONE = "none"
    SENT_AGAIN = "sent again by the producer"
    MALFORMED = "malformed"
    FAILS_TWICE = "a worker fails twice, then works"
    HANGS_ONCE = "a worker hangs past its timeout, once"
    FAILS_FOR_GOOD = "a worker fails for good"


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One record to put, and what must become of it."""

    key: str
    data: bytes
    expected: Expected
    trouble: Trouble = Trouble.NONE
    reason: Reason | None = None
    """Why it is quarantined."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """What must come of a sample stream as a whole."""

    records: int
    keys: int
    """Ordering keys that have at least one event (a key may have bad records only)."""
    run: int
    """Events whose effects must all be there in the end."""
    duplicates: int
    quarantined: Mapping[Reason, int]
    parked: Mapping[str, int]
    """Key that ends parked -> how many events wait behind the one that failed."""
    troubles: Mapping[Trouble, int]


@dataclass(frozen=True, slots=True)
class Sample:
    """A stream to put, in this order, and what must come of it."""

    seed: int
    records: tuple[SampleRecord, ...]
    expectations: Expectations = field(init=False)

    def __post_init__(self) -> None:
        """Sum the expectations of the records up."""
        object.__setattr__(self, "expectations", _summed(self.records))


@dataclass(frozen=True, slots=True)
class _Misbehaviour:
    event: int
    """Which event of its order, from 0: 0 placed, 1 paid, 2 shipped."""
    worker: str
    demo: str
    trouble: Trouble
    expected: Expected = Expected.RUN


_MISBEHAVIOURS: Final = (
    _Misbehaviour(1, "payment", "fail_for_good", Trouble.FAILS_FOR_GOOD, Expected.PARKED),
    _Misbehaviour(0, "inventory", "hang", Trouble.HANGS_ONCE),
    _Misbehaviour(1, "payment", "permanent", Trouble.FAILS_FOR_GOOD, Expected.PARKED),
    _Misbehaviour(0, "notification", "fail_twice", Trouble.FAILS_TWICE),
    _Misbehaviour(0, "inventory", "fail_twice", Trouble.FAILS_TWICE),
    _Misbehaviour(1, "payment", "fail_twice", Trouble.FAILS_TWICE),
    _Misbehaviour(2, "picking", "fail_twice", Trouble.FAILS_TWICE),
)
"""One order each; the slowest to heal first, since orders begin in this order."""

_ODD_KEYS: Final = (" 🫖☕ Teekränzchen", " " + "ordered by a customer with a very long name " * 6)
"""Behind the order's number: keys are any text of up to 256 characters."""

KEYS_MIN: Final = len(_MISBEHAVIOURS) + len(_ODD_KEYS) + 1


def sample_stream(*, seed: int = 1, events: int = EVENTS, keys: int = KEYS) -> Sample:
    """Make a stream of `events` records (bad and repeated ones included) over `keys` orders.

    Two thirds of the default's records are carrier scans. Another seed names other orders, so that it may go into the
    same stack. Raises ValueError when `events` leave no room for the lives of that many orders.
    """
    if keys < KEYS_MIN:
        raise ValueError(f"keys is {keys}: the sample needs {KEYS_MIN} at least")
    random = Random(seed)  # noqa: S311  sample data, no secret
    names = [_key(seed, number) for number in range(keys)]
    orders = [regular(random, key) for key in names[:KEYS_MIN]]
    orders += [lifecycle(random, key) for key in names[KEYS_MIN:]]
    bad = _malformed(random, names)
    room = events - sum(map(len, orders)) - len(bad) - _RESENT
    if room < 0:
        raise ValueError(f"events is {events}: {keys} orders need {events - room} at least")
    _add_scans(random, orders, room)
    story = _timed(orders)
    story += [(random.uniform(0, story[-1][0]), record) for record in bad]
    story += _sent_again(random, story)
    return Sample(seed, tuple(record for _, record in sorted(story, key=lambda told: told[0])))


_Story = list[tuple[float, SampleRecord]]
"""Records with their seconds since the shop opened."""


def _key(seed: int, number: int) -> str:
    odd = number - len(_MISBEHAVIOURS)
    ending = _ODD_KEYS[odd] if 0 <= odd < len(_ODD_KEYS) else ""
    return f"order-{seed}{number + 1:04d}{ending}"[:KEY_CHARACTERS_MAX]


def _add_scans(random: Random, orders: Sequence[list[ShopEvent]], count: int) -> None:
    """Deal scans out to shipped orders, very unevenly: most parcels are scanned a few times, one goes astray."""
    shipped = [order for order in orders if is_shipped(order)]
    weights = [min(random.paretovariate(1.1), _ASTRAY) for _ in shipped]
    dealt = Counter(random.choices(range(len(shipped)), weights, k=count))
    for place, number in sorted(dealt.items()):
        shipped[place] += scans(random, shipped[place][-1], number)


def _timed(orders: Sequence[list[ShopEvent]]) -> _Story:
    story: _Story = []
    for place, order in enumerate(orders):
        wrong = _MISBEHAVIOURS[place] if place < len(_MISBEHAVIOURS) else None
        story += [(event.at_s, _record(event, wrong)) for event in order]
    return sorted(story, key=lambda told: told[0])


def _record(event: ShopEvent, wrong: _Misbehaviour | None) -> SampleRecord:
    if wrong is None or event.sequence < wrong.event:
        return SampleRecord(event.key, event.as_bytes(), Expected.RUN)
    if event.sequence > wrong.event:
        behind = Expected.WAITS_BEHIND if wrong.expected is Expected.PARKED else Expected.RUN
        return SampleRecord(event.key, event.as_bytes(), behind)
    misbehaving = replace(event, demo={wrong.worker: wrong.demo})
    return SampleRecord(event.key, misbehaving.as_bytes(), wrong.expected, wrong.trouble)


def _sent_again(random: Random, story: _Story) -> _Story:
    """Events that a producer sends twice, since an answer was lost: at once, or much later, behind other events."""
    candidates = [told for told in story if told[1].expected is Expected.RUN]
    chosen = random.sample(candidates, _RESENT)
    return [
        (
            at_s + random.choice((0.001, 1.0, 1_800.0)),
            replace(record, expected=Expected.DUPLICATE, trouble=Trouble.SENT_AGAIN),
        )
        for at_s, record in chosen
    ]


def _malformed(random: Random, names: Sequence[str]) -> list[SampleRecord]:
    """Records that are no events, among the good ones of the same keys; the last ones on keys of their own."""
    whole = json.dumps({"specversion": "1.0", "id": "bad", "source": "/shop/berlin", "type": "shop.order.paid"})
    broken = (
        (Reason.EMPTY, b""),
        (Reason.EMPTY, b" \n"),
        (Reason.NOT_UTF8, whole.encode("utf-16")),
        (Reason.NOT_UTF8, '{"city":"Köln"}'.encode("latin-1")),
        (Reason.NOT_JSON, whole.encode()[:-1]),
        (Reason.NOT_JSON, b'{"total_cents":NaN}'),
        (Reason.NOT_JSON, b"<order><paid/></order>"),
        (Reason.TOO_DEEP, b"[" * 100 + b"]" * 100),
        (Reason.ENVELOPE, b'{"order":"paid"}'),
        (Reason.ENVELOPE, whole.replace("1.0", "0.3").encode()),
        (Reason.NOT_AN_OBJECT, b'["an", "array"]'),
        (Reason.UNKNOWN_TYPE, whole.replace("shop.order.paid", "shop.order.teleported").encode()),
        (Reason.DATA, whole.encode()),
        (Reason.DATA, (whole[:-1] + ', "data": {"amount_cents": "ten"}}').encode()),
        (Reason.UNKNOWN_TYPE, whole.replace("shop.order", "warehouse.stock").encode()),
        (Reason.NOT_JSON, b"hello?"),
    )
    owned = len(broken) - _BAD_ON_A_KEY_OF_THEIR_OWN
    return [
        SampleRecord(
            random.choice(names) if number < owned else f"stray-{number - owned + 1}",
            data,
            Expected.QUARANTINED,
            Trouble.MALFORMED,
            reason,
        )
        for number, (reason, data) in enumerate(broken)
    ]


def _summed(records: Sequence[SampleRecord]) -> Expectations:
    counts = Counter(record.expected for record in records)
    behind = Counter(record.key for record in records if record.expected is Expected.WAITS_BEHIND)
    return Expectations(
        records=len(records),
        keys=len({record.key for record in records if record.expected is not Expected.QUARANTINED}),
        run=counts[Expected.RUN],
        duplicates=counts[Expected.DUPLICATE],
        quarantined=dict(Counter(record.reason for record in records if record.reason is not None)),
        parked={record.key: behind[record.key] for record in records if record.expected is Expected.PARKED},
        troubles=dict(Counter(record.trouble for record in records if record.trouble is not Trouble.NONE)),
    )
