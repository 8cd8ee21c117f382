"""Which release a key takes, and what may be done with releases."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core import commands as ask
from keyturn.core.actions import CountAttempt
from keyturn.core.protocol import transition
from keyturn.core.rollout import (
    NO_RELEASE,
    NOTHING_PUBLISHED,
    WHOLE,
    Canary,
    CanaryRules,
    Health,
    Pin,
    Recovery,
    Rollout,
    Verdict,
    begun,
    judge,
    promoted,
    published,
    recovered,
    rolled_back,
    stepped,
    tried,
)
from keyturn.core.state import KeyState, Phase, violations
from keyturn.errors import CannotOperate
from tests.core import states as make
from tests.core.states import NOW_MS, RULES

keys = st.text(min_size=1, max_size=30)
shares = st.integers(1, WHOLE)
MACHINES = {"order-standard": 3}


def releases(count: int) -> Rollout:
    """That many published releases, the first one stable."""
    rollout = NOTHING_PUBLISHED
    for number in range(1, count + 1):
        rollout = published(begun(rollout), number, MACHINES, NOW_MS)
    return rollout


def trying(share: int = WHOLE, number: int = 2) -> Rollout:
    """Release 1 is stable, another one is tried by a share of the keys."""
    return tried(releases(number), Canary(number, share, NOW_MS))


@given(keys, shares)
def test_a_key_is_always_on_the_same_side_of_a_share(key: str, share: int) -> None:
    """Whoever asks, whenever: so a key doesn't go back and forth between two releases."""
    assert {trying(share).chosen_for(key) for _ in range(3)} in ({1}, {2})


@given(keys, shares, shares)
def test_a_larger_share_only_adds_keys(key: str, one: int, other: int) -> None:
    """A key that the canary had stays with it."""
    small, large = sorted((one, other))
    assert Canary(2, large, 0).takes(key) or not Canary(2, small, 0).takes(key)


@pytest.mark.parametrize("share", [100, 3_000, 9_000])
def test_a_share_of_the_keys_is_about_that_part_of_them(share: int) -> None:
    """1, 30 and 90 percent of 20,000 keys."""
    taken = sum(Canary(2, share, 0).takes(f"order-{number}") for number in range(20_000))
    assert abs(taken - 2 * share) < 200


def test_the_whole_share_is_every_key() -> None:
    """And none is left out by rounding."""
    assert all(Canary(2, WHOLE, 0).takes(f"k{number}") for number in range(1_000))


@given(keys, shares, st.integers(1, 3), st.booleans())
def test_a_busy_key_stays_on_its_release_unless_that_was_rolled_back(
    key: str, share: int, own: int, is_rolled_back: bool
) -> None:
    """Whatever is published, tried or promoted meanwhile; what was rolled back is left for the stable one."""
    rollout = trying(share, number=4)
    if is_rolled_back:
        rollout = rolled_back(promoted(rollout, 4, 0) if own == 1 else rollout, own if own != 1 else 4, 0)
        gone = own if own != 1 else 4
        assert rollout.next_of(KeyState(key, release=gone)) == rollout.stable
    else:
        assert rollout.next_of(KeyState(key, release=own)) == own


def test_without_a_release_runs_take_what_was_deployed_last() -> None:
    """As before there were releases."""
    assert NOTHING_PUBLISHED.next_of(KeyState("k")) == NO_RELEASE
    assert NOTHING_PUBLISHED.pin(NO_RELEASE, "order-standard") == Pin(None, "")


def test_a_run_takes_its_releases_versions() -> None:
    """A state machine that its release doesn't have came later: it takes the newest, workers included."""
    rollout = releases(1)
    assert rollout.pin(1, "order-standard") == Pin(3, ":release-1")
    assert rollout.pin(1, "refund-express") == Pin(None, "")
    assert rollout.pin(9, "order-standard") == Pin(None, ":release-9")


def started(state: KeyState, rollout: Rollout, number: int = 1) -> KeyState:
    """Start what a waiting key has to run, on what the rollout says."""
    claim = ask.Claim(replace(make.following(number), rollout=rollout))
    return make.after(state, claim, state.not_before_ms + 1)


def admitted(rollout: Rollout, through: int = 1) -> KeyState:
    """An idle key that was given events while the releases stood so."""
    following = replace(make.following(1), rollout=rollout)
    return make.after(KeyState("k"), replace(make.admit(through, through), next=following))


def ended(state: KeyState, rollout: Rollout, outcome: ask.Outcome = ask.Outcome.SUCCEEDED) -> KeyState:
    """The run's attempt ends; what follows it is read while the releases stand so."""
    number = 2 if state.tail > make.at(1) else 0
    following = replace(make.following(number), rollout=rollout) if number else None
    return make.after(state, ask.Finish(state.fence, "x", ask.Ending(outcome, clean=True), make.ROUTE, following))


