"""The judge of order, effects and completeness."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bench.order import Effect, judge
from bench.workload import STEPS, BenchEvent


def _sent(count: int) -> list[BenchEvent]:
    return [BenchEvent("k", number, f"k/{number}", b"") for number in range(count)]


def _effects(done: list[tuple[int, str]]) -> list[Effect]:
    return [Effect("k", turn, number, step, at_ms=turn) for turn, (number, step) in enumerate(done, start=1)]


@given(count=st.integers(1, 8), seed=st.integers())
def test_steps_of_one_event_may_come_in_any_order(count: int, seed: int) -> None:
    """A run's branches go side by side: only another event between them breaks the order."""
    random = Random(seed)  # noqa: S311  a test's shuffle, no secret
    done = [(number, step) for number in range(count) for step in random.sample(STEPS, len(STEPS))]
    assert judge(_sent(count), _effects(done)).word == "every event"


def test_turns_decide_not_the_order_of_the_list() -> None:
    """Effects may be read in any order."""
    done = _effects([(number, step) for number in range(3) for step in STEPS])
    assert judge(_sent(3), reversed(done)).word == "every event"


def test_a_batch_keeps_order_within_its_steps() -> None:
    """One worker may be ahead of another within a run of several events, not of itself."""
    ahead = [(0, "inventory"), (1, "inventory"), (0, "payment"), (0, "notification")]
    done = [*ahead, (1, "payment"), (1, "notification")]
    verdict = judge(_sent(2), _effects(done))
    assert verdict.disordered == 2
    assert verdict.word == "by step only"


def test_an_effect_behind_a_later_events_is_out_of_order() -> None:
    """Counted, and told."""
    done = [(1, step) for step in STEPS] + [(0, step) for step in STEPS]
    verdict = judge(_sent(2), _effects(done))
    assert verdict.disordered_in_step == len(STEPS)
    assert verdict.word == "no: 3 out of order"


def test_keys_are_judged_each_for_itself() -> None:
    """The order between keys is nobody's promise."""
    sent = [BenchEvent(key, 0, f"{key}/0", b"") for key in ("a", "b")]
    effects = [Effect(key, turn, 0, step, 0) for key in ("b", "a") for turn, step in enumerate(STEPS)]
    assert judge(sent, effects).word == "every event"


def test_a_missing_and_a_repeated_effect_break_a_run() -> None:
    """Whatever the order."""
    done = [(0, "inventory"), (0, "payment"), (0, "payment")]
    assert judge(_sent(1), _effects(done)).word == "BROKEN: 1 missing, 1 repeated"
