"""The story of one event, told from items and log lines as the platform writes them: by hand, and for any of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyturn_cli.looking.key_items import Attempt, DeadLetter, Duplicate, Operation, Step
from keyturn_cli.tracing.command import content_of
from keyturn_cli.tracing.page import page_of
from keyturn_cli.tracing.stops import stops_of
from keyturn_cli.tracing.story import Line, Story, Wait, What
from keyturn_cli.tracing.telling import Envelope, Material, tell, tell_of_quarantined
from keyturn_cli.tracing.text import print_story
from rich.console import Console

from keyturn.adapters.controls import RouteOperation
from keyturn.core.breaker import Breaker, BreakerPhase
from keyturn.core.positions import Position
from keyturn.core.state import Hold, KeyState, Parked, Phase, Replay, Run, Span, WaitsFor
from tests.core import states as make
from tests.core.states import at

WHY = "why not"
PUT_MS = 1_767_600_000_000
HERE = at(2)


def ms(after_put: int) -> int:
    return PUT_MS + after_put


def event(**more: Any) -> dict[str, Any]:
    own = {"pk": "key#k", "sk": f"event#{HERE}", "type": "shop.order.paid", "flow_id": "f" * 32}
    return own | {"arrived_at_ms": PUT_MS, "admitted_at_ms": ms(1_000)} | more


def attempt(fence: int, began: int, ended: int, outcome: str = "failed", reason: str = "it broke") -> Attempt:
    return Attempt(
        first=HERE,
        last=HERE,
        count=1,
        fence=fence,
        number=fence,
        outcome=outcome,
        reason=reason,
        route="sample",
        execution_name="x",
        execution_id=None,
        started_at_ms=ms(began),
        ended_at_ms=ms(ended),
        generation=0,
    )


def step(name: str, fence: int, began: int, ended: int, generation: int = 0) -> Step:
    return Step(HERE, generation, name, fence, 1, "x", ms(began), ms(ended), {"secret": 1})


def operation(
    command: str, after_put: int, fence: int, position: str = "", replay: str = "", by: str = "ana", reason: str = WHY
) -> Operation:
    return Operation(command, by, reason, ms(after_put), fence, position, replay)


def letter(after_put: int, reason: str = "used up", how: str = "") -> DeadLetter:
    closed = f"{how} by ana: {WHY}" if how else ""
    return DeadLetter(HERE, "sample", reason, ms(after_put), closed, how == "redriven", ms(20_000) if how else 0)


def line(message: str, after_put: int, fence: int = 1, service: str = "sequencer", **fields: Any) -> Line:
    carried = {"flow_id": "f" * 32, "key": "k", "position": HERE, "attempt": 1, "fence": fence}
    return Line(ms(after_put), service, "INFO", message, carried | fields)


def done(**more: Any) -> KeyState:
    return KeyState("k", version=1, cursor=HERE, tail=HERE, admitted=2, finished=2, fence=1, **more)


def story(**found: Any) -> Story:
    given_here: dict[str, Any] = {"position": HERE, "event": event(), "envelope": Envelope("e", "/shop", "")}
    return tell(Material(**(given_here | {"state": done()} | found)))


def gaps(told: Story) -> list[tuple[str, int]]:
    return [(gap.label, gap.length_ms) for gap in told.gaps]


def whats(told: Story) -> list[str]:
    return [moment.what.value for moment in told.moments]


def test_a_first_attempt_that_succeeded_is_told_from_its_steps_alone() -> None:
    """It leaves no record: when it began isn't known then, and its end is its last step's, which is said."""
    told = story(steps=[step("payment", 1, 3_000, 4_000), step("inventory", 1, 3_500, 3_700)])
    assert gaps(told) == [
        ("queue", 1_000),
        ("waiting, start and cold start", 2_000),
        ("step payment, inventory", 1_000),
    ]
    assert (told.moments[-1].what, told.moments[-1].at_ms) == (What.DONE, ms(4_000))
    assert "as far as its last step tells" in told.moments[-1].text
    assert [(one.fence, one.outcome, one.began_ms) for one in told.attempts] == [(1, "succeeded", None)]
    assert told.standing == "Done."


def test_log_lines_tell_when_that_attempt_began_and_ended() -> None:
    """So start and end of the run have their own gaps."""
    lines = [line("run finished", 4_200, outcome="succeeded"), line("run started", 1_400)]
    told = story(steps=[step("payment", 1, 3_000, 4_000)], lines=lines)
    assert gaps(told) == [
        ("queue", 1_000),
        ("waiting for a slot", 400),
        ("start and cold start", 1_600),
        ("step payment", 1_000),
        ("end of the run", 200),
    ]
    assert told.longest is not None
    assert told.longest.wait is Wait.START
    assert told.moments[-1].source == "log of sequencer"


def test_a_run_that_was_started_twice_began_with_the_first_start() -> None:
    lines = [line("run started", 9_000), line("run started", 1_400), line("run finished", 9_500, outcome="succeeded")]
    assert story(lines=lines).attempts[0].began_ms == ms(1_400)


def test_waiting_for_the_keys_earlier_events_is_not_waiting_for_a_slot() -> None:
    told = story(
        earlier_ended_ms=ms(5_000), steps=[step("payment", 1, 6_000, 6_500)], lines=[line("run started", 5_100)]
    )
    assert gaps(told)[1:3] == [("waiting for earlier events of the key", 4_000), ("waiting for a slot", 100)]


def test_an_earlier_event_that_was_done_before_this_one_came_is_no_part_of_the_story() -> None:
    told = story(earlier_ended_ms=ms(-50), lines=[line("run started", 1_500)])
    assert "earlier event done" not in whats(told)


def test_failed_attempts_have_their_reason_and_the_time_between_is_backoff() -> None:
    told = story(
        attempts=[attempt(1, 1_100, 2_000), attempt(2, 7_000, 8_000, "succeeded", "")],
        steps=[step("payment", 2, 7_200, 7_900)],
        lines=[line("step failed", 1_900, step="payment", error="ProviderDown", service="payment")],
        state=replace(done(), fence=2),
    )
    assert gaps(told)[2:] == [
        ("start and cold start", 800),
        ("end of the run", 100),
        ("retry (backoff)", 5_000),
        ("start and cold start", 200),
        ("step payment", 700),
        ("end of the run", 100),
    ]
    assert [one.outcome for one in told.attempts] == ["failed", "succeeded"]
    assert "attempt 1, fence 1: failed, it broke" in [moment.text for moment in told.moments]


def test_a_step_that_is_tried_again_within_its_attempt_names_the_time_between() -> None:
    told = story(
        lines=[line("run started", 1_100), line("step failed", 1_200, step="payment", error="X", service="payment")],
        steps=[step("inventory", 1, 1_150, 1_300), step("payment", 1, 5_000, 5_100)],
    )
    assert ("retry of step payment", 3_700) in gaps(told)


def test_an_attempt_that_was_found_dead_shows_the_evidence() -> None:
    """And what it did after its last known step is a step that left no result."""
    told = story(
        attempts=[attempt(1, 1_100, 90_000, reason="hung")],
        steps=[step("inventory", 1, 1_200, 1_300)],
        state=replace(make.waiting_for_time(2), cursor=at(1), run=None),
    )
    assert (told.attempts[0].evidence, told.attempts[0].reason) == ("hung", "")
    assert "passed its deadline without reporting" in told.moments[-1].text
    assert gaps(told)[-1] == ("a step that left no result", 88_700)


def test_parked_and_resumed_is_told_with_who_and_why() -> None:
    told = story(
        attempts=[attempt(1, 1_100, 2_000), attempt(2, 62_500, 63_000, "succeeded", "")],
        operations=[operation("resume", 62_000, 1, position=HERE)],
        state=replace(done(), fence=2),
    )
    assert gaps(told)[3:5] == [("parked", 60_000), ("waiting for a slot", 500)]
    assert "resume by ana: why not" in [moment.text for moment in told.moments]
    assert told.longest is not None
    assert told.longest.wait is Wait.PARKED


def test_a_key_that_is_parked_says_so() -> None:
    state = replace(make.parked(2), tail=at(2))
    assert state.run is not None
    parked = replace(
        state,
        run=replace(state.run, slice=make.cut(2)),
        cursor=at(1),
        parked=Parked(ms(2_000), "no such card"),
    )
    told = story(attempts=[attempt(1, 1_100, 2_000)], state=parked)
    assert told.standing.endswith("no such card")
    assert whats(told)[-1] == "parked"


def test_an_event_behind_a_parked_one_says_what_it_waits_for() -> None:
    told = story(state=make.parked(2))
    assert told.standing == "Waits behind its key. Parked since 1970-01-01 00:16:40.000: no such card"
    assert whats(told) == ["put", "admitted"]


def test_what_an_event_waits_for_behind_a_run_is_no_slot() -> None:
    told = story(state=make.bound(2), operations=[operation("hold", 5_000, 1)])
    assert gaps(told) == [("queue", 1_000), ("waiting for earlier events of the key", 4_000)]


def test_a_step_that_failed_after_others_has_its_try_named() -> None:
    """When it began isn't written down."""
    told = story(
        steps=[step("inventory", 1, 1_500, 1_600)],
        lines=[line("run started", 1_400), line("step failed for good", 4_000, step="payment", error="Permanent")],
        attempts=[attempt(1, 1_400, 4_100)],
        state=make.parked(2),
    )
    assert ("try of step payment", 2_400) in gaps(told)