def test_a_key_takes_a_release_when_it_starts_and_leaves_it_when_it_is_idle() -> None:
    """So the one that is published meanwhile is taken by its next run after a rest."""
    running = admitted(trying())
    assert (running.release, running.phase) == (2, Phase.RUNNING)
    idle = ended(running, trying())
    assert (idle.release, idle.phase) == (NO_RELEASE, Phase.IDLE)


def test_a_key_that_goes_on_stays_on_its_release_though_another_is_promoted() -> None:
    """It has been busy without a rest; its next slice is no place to change."""
    first = admitted(releases(1), through=2)
    second = ended(first, promoted(releases(2), 2, NOW_MS))
    assert (second.release, second.phase, second.fence) == (1, Phase.RUNNING, 2)


def test_a_retry_leaves_a_release_that_was_rolled_back_and_has_all_its_attempts_again() -> None:
    """What the bad release failed at isn't held against the good one."""
    bad = trying()
    failed = ended(admitted(bad), bad, ask.Outcome.FAILED)
    assert (failed.release, failed.run and failed.run.attempt) == (2, 2)
    stays = started(failed, bad)
    assert (stays.release, stays.run and stays.run.attempt) == (2, 2)
    moved = started(failed, rolled_back(bad, None, NOW_MS))
    assert (moved.release, moved.run and moved.run.attempt) == (1, 1)


def test_the_next_slice_leaves_a_release_that_was_rolled_back() -> None:
    """The run under way ends on it; what comes behind goes back."""
    running = admitted(trying(), through=2)
    assert running.release == 2
    assert ended(running, rolled_back(trying(), None, NOW_MS)).release == 1


def test_a_parked_key_takes_a_release_anew_when_it_is_resumed_or_skipped() -> None:
    """A person who mended a worker, promoted that and resumes means the mended one."""
    bad = admitted(releases(1))
    for _ in range(make.ROUTE.max_attempts):
        if bad.phase is Phase.WAITING:
            bad = started(bad, releases(1))
        bad = ended(bad, releases(1), ask.Outcome.FAILED)
    assert (bad.phase, bad.release) == (Phase.PARKED, 1)
    resumed = make.after(bad, ask.Resume(ask.Operator("sam", "mended")))
    assert started(resumed, promoted(releases(2), 2, NOW_MS)).release == 2
    skipped = make.after(bad, ask.Skip(ask.Operator("sam", "no use"), None, None))
    assert skipped.release == NO_RELEASE


def test_an_attempt_that_a_rolled_back_release_failed_at_is_not_counted() -> None:
    """Not by its key, nor for the canary's health."""
    running = admitted(trying())
    ending = ask.Ending(ask.Outcome.ROLLED_BACK, clean=True, permanent=True)
    done = transition(running, ask.Finish(running.fence, "x", ending, make.ROUTE, None), NOW_MS, RULES)
    assert (done.state.phase, done.state.run and done.state.run.attempt) == (Phase.WAITING, 1)
    assert not [action for action in done.actions if isinstance(action, CountAttempt)]
    assert violations(done.state) == []


@pytest.mark.parametrize(("outcome", "has_succeeded"), [(ask.Outcome.SUCCEEDED, True), (ask.Outcome.FAILED, False)])
def test_an_attempt_on_a_release_is_counted_once(outcome: ask.Outcome, has_succeeded: bool) -> None:
    """A finish that comes a second time counts nothing."""
    running = admitted(trying())
    command = ask.Finish(running.fence, "x", ask.Ending(outcome, clean=True), make.ROUTE, None)
    done = transition(running, command, NOW_MS, RULES)
    assert [one for one in done.actions if isinstance(one, CountAttempt)] == [CountAttempt(2, has_succeeded)]
    again = transition(done.state, command, NOW_MS, RULES)
    assert not [one for one in again.actions if isinstance(one, CountAttempt)]


def test_an_attempt_on_no_release_is_not_counted() -> None:
    """A stack that uses no releases pays nothing for them."""
    done = transition(make.bound(), make.finish(), NOW_MS, RULES)
    assert not [one for one in done.actions if isinstance(one, CountAttempt)]


RULES_OF_FIVE = CanaryRules(ended_min=5, failed_percent=40, promote_after_runs=8, promote_after_ms=60_000)


@pytest.mark.parametrize(
    ("succeeded", "failed", "after_ms", "verdict"),
    [
        (0, 4, 0, Verdict.WAIT),  # too few
        (3, 2, 0, Verdict.ROLL_BACK),  # 40 percent
        (4, 2, 0, Verdict.WAIT),
        (8, 0, 0, Verdict.PROMOTE),
        (8, 6, 0, Verdict.ROLL_BACK),  # never promoted while it fails
        (4, 1, 60_000, Verdict.PROMOTE),
        (4, 0, 60_000, Verdict.WAIT),  # nothing is known of it yet
    ],
)
def test_a_canary_is_judged_by_how_its_attempts_ended(
    succeeded: int, failed: int, after_ms: int, verdict: Verdict
) -> None:
    """Rolled back by its share of failures, promoted by its successes or its time, each only after enough attempts."""
    canary = Canary(2, WHOLE, NOW_MS, RULES_OF_FIVE)
    assert judge(canary, Health(succeeded, failed), NOW_MS + after_ms) is verdict


