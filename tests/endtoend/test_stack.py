"""The whole system as it is deployed: records in, effects out, whatever happens between.

In this order, since they share one stack: what each leaves behind is its own keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from keyturn_cli.guarantees import violations
from keyturn_cli.sample import Expected, Sample, sample_stream

from keyturn.adapters.keys import KeyStore
from keyturn.adapters.log import EventLog
from keyturn.adapters.schemas import load_routes
from keyturn.adapters.table import Table
from keyturn.core import commands as ask
from keyturn.core.log_entry import LogEntry, cut_slice
from keyturn.core.positions import position
from keyturn.core.protocol import Rules, transition
from keyturn.core.state import KeyState
from tests.adapters.wire import record
from tests.endtoend.stack import Stack

SECRET = "nobody-may-read-this-in-a-log"
CREDENTIALS = re.compile(
    r"AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|X-Amz-Signature|Credential="
)
STEPS = ["inventory", "notification", "payment"]
PLATFORM = ["dispatcher", "sequencer", "watchdog"]
WORKERS = ["inventory", "payment", "notification", "packing", "picking"]
KILLED = ["dispatcher", "inventory", "sequencer", "payment", "notification"]


def permit(key: str, number: int = 0, **more: Any) -> bytes:
    """Write an event whose data may hold anything."""
    data = {"case": key, "n": number, "activity": SECRET, **more}
    event = {"specversion": "1.0", "id": f"{key}-{number}", "source": "/permits", "type": "permit.activity"}
    return json.dumps(event | {"data": data}).encode()


@pytest.fixture(scope="session")
def sample() -> Sample:
    """A short day at the shop, with everything that goes wrong there."""
    return sample_stream(seed=7, events=300, keys=40)


def test_whatever_the_shops_day_brings_the_guarantees_hold(stack: Stack, sample: Sample) -> None:
    """Bad records, resends, workers that fail, hang and give up; and Lambda processes that are killed at work."""
    left = list(KILLED)

    def kill_the_next() -> None:
        if left and stack.kill_one(left[0]):
            left.pop(0)

    puts = stack.put([(one.key, one.data) for one in sample.records])
    stack.follow(puts, kill_the_next)
    assert not left, f"{left} were never at work while the records ran"
    facts = stack.facts(puts)
    assert violations(facts.history) == []
    assert set(facts.history.parked) == set(sample.expectations.parked), facts.history.parked
    assert len(facts.quarantined) == sum(sample.expectations.quarantined.values())
    assert len(facts.history.duplicates) == sample.expectations.duplicates


def test_a_parked_key_stays_parked_while_others_flow(stack: Stack, sample: Sample) -> None:
    """What comes for it waits behind; a key beside it is done at once."""
    parked = next(iter(sample.expectations.parked))
    before = stack.state(parked)
    event = next(one.data for one in sample.records if one.expected is Expected.RUN and one.key != parked)
    later = json.dumps(json.loads(event) | {"id": "later"}).encode()
    puts = stack.put([(parked, later), ("beside", later)])
    stack.follow(puts)
    after = stack.state(parked)
    assert (after.parked, after.cursor, after.admitted) == (before.parked, before.cursor, before.admitted + 1)
    assert stack.steps_done("beside")


def test_a_payload_of_almost_a_megabyte_goes_through_the_stream(stack: Stack) -> None:
    """And so by reference through Step Functions, to three workers that get it whole."""
    puts = stack.put([("large", permit("large", blob="x" * 900_000))])
    stack.follow(puts)
    assert sorted(stack.steps_done("large")) == STEPS


def test_the_largest_payload_that_an_invocation_carries_goes_through(stack: Stack) -> None:
    """4.4 MB: a record of a stream that takes large ones, alone in its batch."""
    data = permit("largest", blob="x" * 4_400_000)
    answer = stack.invoke(
        stack.target.outputs.dispatcher_function_name, {"Records": [record(data, "largest", "4" * 56)]}
    )
    assert answer == {"batchItemFailures": []}
    stack.until_done("largest", 1)
    assert sorted(stack.steps_done("largest")) == STEPS


def test_the_watchdog_starts_what_a_dead_dispatcher_never_did(stack: Stack) -> None:
    """Killed between the claim and the start: the claimed run's deadline has come and nothing runs."""
    key = "never-started"
    claimed = _claimed_long_ago(stack, key)
    assert stack.state(key).run == claimed.run
    stack.until_done(key, 1)
    (attempt,) = stack.store.attempts([key])
    assert sorted(stack.steps_done(key)) == STEPS
    assert "never_started" in str(attempt)