def test_a_hold_of_the_key_is_a_gap_of_its_own() -> None:
    told = story(
        operations=[operation("hold", 1_500, 0), operation("release", 8_000, 0)],
        lines=[line("run started", 8_100), line("run finished", 8_200, outcome="succeeded")],
    )
    assert gaps(told)[1:4] == [("waiting for a slot", 500), ("held", 6_500), ("waiting for a slot", 100)]


def done_at(command: str, after_put: int, route: str = "paid") -> RouteOperation:
    return RouteOperation(command, route, "ana", WHY, ms(after_put))


NOW_AFTER_PUT = 90_000


def next_up(state: KeyState | None = None, **more: Any) -> KeyState:
    """A key that waits, with nothing before the event."""
    return replace(state or make.waiting_for_slot(2), cursor=at(1), tail=HERE, **more)


WAITS: list[tuple[KeyState, str]] = [
    (next_up(), "waiting for a slot"),
    (next_up(make.waiting_for_time(2), run=None), "retry (backoff)"),
    (next_up(waits_for=WaitsFor.RELEASE, hold=Hold(1, "ana", WHY)), "held"),
    (next_up(waits_for=WaitsFor.RELEASE, held_route="paid"), "held with route paid"),
    (make.bound(2), "waiting for earlier events of the key"),
    (replace(make.waiting_for_slot(2), tail=at(1)), "in the log, not admitted"),
]


