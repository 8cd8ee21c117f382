"""A plan holds what was selected and nothing else, in the log's order, and counts what it will come to."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from keyturn.adapters.price_list import load_prices
from keyturn.core.positions import Position, position
from keyturn.core.replay_estimate import estimate, scan_cost
from keyturn.core.replay_job import Act, JobState, ReplayJob, Source, choose_source, pass_ended, pause_s
from keyturn.core.replay_plan import (
    CHUNK_SPANS_MAX,
    Fate,
    Heading,
    Outcome,
    PlannedKey,
    Selection,
    Stored,
    Tally,
    Version,
    chunks_of,
    fingerprint_of,
    plan_key,
    spans_of,
)
from keyturn.core.route import Backoff, Batch, Exhaustion, Kind, Route
from keyturn.core.state import Hold, KeyState, Parked, Phase, Replay, Span
from keyturn.core.workflow_shape import WorkflowShape, fingerprint

HOUR_MS = 3_600_000


def at(number: int) -> Position:
    """A position."""
    return position(1, str(number))


def route(name: str = "order", kind: Kind = Kind.STANDARD, batch: int = 1) -> Route:
    """A route of its own type."""
    return Route(
        name, name, name, kind, None, 20, 3, 2, Backoff(1, 2.0, 10), Exhaustion.PARK, Batch(batch, 1_000), False
    )  # fmt: skip


SHAPE = WorkflowShape(frozenset({"a", "b"}), has_items=False, states=4, states_per_item=0)
VERSIONS = {
    "order": Version(route(), SHAPE, "1"),
    "scan": Version(route("scan", Kind.EXPRESS, batch=3), replace(SHAPE, steps=frozenset({"a"})), "2"),
    "lines": Version(route("lines"), replace(SHAPE, has_items=True, states_per_item=2), "3"),
}


def log(*types: str) -> list[Heading]:
    """A log of events of these types, at 1, 2 ..."""
    return [Heading(at(number), name, f"flow-{number}", number) for number, name in enumerate(types, start=1)]


@given(st.lists(st.booleans(), max_size=120))
def test_spans_hold_what_was_chosen_and_nothing_else(chosen: list[bool]) -> None:
    """They are apart, in the log's order, and as few as can be; chunks lose none."""
    order = [at(number) for number in range(len(chosen))]
    wanted = {place for place, is_chosen in zip(order, chosen, strict=True) if is_chosen}
    spans = spans_of(order, wanted)
    covered = [place for span in spans for place in order if span.first <= place <= span.last]
    assert covered == sorted(wanted)
    gaps = [any(before.last < place < after.first for place in order) for before, after in pairwise(spans)]
    assert all(gaps)
    chunks = chunks_of(spans)
    assert [span for chunk in chunks for span in chunk] == list(spans)
    assert all(1 <= len(chunk) <= CHUNK_SPANS_MAX for chunk in chunks)


