"""Drills about what comes in: duplicates, records that are no events, events that no worker can do, large payloads."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from keyturn.core.naming import KEY_CHARACTERS_MAX
from keyturn.core.state import Phase
from keyturn_cli.drills.attempts import attempts_add_up
from keyturn_cli.drills.drill import Drill
from keyturn_cli.drills.events import paid, permit, tracked
from keyturn_cli.drills.ground import Ask, Ground
from keyturn_cli.facts import Facts
from keyturn_cli.guarantees import Fate
from keyturn_cli.items.found import DEAD_LETTERS, QUARANTINED
from keyturn_cli.putter import Put
from keyturn_cli.records import RECORD_BYTES_MAX
from keyturn_cli.report import Check

_DELIVERIES: Final = 3
_EVENTS: Final = 3
_AROUND_A_BLOB: Final = 1_000
"""Bytes of an event besides its blob, its key twice included."""


def _deliver_twice(ground: Ground) -> None:
    """Let the batch be handed to the dispatcher again while it runs and after; and let the producer resend."""
    keys = [ground.key(number) for number in range(2)]
    puts = ground.put(*(Ask(key, paid(key, number)) for number in range(_EVENTS) for key in keys))
    batch = {"Records": [_as_delivered(put) for put in puts]}
    with ThreadPoolExecutor(_DELIVERIES) as hands:
        again = [hands.submit(ground.invoke, _dispatcher(ground), batch) for _ in range(_DELIVERIES)]
        answers = [one.result() for one in again]
    ground.put(*(Ask(key, paid(key, 0), Fate.DUPLICATE) for key in keys))
    answers.append(ground.invoke(_dispatcher(ground), batch))
    refused = sum(len(answer["batchItemFailures"]) for answer in answers)
    ground.see(f"{len(puts)} records delivered {len(answers) + 1} times, {refused} reported for one more delivery")


def _dispatcher(ground: Ground) -> str:
    return ground.target.outputs.dispatcher_function_name


def _as_delivered(put: Put) -> dict[str, Any]:
    """A record as the event source hands it over."""
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": put.record.key,
            "sequenceNumber": put.sequence_number,
            "data": base64.b64encode(put.record.data).decode(),
            "approximateArrivalTimestamp": put.at_ms / 1000,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{put.shard_id}:{put.sequence_number}",
        "eventName": "aws:kinesis:record",
    }


def _no_attempt_twice(_ground: Ground, facts: Facts) -> Sequence[Check]:
    return [attempts_add_up(facts, _EVENTS)]


_POISON: Final = (
    (b"", "empty"),
    (b"\xff\xfe\x00", "not_utf8"),
    (b'{"half":', "not_json"),
    (b"[" * 500 + b"]" * 500, "too_deep"),
    (b'{"specversion":"1.0","id":"1","source":"/drills","type":"shop.order.teleported"}', "unknown_type"),
    (b'{"specversion":"1.0","id":"1","source":"/drills","type":"shop.order.paid","data":{}}', "data"),
)


def _poison_records(ground: Ground) -> None:
    """Put records that are no events between those of a key."""
    key, asked = ground.key(), []
    for number, (data, _reason) in enumerate(_POISON):
        asked += [Ask(key, paid(key, number)), Ask(key, data, Fate.QUARANTINED)]
    ground.put(*asked, Ask(key, paid(key, len(_POISON))))


def _each_for_its_reason(ground: Ground, facts: Facts) -> Sequence[Check]:
    reasons = [facts.history.quarantined.get(place, "") for place in ground.asked]
    found, meant = [reason for reason in reasons if reason], [reason for _, reason in _POISON]
    closed = ground.discard(QUARANTINED)
    told = f"{', '.join(found)}; {closed} discarded afterwards"
    return [Check("each for its reason", found == meant, (told if found == meant else f"{found}, not {meant}",))]


def _poison_key(ground: Ground) -> None:
    """Let an event fail for good: its key parks, others go on; then skip it, as a person would."""
    sick, sound = ground.key(0), ground.key(1)
    ground.put(
        *(Ask(sound, tracked(sound, number)) for number in range(5)),
        Ask(sick, paid(sick, 0)),
        Ask(sick, paid(sick, 1, payment="permanent"), Fate.DEAD_LETTER),
        Ask(sick, paid(sick, 2)),
        Ask(sick, paid(sick, 3)),
    )
    parked = ground.until("the key is parked", lambda: ground.state().parked)
    ground.until("all of its later events wait", lambda: ground.state().admitted == 4)
    ground.until("the other key is through", lambda: ground.state(1).finished == 5)
    state = ground.state()
    ground.see(f"parked with {state.finished} of {state.admitted} events done: {parked.reason}")
    ground.put(Ask(sick, paid(sick, 4)))
    ground.until("one that comes later waits, too", lambda: ground.state().admitted == 5)
    ground.notes["while parked"] = (ground.state().phase, ground.state().cursor == state.cursor)
    ground.operate("skip", key=sick)


def _it_waited(ground: Ground, _facts: Facts) -> Sequence[Check]:
    phase, has_stayed = ground.notes["while parked"]
    closed = ground.discard(DEAD_LETTERS)
    holds = phase is Phase.PARKED and has_stayed
    told = f"nothing of the key ran until it was skipped; {closed} dead letter discarded afterwards"
    return [Check("the key waited", holds, (told if holds else f"it was {phase.value} with its cursor moved on",))]


def _large_payloads(ground: Ground) -> None:
    """Put events as large as the stream takes them, and around the sizes where they are stored elsewhere."""
    longest = ground.key(9).ljust(KEY_CHARACTERS_MAX, "k")
    sizes = (99_000, 100_000, 101_000, 180_500, 262_144, RECORD_BYTES_MAX - _AROUND_A_BLOB)
    asked = [
        Ask(ground.key(number), permit(ground.key(number), 0, blob="x" * size)) for number, size in enumerate(sizes)
    ]
    wide = ground.key(8)  # ten of a run together pass what an execution takes
    asked += [Ask(wide, permit(wide, number, blob="é" * 45_000)) for number in range(10)]
    asked += [Ask(longest, permit(longest, number)) for number in range(3)]
    ground.put(*asked)
    largest = max(one.record.size for one in ground.puts)
    ground.see(f"{len(asked)} events, the largest record of {largest:,} bytes, a key of {len(longest)} characters")


DUPLICATE_BATCH: Final = Drill(
    name="duplicate-batch",
    does="Hands a batch to the dispatcher five times, three of them at once, and sends its events again.",
    promises="Each event is done once: redelivery changes nothing, a producer's resend is recorded as a duplicate.",
    inject=_deliver_twice,
    checks=_no_attempt_twice,
)
POISON_RECORD: Final = Drill(
    name="poison-record",
    does="Puts six records that are no events between the events of a key.",
    promises="Each goes into quarantine for its reason; the key, its shard and its order go on.",
    inject=_poison_records,
    checks=_each_for_its_reason,
)
POISON_KEY: Final = Drill(
    name="poison-key",
    does="Puts an event that its worker refuses for good; skips it once its key is parked.",
    promises="The key is parked and what is behind waits, other keys go on; skipped, it goes on in order.",
    inject=_poison_key,
    checks=_it_waited,
)
PAYLOADS: Final = Drill(
    name="payloads-at-the-limits",
    does="Puts events of up to 1 MiB, sizes around each threshold, a full batch, and the longest key.",
    promises="All of them reach every worker whole, in order.",
    inject=_large_payloads,
)