@pytest.mark.parametrize(("state", "wait"), WAITS, ids=[wait for _, wait in WAITS])
def test_a_wait_that_isnt_over_is_a_gap_until_now(state: KeyState, wait: str) -> None:
    """By what the key's state says that it waits for."""
    told = story(state=state, now_ms=ms(NOW_AFTER_PUT))
    assert gaps(told)[-1] == (f"{wait}, until now", 89_000)
    assert (told.moments[-1].what, told.moments[-1].at_ms) == (What.NOW, ms(NOW_AFTER_PUT))
    assert [one["is_open"] for one in content_of(told)["gaps"]] == [False, True]


def test_an_attempt_under_way_and_a_parked_event_last_until_now() -> None:
    running = replace(make.bound(2), run=_run_of_the_event(make.bound(2)), cursor=at(1))
    assert gaps(story(state=running, now_ms=ms(9_000)))[-1] == ("attempt under way, until now", 7_900)
    parked = replace(make.parked(2), run=_run_of_the_event(make.parked(2)), parked=Parked(ms(2_000), WHY), cursor=at(1))
    told = story(attempts=[attempt(1, 1_100, 2_000)], state=parked, now_ms=ms(9_000))
    assert gaps(told)[-1] == ("parked, until now", 7_000)


def _run_of_the_event(state: KeyState) -> Run:
    assert state.run is not None
    return replace(state.run, slice=make.cut(2), started_at_ms=ms(1_100))


def test_what_is_finished_or_told_by_a_clock_that_is_behind_has_no_now() -> None:
    assert What.NOW.value not in whats(story(now_ms=ms(90_000)))
    assert What.NOW.value not in whats(story(state=next_up(), now_ms=ms(500)))