@given(
    st.lists(st.tuples(st.sampled_from(["order", "scan", "lines"]), st.booleans()), min_size=1, max_size=40),
    st.integers(0, 40),
    st.booleans(),
)
def test_a_plan_counts_each_finished_selected_event_once(
    events: list[tuple[str, bool]], cursor: int, is_new_generation: bool
) -> None:
    """And the runs never hold more than their batch, nor two routes, nor what lies apart."""
    headings = log(*(name for name, _ in events))
    chosen = {one.position for one, (_, is_chosen) in zip(headings, events, strict=True) if is_chosen}
    state = KeyState("k", cursor=at(cursor), tail=at(50))
    planned, chunks = plan_key(
        PlannedKey("k"), state, headings, chosen, {}, VERSIONS.get, is_new_generation=is_new_generation
    )
    finished = [one for one in headings if one.position in chosen and one.position <= at(cursor)]
    tally = planned.tally
    assert tally.unfinished == len(chosen) - len(finished)
    if not finished:
        assert (planned.fate, chunks) == (Fate.NOTHING, [])
        return
    assert (tally.keys, tally.events) == (1, len(finished))
    assert tally.steps_to_skip == 0
    assert tally.steps_to_run == sum(len(VERSIONS[one.type].shape.steps) for one in finished)
    assert tally.spans <= tally.runs <= len(finished)
    scans = sum(one.type == "scan" for one in finished)
    assert tally.runs >= len(finished) - scans + -(-scans // 3)
    assert tally.longest_runs == tally.runs


def test_finished_steps_are_skipped_and_a_maps_are_counted_by_the_last_time() -> None:
    headings = log("lines", "order")
    stored = {at(1): Stored(frozenset({"a", "b", "pick-1", "pick-2"}), 300), at(2): Stored(frozenset({"a"}), 100)}
    state = KeyState("k", cursor=at(2), tail=at(2))
    chosen = {at(1), at(2)}
    rest, _ = plan_key(PlannedKey("k"), state, headings, chosen, stored, VERSIONS.get, is_new_generation=False)
    again, _ = plan_key(PlannedKey("k"), state, headings, chosen, stored, VERSIONS.get, is_new_generation=True)
    assert (rest.tally.steps_to_run, rest.tally.steps_to_skip) == (1, 5)
    assert (again.tally.steps_to_run, again.tally.steps_to_skip) == (6, 0)
    assert again.tally.transitions == 4 + 2 * 2 + 4
    assert again.tally.invocations == (4 + 1) + (2 + 1)
    assert (again.tally.worked_ms, again.tally.timed_events) == (400, 2)


def test_a_key_is_planned_as_it_is_and_says_what_is_in_the_way() -> None:
    headings = log("order")
    finished = KeyState("k", version=7, cursor=at(1), tail=at(1), generation=3)

    def plan(state: KeyState) -> PlannedKey:
        return plan_key(PlannedKey("k"), state, headings, {at(1)}, {}, VERSIONS.get, is_new_generation=True)[0]

    assert (plan(finished).version, plan(finished).generation, plan(finished).cursor) == (7, 3, at(1))
    held = plan(replace(finished, hold=Hold(5, "sam", "why")))
    assert (held.hold_at_ms, held.tally.held, held.fate) == (5, 1, Fate.PLANNED)
    assert "resume or skip" in plan(replace(finished, phase=Phase.PARKED, parked=Parked(1, "down"))).why
    back = replace(finished, cursor=Position(""), replay=Replay("r", 1, 1, (Span(at(1), at(1)),), resume_at=at(1)))
    assert (plan(back).tally.replaying, plan(back).tally.events) == (1, 1)


def test_events_that_no_route_takes_any_more_are_refused() -> None:
    state = KeyState("k", cursor=at(1), tail=at(1))
    planned, _ = plan_key(PlannedKey("k"), state, log("gone"), {at(1)}, {}, VERSIONS.get, is_new_generation=True)
    assert (planned.fate, planned.tally.refused, planned.why) == (Fate.REFUSED, 1, "no route takes 'gone' any more")


def test_a_fingerprint_changes_with_any_of_its_routes() -> None:
    before = fingerprint_of(["order", "scan"], VERSIONS.get)
    assert before == fingerprint_of(["scan", "order", "scan"], VERSIONS.get)
    changed = {**VERSIONS, "scan": replace(VERSIONS["scan"], fingerprint="new")}
    assert fingerprint_of(["order", "scan"], changed.get) != before
    assert fingerprint_of(["order"], changed.get) == fingerprint_of(["order"], VERSIONS.get)
    assert fingerprint(route(), "{}") != fingerprint(route(batch=2), "{}")
    assert fingerprint(route(), "{}") != fingerprint(route(), "{ }")


def test_everything_that_is_selected_by_must_hold() -> None:
    event = Heading(at(5), "shop.order.paid", "f", 1_000)
    whole = Selection(
        from_position=at(5), to_position=at(5), from_ms=1_000, to_ms=1_000, type="shop.*", flow_id="f", route="r"
    )
    assert whole.takes(event, "r")
    assert Selection().takes(event, "")
    for one in (
        {"from_position": at(6)},
        {"to_position": at(4)},
        {"from_ms": 1_001},
        {"to_ms": 999},
        {"type": "shop.*.placed"},
        {"flow_id": "g"},
        {"route": "other"},
    ):
        assert not replace(whole, **one).takes(event, "r"), one


def test_keys_are_found_by_an_index_where_there_is_one() -> None:
    now_ms = 100 * 24 * HOUR_MS

    def source(selection: Selection, *, has_archive: bool = False, stream_h: int = 24) -> Source | None:
        return choose_source(
            selection,
            now_ms,
            stream_since_ms=now_ms - stream_h * HOUR_MS,
            log_retention_ms=30 * 24 * HOUR_MS,
            has_archive=has_archive,
        )

    assert source(Selection(named_keys=1, from_ms=now_ms - 1)) is Source.KEYS
    assert source(Selection(outcome=Outcome.SKIPPED)) is Source.DEAD_LETTERS
    assert source(Selection(from_ms=now_ms - HOUR_MS)) is Source.STREAM
    assert source(Selection(from_ms=now_ms - 25 * HOUR_MS)) is Source.SCAN
    assert source(Selection(type="shop.*")) is Source.SCAN
    past = Selection(from_ms=now_ms - 31 * 24 * HOUR_MS, named_keys=1)
    assert source(past) is None
    assert source(past, has_archive=True) is Source.ARCHIVE
    assert source(past, has_archive=True, stream_h=8_760) is Source.STREAM


JOB = ReplayJob("r", JobState.APPLYING, Source.KEYS, Selection(), Act("sam", "why", 1))


def test_a_pass_follows_another_while_a_key_is_under_way_later_the_longer_nothing_happens() -> None:
    under_way = replace(JOB, passing={Fate.APPLIED: 2, Fate.DONE: 1})
    first = pass_ended(under_way)
    assert (first.state, first.counts, first.passing, pause_s(first)) == (JOB.state, under_way.passing, {}, 1)
    second = pass_ended(replace(first, passing=under_way.passing))
    assert pause_s(second) == 2
    moved = pass_ended(replace(second, passing={Fate.APPLIED: 1, Fate.DONE: 2}))
    assert pause_s(moved) == 1
    assert pass_ended(replace(moved, passing={Fate.DONE: 2, Fate.PARKED: 1})).state is JobState.DONE
    cancelling = replace(JOB, state=JobState.CANCELLING, passing={Fate.CANCELLED: 3})
    assert pass_ended(cancelling).state is JobState.CANCELLED


def test_an_estimate_tells_what_holds_a_replay_up() -> None:
    prices = load_prices("us-east-1")
    tally = Tally(keys=600, events=600, runs=600, steps_to_run=1_800, invocations=2_400, transitions=4_800)
    timed = replace(tally, worked_ms=600_000, timed_events=600, longest_runs=1)
    by_rate = estimate(timed, prices, rate=1, max_in_flight_runs=300)
    assert by_rate.takes_s == by_rate.by_rate_s == 600
    by_slots = estimate(timed, prices, rate=100, max_in_flight_runs=3)
    assert by_slots.takes_s == by_slots.by_slots_s == 600 * 1.5 / 3
    by_key = estimate(replace(timed, longest_runs=500), prices, rate=100, max_in_flight_runs=300)
    assert by_key.takes_s == by_key.by_longest_key_s == 500 * 1.5
    assert round(by_rate.step_functions, 2) == 0.12  # 4,800 transitions at $25 a million
    assert round(scan_cost(8_192_000_000, prices), 3) == 0.125
    assert estimate(Tally(), prices, rate=10, max_in_flight_runs=3).total == 0


def test_a_batch_saves_a_replay_invocations_and_not_what_its_steps_take() -> None:
    """Twenty events of a second each are twenty seconds of a worker, in one invocation or in twenty."""
    prices = load_prices("us-east-1")
    each = Tally(events=600, runs=600, steps_to_run=1_800, invocations=2_400, worked_ms=600_000, timed_events=600)
    batched = replace(each, runs=30, invocations=120)
    strictly, together = (estimate(one, prices, rate=100, max_in_flight_runs=300) for one in (each, batched))
    worked = 1_800 * 0.25 * prices.lambda_gb_s_x86
    assert worked < together.lambda_ < strictly.lambda_ < 1.2 * worked
    skipped = estimate(replace(each, steps_to_run=0, steps_to_skip=1_800), prices, rate=100, max_in_flight_runs=300)
    assert skipped.lambda_ < worked / 5


def test_tallies_add_up_and_survive_their_item() -> None:
    one = Tally(keys=1, events=2, longest_runs=5)
    both = one.plus(Tally(keys=1, events=3, longest_runs=4, parked=True))
    assert both == Tally(keys=2, events=5, longest_runs=5, parked=1)
    assert Tally.from_item(both.as_item()) == both
