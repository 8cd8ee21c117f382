"""How a whole stack is shown on one screen, and what it asks of a person. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from keyturn.core.breaker import Breaker
from keyturn.core.replay_job import JobState, ReplayJob
from keyturn.core.route_hold import RouteHold
from keyturn.core.state import KeyState
from keyturn_cli.looking.explanation import WHY, Advice, reason, since_ms
from keyturn_cli.looking.overview import Overview
from keyturn_cli.looking.parts import advice_lines
from keyturn_cli.looking.times import as_json, lasting, moment, since
from keyturn_cli.looking.wording import aligned, argument, command, counted, one_line, quoted
from keyturn_cli.release_text import rollout_document, rollout_rows
from keyturn_cli.replay_text import keys_over, latest_act
from keyturn_cli.screen import Line

WATCHDOG_LATE_MS: Final = 180_000
"""It comes once a minute; three passes missed are no accident."""
LAG_LATE_S: Final = 300
"""When the alarm `stream-behind` goes off too."""


def needs(overview: Overview) -> list[Advice]:
    """What a person has to look at, with the command for it."""
    return [*_needs_on_work(overview), *_needs_on_controls(overview), *_needs_on_platform(overview)]


def _needs_on_work(overview: Overview) -> Iterator[Advice]:
    if overview.unreadable:
        lost = counted(len(overview.unreadable), "key")
        what = f"{lost} can't be read by this version: look from the one that is deployed"
        yield Advice(what, command("key", overview.unreadable[0]))
    if overview.parked:
        first = overview.parked_keys[0].key if overview.parked_keys else "KEY"
        verb = "is" if overview.parked == 1 else "are"
        yield Advice(
            f"{counted(overview.parked, 'key')} {verb} parked: see why, then resume or skip", command("key", first)
        )
    if overview.quarantined:
        yield Advice(f"{counted(overview.quarantined, 'record')} in quarantine", "keyturn quarantine list")
    if overview.dead_letters:
        yield Advice(f"{counted(overview.dead_letters, 'dead letter')} open", "keyturn deadletter list")


def _needs_on_controls(overview: Overview) -> Iterator[Advice]:
    for hold in overview.holds:
        what = f"route {hold.route} is held" if hold.route else "everything is held"
        how = f"--route {argument(hold.route)}" if hold.route else "--everything"
        yield Advice(f"{what}: release it when its reason is gone", f"keyturn release {how} {WHY}")
    if overview.held and not overview.holds:
        yield Advice(f"{counted(overview.held, 'key')} held", "keyturn keys --phase held")
    for breaker in overview.breakers:
        if breaker.is_holding:
            what = f"breaker {breaker.name} is {breaker.phase}: what {', '.join(breaker.routes)} depends on fails"
            yield Advice(what, "keyturn keys --phase held")


def _needs_on_platform(overview: Overview) -> Iterator[Advice]:
    last = overview.watchdog
    if last is None:
        what = "the watchdog has made no pass yet: it should within two minutes of the deploy, to mend what gets stuck"
        yield Advice(what, "keyturn doctor")
    elif overview.now_ms - last.at_ms > WATCHDOG_LATE_MS:
        missed = lasting(overview.now_ms - last.at_ms)
        yield Advice(f"the watchdog has made no pass for {missed}: nothing mends what gets stuck", "keyturn doctor")
    if overview.lag_s is not None and overview.lag_s > LAG_LATE_S:
        yield Advice("the dispatcher is behind the stream: see docs/operations.md, stream-behind", "keyturn doctor")


def status_lines(overview: Overview) -> Iterator[Line]:
    """The screen."""
    yield Line(f"{overview.stack_name} at {overview.where}, {moment(overview.now_ms, overview.now_ms)[:12]}", "bold")
    yield Line()
    yield Line("Keys (idle ones aren't counted: they aren't indexed)", "bold")
    yield from (Line(f"  {row}", style) for row, style in _count_lines(overview))
    yield Line()
    yield Line("Stack", "bold")
    yield from (Line(f"  {row}") for row in aligned(list(_stack_rows(overview))))
    yield Line()
    found = needs(overview)
    yield Line("What to do" if found else "Nothing needs a person.", "bold red" if found else "green")
    yield from advice_lines(found)
    yield from _key_lines("Parked", overview.parked_keys, overview.parked, overview.now_ms, "red")
    yield from _key_lines("Held", overview.held_keys, overview.held, overview.now_ms, "yellow")
    releases = list(rollout_rows(overview.rollout, overview.health, overview.now_ms))
    yield from _section("Releases", releases, "")
    yield from _section("Held routes", [_hold_row(hold, overview.now_ms) for hold in overview.holds], "yellow")
    yield from _section("Breakers", [_breaker_row(one, overview.now_ms) for one in overview.breakers], "")
    replays = [_replay_row(job, overview.now_ms) for job in overview.replays]
    yield from _section("Replays under way (each: keyturn replay status ID)", replays, "")


def _count_lines(overview: Overview) -> Iterator[tuple[str, str]]:
    rows = [
        ["running", f"{overview.running:,}", f"of about {overview.cap:,} allowed at once (MaxInFlightRuns)"],
        ["waiting", f"{overview.waiting:,}", "for a slot"],
        ["retry", f"{overview.retry:,}", "until their next attempt or run may begin"],
        ["parked", f"{overview.parked:,}", "until a person decides"],
        ["held", f"{overview.held:,}", "until they, or their route, are released"],
    ]
    styles = ["", "", "", "red" if overview.parked else "", "yellow" if overview.held else ""]
    return zip(aligned(rows), styles, strict=True)


def _stack_rows(overview: Overview) -> Iterator[list[str]]:
    oldest, last, now_ms = overview.oldest, overview.watchdog, overview.now_ms
    some = f", of {overview.looked_at:,} keys looked at" if overview.looked_at < overview.listed else ""
    yield [
        f"oldest unfinished event{some}",
        f"arrived {moment(oldest.arrived_at_ms, now_ms)}, key {quoted(oldest.key)}" if oldest else "none",
    ]
    lag = "not measured here" if overview.lag_s is None else f"{lasting(round(overview.lag_s * 1_000))} behind"
    yield ["dispatcher, by the stream", lag]
    yield [
        "watchdog's last pass",
        f"{moment(last.at_ms, now_ms)}: {last.expired:,} expired, {last.ready:,} ready, {last.filled:,} slots filled"
        if last
        else "never",
    ]
    yield ["quarantine", f"{counted(overview.quarantined, 'record')} open"]
    yield ["dead letters", f"{overview.dead_letters:,} open"]


def _key_lines(title: str, states: Sequence[KeyState], count: int, now_ms: int, style: str) -> Iterator[Line]:
    rows = [[quoted(state.key), since(since_ms(state), now_ms), reason(state, now_ms)] for state in states]
    more = f", the first {len(states):,} of {count:,}" if count > len(states) else ""
    yield from _section(f"{title}{more}", rows, style)


def _hold_row(hold: RouteHold, now_ms: int) -> list[str]:
    return [hold.route or "everything", since(hold.at_ms, now_ms), f"by {one_line(hold.by)}: {one_line(hold.reason)}"]


def _breaker_row(breaker: Breaker, now_ms: int) -> list[str]:
    opened = f"opened {since(breaker.opened_at_ms, now_ms)}" if breaker.opened_at_ms else "never opened"
    probe = f"next probe {since(breaker.probe_at_ms, now_ms)}" if breaker.is_holding and breaker.probe_at_ms else ""
    return [breaker.name, breaker.phase, opened, ", ".join(breaker.routes), probe]


def _replay_row(job: ReplayJob, now_ms: int) -> list[str]:
    act = latest_act(job)
    is_planning = job.state is JobState.PLANNING
    keys = f"{job.found:,} keys found" if is_planning else f"{keys_over(job):,} of {job.tally.keys:,} keys through"
    why = f": {one_line(act.reason)}" if act.reason else ""
    return [job.id, job.state, since(act.at_ms, now_ms), keys, f"by {one_line(act.by)}{why}"]


def _replay_document(job: ReplayJob) -> dict[str, Any]:
    act = latest_act(job)
    return {
        "id": job.id,
        "state": job.state.value,
        "by": act.by,
        "reason": act.reason or None,
        **as_json("since", act.at_ms),
        "keys_found": job.found,
        "keys_planned": job.tally.keys,
        "keys_done": keys_over(job),
    }


def _section(title: str, rows: Sequence[Sequence[str]], style: str) -> Iterator[Line]:
    if rows:
        yield Line()
        yield Line(title, "bold")
        yield from (Line(f"  {row}", style) for row in aligned(rows))


def status_document(overview: Overview) -> dict[str, Any]:
    """The same, for programs."""
    now_ms, oldest, last = overview.now_ms, overview.oldest, overview.watchdog
    return {
        "stack": overview.stack_name,
        "where": overview.where,
        **as_json("at", now_ms),
        "keys": {
            "running": overview.running,
            "waiting": overview.waiting,
            "retry": overview.retry,
            "parked": overview.parked,
            "held": overview.held,
        },
        "max_in_flight_runs": overview.cap,
        "oldest_unfinished": oldest
        and {
            "key": oldest.key,
            **as_json("arrived_at", oldest.arrived_at_ms),
            "age_ms": now_ms - oldest.arrived_at_ms,
            "keys_looked_at": overview.looked_at,
        },
        "stream_lag_s": overview.lag_s,
        "parked_keys": [_key_document(state, now_ms) for state in overview.parked_keys],
        "held_keys": [_key_document(state, now_ms) for state in overview.held_keys],
        "held_routes": [
            {
                "route": hold.route or None,
                "by": hold.by,
                "reason": hold.reason,
                **as_json("since", hold.at_ms),
            }
            for hold in overview.holds
        ],
        "breakers": [
            {
                "name": one.name,
                "phase": one.phase,
                "routes": list(one.routes),
                **as_json("opened_at", one.opened_at_ms),
                **as_json("probe_at", one.probe_at_ms),
            }
            for one in overview.breakers
        ],
        "replays": [_replay_document(job) for job in overview.replays],
        "releases": rollout_document(overview.rollout, overview.health),
        "unreadable_keys": list(overview.unreadable),
        "quarantined": overview.quarantined,
        "dead_letters": overview.dead_letters,
        "watchdog": last
        and {
            **as_json("at", last.at_ms),
            "age_ms": now_ms - last.at_ms,
            "expired": last.expired,
            "ready": last.ready,
            "filled": last.filled,
        },
        "needs": [asdict(one) for one in needs(overview)],
    }


def _key_document(state: KeyState, now_ms: int) -> dict[str, Any]:
    return {"key": state.key, "why": reason(state, now_ms), **as_json("since", since_ms(state))}
