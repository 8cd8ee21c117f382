"""Drills about calls to AWS that are lost, refused, or never made since their caller died."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Final

from keyturn_local.fault_proxy import Act, Answer, Fault, Forward, lose_answer, throttle
from keyturn_local.lambdas import kill_lambdas

from keyturn_cli.drills.attempts import attempts_add_up
from keyturn_cli.drills.diversion import diverted
from keyturn_cli.drills.drill import Drill
from keyturn_cli.drills.events import paid
from keyturn_cli.drills.executions import Execution, execution_of
from keyturn_cli.drills.ground import Ask, Ground, all_through
from keyturn_cli.facts import Facts
from keyturn_cli.report import Check

_NO_PROXY: Final = "it stands between the functions and AWS, which nothing outside can there"
_ALWAYS: Final = 1_000
_EVENTS: Final = 3
_THROTTLED: Final = (
    "GetItem",
    "BatchGetItem",
    "BatchWriteItem",
    "PutItem",
    "Query",
    "TransactWriteItems",
    "UpdateItem",
)
_REFUSALS: Final = 40
"""Of each operation; every second call."""
_STARTS_REFUSED: Final = 14
"""In a row: more than the SDK's own tries."""


def _named(ground: Ground, number: int) -> bytes:
    """A key as it stands in a call; ten keys at most, so that no number begins another."""
    return ground.key(number).encode()


def _events(keys: Sequence[str]) -> Iterator[Ask]:
    return (Ask(key, paid(key, number)) for number in range(_EVENTS) for key in keys)


def _kill(ground: Ground, function: str) -> Act:
    """The function dies before its call arrives."""

    def act(_forward: Forward) -> None:
        kill_lambdas(ground.settings, function)

    return act


def _do_and_kill(ground: Ground, function: str) -> Act:
    """The call takes effect, and its caller dies before it hears of it."""

    def act(forward: Forward) -> None:
        forward()
        kill_lambdas(ground.settings, function)

    return act


def _pretend(_forward: Forward) -> Answer:
    """The service says that it was done, and it never was."""
    body = {"executionArn": "arn:aws:states:us-east-1:000000000000:execution:lost:lost", "startDate": time.time()}
    return Answer(200, (("Content-Type", "application/x-amz-json-1.0"),), json.dumps(body).encode())


def _lose_starts(ground: Ground) -> None:
    """Lose StartExecution in three ways, each at a key of its own."""
    proxy = ground.keeping.enter_context(diverted(ground))
    faults = {
        0: Fault(operation="StartExecution", holds=_named(ground, 0), act=_kill(ground, "dispatcher")),
        1: Fault(operation="StartExecution", holds=_named(ground, 1), act=_kill(ground, "sequencer"), every=2),
        2: Fault(operation="StartExecution", holds=_named(ground, 2), act=_pretend),
    }
    proxy.faults += faults.values()
    # By itself and first: the redelivery of a killed dispatcher's batch would start the swallowed one, too.
    ground.put(*_events([ground.key(2)]))
    ground.until("one start was swallowed", lambda: faults[2].done and ground.state(2).admitted == _EVENTS)
    ground.put(*_events([ground.key(0), ground.key(1)]))
    ground.until("each start was lost", lambda: all(fault.done for fault in faults.values()))
    ground.see("a dispatcher killed before its start, a sequencer before its key's next start, one start swallowed")


def _found_by_its_deadline(ground: Ground, facts: Facts) -> Sequence[Check]:
    attempts = ground.attempts(2)
    found = Check(
        "a swallowed start is found",
        any("never" in one for one in attempts),
        ("; ".join(attempts) or "no record of it",),
    )
    return [attempts_add_up(facts, _EVENTS), found]