def test_a_hold_of_the_route_in_the_past_is_a_gap_of_its_own() -> None:
    """Of the route, of everything; what overlaps is one."""
    operations = [
        done_at("Hold", -9_000, "other"),
        done_at("Hold", 1_500),
        done_at("Hold", 3_000, ""),
        done_at("Release", 8_000),
        done_at("Release", 9_000, ""),
    ]
    told = story(
        stops=stops_of("paid", operations, None),
        lines=[line("run started", 9_300), line("run finished", 9_400, outcome="succeeded")],
    )
    assert gaps(told)[1:4] == [
        ("waiting for a slot", 500),
        ("held with route paid, with everything", 7_500),
        ("waiting for a slot", 300),
    ]
    texts = [moment.text for moment in told.moments]
    assert {"route paid held by ana: why not", "everything released by ana: why not"} <= set(texts)


def test_an_open_breaker_of_the_route_is_a_hold_too() -> None:
    """The last time that it was open is stored: it ended, or lasts."""
    closed = Breaker("card", opened_at_ms=ms(1_500), closed_at_ms=ms(4_500))
    told = story(stops=stops_of("paid", [], closed), lines=[line("run started", 4_600)])
    assert gaps(told)[1:3] == [("waiting for a slot", 500), ("held by breaker card", 3_000)]
    held = next_up(waits_for=WaitsFor.RELEASE, held_route="paid")
    is_open = replace(closed, phase=BreakerPhase.OPEN, closed_at_ms=0)
    told = story(state=held, stops=stops_of("paid", [], is_open), now_ms=ms(60_000))
    assert gaps(told)[-1] == ("held by breaker card, until now", 58_500)


def test_a_hold_that_stopped_nothing_is_no_part_of_the_story() -> None:
    """While an attempt was under way, before the event came, or after it was done."""
    operations = [
        done_at("Release", -8_000),  # its hold is no longer remembered
        done_at("Hold", -7_000),
        done_at("Release", -6_000),
        done_at("Hold", 3_200),
        done_at("Release", 3_300),
        done_at("Hold", 9_000),
    ]
    told = story(
        stops=stops_of("paid", operations, None),
        steps=[step("payment", 1, 3_000, 4_000)],
        lines=[line("run started", 1_400)],
    )
    assert not {What.HELD.value, What.RELEASED.value} & set(whats(told))
    assert Wait.HELD not in [gap.wait for gap in told.gaps]


def test_a_skipped_event_ends_as_a_dead_letter() -> None:
    told = story(
        attempts=[attempt(1, 1_100, 2_000)],
        operations=[operation("skip", 9_000, 1, position=HERE)],
        dead_letter=letter(9_000, "skipped by ana: why not"),
    )
    assert whats(told)[-2:] == ["operation", "dead-lettered"]
    assert told.standing == "Given up, a dead letter: skipped by ana: why not"


def test_a_dead_letter_that_was_redriven_or_replayed_is_given_up_no_more() -> None:
    given_up = [attempt(1, 1_100, 9_000)]
    again = attempt(2, 20_000, 21_000, "succeeded", "")
    redriven = story(attempts=given_up, dead_letter=letter(9_000, how="redriven"))
    assert (redriven.standing, "redriven by ana: why not" in [one.text for one in redriven.moments]) == ("Done.", True)
    assert story(attempts=[*given_up, again], dead_letter=letter(9_000)).standing == "Done."
    discarded = story(attempts=given_up, dead_letter=letter(9_000, how="discarded"))
    assert discarded.standing == "Given up, a dead letter: used up; discarded by ana: why not"


def test_a_replay_is_told_and_the_time_before_it_is_nobodys() -> None:
    told = story(
        steps=[step("payment", 1, 1_500, 1_600), step("payment", 3, 60_500, 60_600, generation=1)],
        operations=[operation("rewind", 60_000, 2, position=HERE, replay="r1")],
        state=replace(done(), fence=3),
    )
    assert gaps(told)[-3:] == [
        ("nothing under way", 58_400),
        ("waiting, start and cold start", 500),
        ("step payment", 100),
    ]
    assert "rewind, replay r1 by ana: why not" in [moment.text for moment in told.moments]
    assert whats(told).count("done") == 2


def test_a_replay_of_other_events_is_not_this_ones() -> None:
    told = story(
        steps=[step("payment", 1, 1_500, 1_600)],
        operations=[operation("rewind", 60_000, 1, position=at(1), replay="r1")],
        state=replace(done(), fence=2),
    )
    assert "operation" not in whats(told)


