"""Runs drills, one after the other, and checks what each of them left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError
from keyturn_local.errors import LocalError
from keyturn_local.settings import LocalSettings

from keyturn.core.state import Phase, violations
from keyturn.errors import KeyturnError
from keyturn_cli.drills.diversion import undivert
from keyturn_cli.drills.drill import Drill, Ended, NotHere, Result
from keyturn_cli.drills.ground import LOOK_EVERY_S, Ground, Watchdog
from keyturn_cli.drills.standing import StackStanding, stack_standing
from keyturn_cli.errors import CliError, NotDone
from keyturn_cli.facts import Facts
from keyturn_cli.guarantees import fate
from keyturn_cli.report import Check, run_checks
from keyturn_cli.target import Target


def run_drills(drills: Sequence[Drill], target: Target, settings: LocalSettings) -> Iterator[Result]:
    """Run drills at a stack, and yield what became of each as it ends."""
    if target.is_local:
        undivert(target)
    watchdog = Watchdog(target)
    watchdog.start()
    try:
        for drill in drills:
            if drill.local_only and not target.is_local:
                yield Result(drill=drill, ended=Ended.SKIPPED, reason=drill.local_only)
            else:
                yield _run(drill, target, settings, watchdog)
    finally:
        watchdog.stop()


def _run(drill: Drill, target: Target, settings: LocalSettings, watchdog: Watchdog) -> Result:
    began_s = time.monotonic()
    ground = Ground(target, settings, watchdog, prefix=f"drill-{drill.name}-{uuid4().hex[:6]}")
    result = Result(drill=drill, ended=Ended.FAILED)
    try:
        before = stack_standing(target)
        with ground.keeping:
            drill.inject(ground)
            _wait(drill, ground)
        result = replace(result, checks=tuple(_checks(drill, ground, before)))
        broken = sum(not check.holds for check in result.checks)
        result = replace(result, ended=Ended.FAILED if broken else Ended.PASSED)
    except NotHere as reason:
        result = replace(result, ended=Ended.SKIPPED, reason=str(reason))
    except (CliError, KeyturnError, LocalError, ClientError, BotoCoreError) as error:
        result = replace(result, reason=" ".join(str(error).split()), checks=_as_far_as_it_came(ground))
    return replace(result, took_s=time.monotonic() - began_s, seen=tuple(ground.seen))


def _wait(drill: Drill, ground: Ground) -> None:
    """Wait for a drill's own condition. Raises NotDone with what is missing when it takes too long."""
    deadline_s = time.monotonic() + drill.limit_s
    while missing := drill.wait(ground):
        if time.monotonic() >= deadline_s:
            raise NotDone(f"after {drill.limit_s:.0f} s: {missing}")
        time.sleep(LOOK_EVERY_S)


def _checks(drill: Drill, ground: Ground, before: StackStanding) -> Iterator[Check]:
    facts = ground.facts()
    yield from run_checks(facts.history)
    yield check_fates(ground, facts)
    yield check_keys(facts)
    yield from drill.checks(ground, facts)
    yield check_stack(before, stack_standing(ground.target))


def _as_far_as_it_came(ground: Ground) -> tuple[Check, ...]:
    """The promises that can be checked at any time: what isn't through yet isn't lost."""
    if not ground.puts:
        return ()
    broken = [check for check in run_checks(ground.facts().history) if check.title != "nothing lost"]
    return tuple(check for check in broken if not check.holds)


def check_fates(ground: Ground, facts: Facts) -> Check:
    """Whether each record ended as the drill means it to."""
    ended = {sent.place: fate(sent, facts.history) for sent in facts.history.sent}
    wrong = [
        f"the record of key {place.key!r} at {place.position} is {ended[place].value}, not {meant.value}"
        for place, meant in ground.asked.items()
        if ended[place] is not meant
    ]
    return Check("records end as meant", not wrong, tuple(wrong) or (f"{len(ended):,} records, each as it should",))


def check_keys(facts: Facts) -> Check:
    """Whether every key is idle, without anything pending, and in a state that the protocol makes."""
    wrong = [
        f"key {key!r} is {state.phase.value} at {state.cursor}, its tail is {state.tail}"
        for key, state in facts.states.items()
        if state.version and (state.phase is not Phase.IDLE or state.has_pending or state.hold is not None)
    ]
    wrong += [f"key {key!r}: {what}" for key, state in facts.states.items() for what in violations(state)]
    fences = sum(state.fence for state in facts.states.values())
    proof = f"{len(facts.states):,} keys idle, none with anything pending, {fences:,} attempts in all"
    return Check("keys are drained", not wrong, tuple(wrong) or (proof,))


def check_stack(before: StackStanding, after: StackStanding) -> Check:
    """Whether the drill left the stack as it found it."""
    wrong = tuple(before.differences(after))
    proof = f"{len(after.schedules)} schedules, {after.open_shards} open shards, no route held"
    return Check("the stack is as before", not wrong, wrong or (proof,))