def _lose_finishes(ground: Ground) -> None:
    """Lose what the sequencer writes in three ways, each at a key of its own."""
    proxy = ground.keeping.enter_context(diverted(ground, ["sequencer"]))
    write = "PutItem"
    before = Fault(operation=write, holds=_named(ground, 1), act=_kill(ground, "sequencer"), times=_ALWAYS)
    faults = [
        Fault(operation=write, holds=_named(ground, 0), act=_do_and_kill(ground, "sequencer")),
        before,
        Fault(operation=write, holds=_named(ground, 2), act=lose_answer, times=2),
    ]
    proxy.faults += faults
    slow = ground.key(1)  # so that its tries are counted
    ground.put(Ask(slow, paid(slow, payment="slow")))
    ground.put(*(one for one in _events([ground.key(number) for number in range(3)]) if one.data != paid(slow)))
    execution: Execution = ground.until("the run whose finish is lost has begun", lambda: execution_of(ground, 1))
    ground.until("its execution has failed", lambda: execution.status == "FAILED")
    before.times = before.done
    execution.tell_status("FAILED")
    ground.until("each finish was lost", lambda: all(fault.done == fault.times for fault in faults))
    ground.see(
        f"a sequencer killed behind its write, one killed before it {before.done} times until its execution failed,"
        f" {faults[2].done} answers lost"
    )


def _finished_once(ground: Ground, facts: Facts) -> Sequence[Check]:
    attempts, tries = ground.attempts(1), ground.tries(1).get("payment", 0)
    is_told = any("ended_without" in attempt for attempt in attempts)
    told = f"the attempt: {'; '.join(attempts) or 'no record'}; its payment was done {tries} times"
    return [attempts_add_up(facts, _EVENTS), Check("a lost finish is made up for", is_told and tries == 1, (told,))]


def _throttle(ground: Ground) -> None:
    """Refuse every second call to DynamoDB, and starts for longer than the SDK tries."""
    proxy = ground.keeping.enter_context(diverted(ground))
    prefix = ground.prefix.encode()
    refused = [Fault(operation=name, act=throttle, holds=prefix, times=_REFUSALS, every=2) for name in _THROTTLED]
    starts = Fault(operation="StartExecution", act=throttle, holds=prefix, times=_STARTS_REFUSED)
    proxy.faults += [*refused, starts]
    ground.notes["faults"] = [*refused, starts]
    ground.put(*_events([ground.key(number) for number in range(6)]))


def _all_refused(ground: Ground) -> str:
    starts = ground.notes["faults"][-1]
    return all_through(ground) or ("" if starts.done == _STARTS_REFUSED else f"only {starts.done} starts refused")


def _refusals(ground: Ground, _facts: Facts) -> Sequence[Check]:
    faults: list[Fault] = ground.notes["faults"]
    told = ", ".join(f"{fault.done} {fault.operation}" for fault in faults if fault.done)
    return [Check("calls were refused", sum(fault.done for fault in faults) > _STARTS_REFUSED, (told,))]


LOST_START: Final = Drill(
    name="lost-start",
    does="Kills a dispatcher and a sequencer just before they start an execution, and swallows one start whole.",
    promises="A redelivery, the workflow's retry and the run's deadline start them again, each run once.",
    inject=_lose_starts,
    checks=_found_by_its_deadline,
    limit_s=300,
    local_only=_NO_PROXY,
)
LOST_FINISH: Final = Drill(
    name="lost-finish",
    does="Kills a sequencer behind its finishing write, one before it until its execution fails; loses two answers.",
    promises="Each run is finished once, its done steps aren't done again, and the key's next run starts.",
    inject=_lose_finishes,
    checks=_finished_once,
    limit_s=240,
    local_only=_NO_PROXY,
)
THROTTLED: Final = Drill(
    name="throttled",
    does="Refuses every second call to DynamoDB (40 of each kind) and 14 starts in a row, as throttling does.",
    promises="Nothing is lost, repeated or overtaken; what was refused comes later.",
    inject=_throttle,
    wait=_all_refused,
    checks=_refusals,
    limit_s=180,
    local_only=_NO_PROXY,
)