def test_an_event_that_is_to_be_run_again_says_so() -> None:
    replay = Replay("r1", ms(60_000), 1, (Span(HERE, HERE),), resume_at=HERE)
    state = replace(
        done(), cursor=at(1), phase=Phase.WAITING, waits_for=make.waiting_for_slot().waits_for, replay=replay
    )
    assert story(state=state).standing.startswith("To be run again by replay r1.")


def test_a_producers_clock_that_is_ahead_makes_no_moment() -> None:
    told = story(envelope=Envelope("e", "/shop", "2999-01-01T00:00:00Z"))
    assert What.PRODUCED not in [moment.what for moment in told.moments]
    assert "2999-01-01T00:00:00Z" in told.notes[0]


def test_an_event_of_an_earlier_version_has_no_time_of_admission() -> None:
    old = {name: value for name, value in event().items() if name != "admitted_at_ms"}
    told = story(event=old, steps=[step("payment", 1, 3_000, 4_000)])
    assert gaps(told)[0] == ("waiting, start and cold start", 3_000)
    assert "time of admission isn't stored" in told.notes[0]


def test_a_quarantined_record_has_a_story_too() -> None:
    record = {
        "pk": "quarantine#2026-01-05",
        "sk": f"shard-1#{HERE}",
        "key": "k",
        "reason": "data",
        "detail": "data.lines: is missing",
        "arrived_at_ms": PUT_MS,
        "quarantined_at_ms": ms(700),
    }
    told = tell_of_quarantined(record, Envelope("e", "/shop"))
    assert told.standing == "In quarantine as data: data.lines: is missing"
    assert gaps(told) == [("queue", 700)]
    redriven = tell_of_quarantined(
        record | {"closed": {"how": "redriven", "by": "ana", "at_ms": ms(9_000)}}, Envelope("e", "/shop")
    )
    assert redriven.standing == "Out of quarantine, redriven; it was there as data: data.lines: is missing"
    assert gaps(redriven) == [("queue", 700), ("nothing under way", 8_300)]


FENCES = st.integers(1, 4)
TIMES = st.integers(-5_000, 200_000)
OUTCOMES = st.sampled_from(["failed", "succeeded", "out_of_time", "unavailable"])
REASONS = st.sampled_from(["it broke", "hung", "never_started", ""])
LINES = st.builds(
    lambda message, at_ms, fence, outcome: line(message, at_ms, fence, outcome=outcome, step="payment", error="X"),
    st.sampled_from(["run started", "run finished", "step failed", "step refused", "step done", "duplicate", "odd"]),
    TIMES,
    FENCES,
    OUTCOMES,
)
PHASE = BreakerPhase.CLOSED
MATERIAL = st.builds(
    Material,
    position=st.just(HERE),
    event=st.builds(lambda at_ms: event(admitted_at_ms=ms(at_ms)), TIMES) | st.just(event()),
    envelope=st.builds(
        Envelope, time=st.sampled_from(["", "odd", "2026-01-05T07:59:00Z", "2026-01-05T09:00:00+01:00"])
    ),
    state=st.sampled_from(
        [make.idle(), make.running(2), make.bound(2), make.waiting_for_time(2), make.parked(2), done()]
    ),
    attempts=st.lists(st.builds(attempt, FENCES, TIMES, TIMES, OUTCOMES, REASONS), max_size=4),
    steps=st.lists(st.builds(step, st.sampled_from(["payment", "inventory"]), FENCES, TIMES, TIMES), max_size=5),
    duplicates=st.lists(st.builds(lambda at_ms: Duplicate(at(9), HERE, ms(at_ms)), TIMES), max_size=2),
    operations=st.lists(
        st.builds(operation, st.sampled_from(["hold", "release", "resume", "skip", "rewind"]), TIMES, FENCES),
        max_size=3,
    ),
    dead_letter=st.none() | st.builds(letter, TIMES, how=st.sampled_from(["", "redriven", "discarded"])),
    earlier_ended_ms=st.none() | st.builds(ms, TIMES),
    stops=st.builds(
        lambda operations, opened, closed: stops_of("paid", operations, Breaker("card", 1, PHASE, (), opened, closed)),
        st.lists(
            st.builds(done_at, st.sampled_from(["Hold", "Release"]), TIMES, st.sampled_from(["paid", ""])), max_size=6
        ).map(lambda found: sorted(found, key=lambda one: one.at_ms)),
        st.just(0) | st.builds(ms, TIMES),
        st.builds(ms, TIMES),
    ),
    now_ms=st.just(0) | st.builds(ms, TIMES),
    lines=st.lists(LINES, max_size=6),
)