def _claimed_long_ago(stack: Stack, key: str) -> KeyState:
    variables: Mapping[str, str] = stack.target.environment
    table = Table(stack.target.client("dynamodb"), variables["STATE_TABLE"])
    place, content = position(int(variables["STREAM_EPOCH"]), "4" * 56), permit(key)
    entry = LogEntry(place, "permit.activity", "f" * 32, 1_700_000_000_000, content)
    EventLog(table, 86_400).write([(key, entry)], 1_900_000_000_000)
    cut, route = cut_slice([entry], load_routes())
    command = ask.Admit(place, 1, entry.arrived_at_ms, ask.Next(cut, route, has_slot=True))
    state = transition(KeyState(key), command, entry.arrived_at_ms, Rules()).state
    keys = KeyStore(table, int(variables["INDEX_BUCKETS"]), int(variables["INDEX_ROUNDING_S"]) * 1_000)
    return keys.save(replace(state))


def test_every_line_about_an_event_has_its_flow_id(stack: Stack) -> None:
    """So that one search follows an event through all functions."""
    lines = [(name, line) for name in [*PLATFORM, *WORKERS] for line in stack.log_lines(name)]
    about_runs = [(name, line) for name, line in lines if "message" in line and "position" in line]
    assert {name for name, _ in about_runs} >= {"dispatcher", "sequencer", *WORKERS}
    without = [line for _, line in about_runs if not line.get("flow_id") and line["message"] != "quarantined"]
    assert not without, without[:3]
    incomplete = [line for _, line in about_runs if line["message"].startswith("step ") and not _names_its_step(line)]
    assert not incomplete, incomplete[:3]


def _names_its_step(line: Mapping[str, Any]) -> bool:
    return {"step", "key", "position", "attempt", "fence", "flow_id"} <= line.keys()


def test_no_log_shows_a_payload(stack: Stack) -> None:
    """Of no function and no workflow: of events, of records that are none for any reason, and no credentials."""
    refused = [
        f'{{"specversion": "{SECRET}"'.encode(),
        permit(SECRET, -1),
        permit(SECRET, more={SECRET: SECRET}).replace(b"permit.activity", SECRET.encode()),
        json.dumps({SECRET: SECRET}).encode(),
    ]
    before = _quarantined(stack)
    stack.follow(stack.put([("refused", data) for data in refused]))
    stack.until(lambda: _quarantined(stack) >= before + len(refused))  # logs appear a moment after what they tell of
    shown = [line for line in _logged(stack) if SECRET in line or CREDENTIALS.search(line)]
    assert not shown, shown[:1]


def _logged(stack: Stack) -> Iterator[str]:
    logs = stack.target.client("logs")
    for group in logs.describe_log_groups()["logGroups"]:
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
            yield from (event["message"] for event in page["events"])


def _quarantined(stack: Stack) -> int:
    return sum(line.count('"quarantined"') for line in _logged(stack))


def test_no_deployed_function_made_a_call_that_aws_would_refuse(stack: Stack) -> None:
    """The guard was on in every one of them."""
    told = {tuple(line.split(": ", 1)) for line in stack.guard_log.read_text().splitlines()}
    assert {name for name, what in told if what == "guarded"} >= {
        f"{stack.settings.stack_name}-{name}" for name in [*PLATFORM, *WORKERS]
    }
    assert {(name, what) for name, what in told if what != "guarded"} == set()