def test_a_canary_is_not_promoted_by_itself_unless_asked_for() -> None:
    """However well it does."""
    assert judge(Canary(2, WHOLE, 0), Health(10**6, 0), 10**12) is Verdict.WAIT


def test_the_first_release_is_stable_at_once() -> None:
    """It is what runs already; the next ones wait to be tried."""
    assert releases(1).stable == 1
    assert releases(3).stable == 1


def test_a_canary_may_get_a_larger_share_and_keeps_its_beginning() -> None:
    """Its health is counted since then."""
    wider = tried(trying(100), Canary(2, 5_000, NOW_MS + 9))
    assert wider.canary == Canary(2, 5_000, NOW_MS)


def test_promotion_makes_the_canary_everybodys() -> None:
    """The one before it is what a rollback goes back to."""
    after = promoted(trying(), None, NOW_MS)
    assert (after.stable, after.canary) == (2, None)
    back = rolled_back(after, None, NOW_MS)
    assert (back.stable, back.rolled_back) == (1, (2,))


def test_a_rolled_back_canary_leaves_the_stable_release_as_it_was() -> None:
    """And is remembered, since keys are on it still."""
    back = rolled_back(trying(), None, NOW_MS + 5)
    assert (back.stable, back.canary, back.rolled_back) == (1, None, (2,))
    assert back.recoveries == (Recovery(2, NOW_MS, NOW_MS + 5),)


def test_a_recovery_goes_on_step_by_step_until_it_is_over() -> None:
    """Who comes second finds another recovery than the one it saw."""
    back = rolled_back(trying(), None, NOW_MS)
    (seen,) = back.recoveries
    later = stepped(back, seen, NOW_MS + 5, NOW_MS + 1_000)
    assert later.recoveries == (replace(seen, since_ms=NOW_MS + 5, next_at_ms=NOW_MS + 1_000),)
    assert recovered(later, seen) == later
    assert recovered(later, later.recoveries[0]).recoveries == ()


@pytest.mark.parametrize(
    ("ask_for", "told"),
    [
        (lambda: published(NOTHING_PUBLISHED, 1, {}, 0), "was never begun"),
        (lambda: published(releases(1), 1, {}, 0), "is published already"),
        (lambda: tried(NOTHING_PUBLISHED, Canary(1, 1, 0)), "there is no release 1: published are none yet"),
        (lambda: tried(releases(2), Canary(1, 1, 0)), "release 1 is everybody's already"),
        (lambda: tried(trying(number=3), Canary(2, 1, 0)), "release 3 is being tried"),
        (lambda: tried(rolled_back(trying(), None, 0), Canary(2, 1, 0)), "release 2 was rolled back"),
        (lambda: promoted(releases(2), None, 0), "no release is being tried"),
        (lambda: promoted(releases(2), 1, 0), "release 1 is everybody's already"),
        (lambda: promoted(trying(number=3), 2, 0), "release 3 is being tried"),
        (lambda: rolled_back(releases(1), None, 0), "there is no release before 1"),
        (lambda: rolled_back(NOTHING_PUBLISHED, None, 0), "there is no release 0"),
        (lambda: rolled_back(promoted(releases(2), 2, 0), 7, 0), "there is no release 7"),
        (lambda: rolled_back(tried(promoted(releases(3), 2, 0), Canary(3, 1, 0)), 2, 0), "release 3 is being tried"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(ask_for: object, told: str) -> None:
    """Nothing changes then."""
    with pytest.raises(CannotOperate, match=told):
        ask_for()  # type: ignore[operator]


def test_old_releases_are_forgotten_but_never_the_one_in_use() -> None:
    """Everything that runs read stands in one small item; the stable release may be a hundred releases old."""
    rollout = releases(60)
    assert rollout.stable == 1
    assert 1 in rollout.machines
    assert len(rollout.machines) <= 21
    assert max(rollout.machines) == 60


def test_a_key_leaves_a_release_that_is_forgotten() -> None:
    """Its versions aren't known any more: the newest workflow would call its old workers."""
    rollout = promoted(releases(2), 2, NOW_MS)
    stays = KeyState("k", release=1)
    for number in range(3, 22):
        rollout = published(begun(rollout), number, MACHINES, NOW_MS)
        assert rollout.next_of(stays) == (1 if 1 in rollout.machines else 2)
    assert rollout.next_of(stays) == 2