@given(MATERIAL)
def test_moments_are_in_order_and_gaps_cover_their_time_without_overlap(found: Material) -> None:
    told = tell(found)
    times = [moment.at_ms for moment in told.moments]
    assert times == sorted(times)
    edges = [(gap.begins_ms, gap.ends_ms) for gap in told.gaps]
    assert all(begins < ends for begins, ends in edges)
    assert [begins for begins, _ in edges[1:]] == [ends for _, ends in edges[:-1]]
    assert sum(ends - begins for begins, ends in edges) == times[-1] - times[0]


def _written(found: Material) -> set[int]:
    """Every time that an item or a line holds."""
    values: list[Any] = [*found.attempts, *found.steps, *found.duplicates, *found.operations]
    items = [found.event, *map(asdict, values), asdict(found.dead_letter) if found.dead_letter else {}]
    kept = {value for item in items for name, value in item.items() if name.endswith("_ms")}
    of_state = {found.state.run.started_at_ms} if found.state.run else set()
    parked = {found.state.parked.at_ms} if found.state.parked else set()
    produced = {1_767_599_940_000, 1_767_600_000_000} if found.envelope.time.startswith("2026") else set()
    edges = {at_ms for stop in found.stops for at_ms in (stop.begins_ms, stop.ends_ms) if at_ms is not None}
    return (
        edges
        | {found.now_ms}
        | kept
        | of_state
        | parked
        | produced
        | {found.earlier_ended_ms or 0}
        | {one.at_ms for one in found.lines}
    )


@given(MATERIAL)
def test_no_moment_is_invented(found: Material) -> None:
    """Each is written down in an item or a line, and says in which."""
    told = tell(found)
    assert {moment.at_ms for moment in told.moments} <= _written(found)
    assert all(moment.source for moment in told.moments)


@given(MATERIAL)
def test_every_story_can_be_shown(found: Material) -> None:
    """On a terminal, as JSON and as a page, whatever is missing or contradicts."""
    told = tell(found)
    with Console(width=80).capture() as _:
        print_story(told, Console(width=80, quiet=True))
    assert content_of(told)["standing"] == told.standing
    assert page_of(told).count("<svg") <= 1


NASTY = "<script>alert('1')</script>\x1b[2J"


@pytest.fixture
def nasty() -> Story:
    """A story in which everything that comes from outside is markup, or moves a terminal's cursor."""
    parked = replace(make.parked(1), key=NASTY, parked=Parked(ms(2_000), NASTY))
    return tell(
        Material(
            position=Position(at(1)),
            event=event(type=NASTY),
            envelope=Envelope(NASTY, NASTY),
            state=parked,
            attempts=[attempt(1, 1_100, 2_000, reason=NASTY)],
            steps=[step(NASTY, 1, 1_200, 1_300)],
            operations=[operation("hold", 1_500, 1, by=NASTY, reason=NASTY)],
            lines=[line(NASTY, 1_500, step=NASTY, error=NASTY, service=NASTY), line("step failed", 1_600, step=NASTY)],
            notes=[NASTY],
        )
    )


def test_a_page_shows_what_comes_from_outside_as_text(nasty: Story) -> None:
    page = page_of(nasty)
    assert "<script" not in page
    assert "\x1b" not in page
    assert page.count("&lt;script&gt;") > 8


def test_a_page_needs_nothing_else(nasty: Story) -> None:
    """No script, no address to fetch anything from."""
    page = page_of(nasty)
    assert not any(word in page for word in ("http:", "https:", "src=", "@import", "url("))


def test_a_terminal_is_not_moved_by_what_comes_from_outside(nasty: Story) -> None:
    console = Console(width=200, force_terminal=False)
    with console.capture() as shown:
        print_story(nasty, console)
    assert "\x1b" not in shown.get()
    assert "<script>" in shown.get()
