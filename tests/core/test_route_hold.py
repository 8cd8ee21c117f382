"""The keys of a released route go on at a ramp."""

from keyturn.core.route_hold import RAMP_KEYS_MAX, RAMP_LASTS_MS, Ramp


def test_each_batch_is_twice_the_one_before_up_to_the_most() -> None:
    """A downstream that has just come back isn't hit by all that waited."""
    ramp, now_ms, batches = Ramp("paid", 1_000), 1_000, []
    for _ in range(8):
        batches.append(ramp.keys)
        ramp = ramp.stepped(now_ms)
        now_ms = ramp.next_at_ms
    assert batches == [10, 20, 40, 80, 160, 320, 640, RAMP_KEYS_MAX]
    assert now_ms == 9_000


def test_a_message_that_comes_again_takes_no_second_batch() -> None:
    """The next goes a second later; half a second early is near enough, since clocks differ."""
    ramp = Ramp("paid", 1_000).stepped(1_000)
    assert not ramp.may_step(1_499)
    assert ramp.may_step(1_500)


def test_a_batch_that_a_clock_put_off_for_hours_may_go() -> None:
    """Else the keys of a released route would wait until that clock's time, and nobody could release them again."""
    ramp = Ramp("paid", 1_000).stepped(6 * 3_600_000)
    assert ramp.may_step(1_000)


def test_it_is_looked_after_longer_than_anybody_may_have_seen_the_hold() -> None:
    """Who saw it may put a key aside for as long as a function runs."""
    ramp = Ramp("paid", 1_000)
    assert not ramp.is_over(1_000 + 61_000)
    assert ramp.is_over(1_000 + RAMP_LASTS_MS)


def test_keys_that_come_late_begin_the_ramp_anew() -> None:
    """A look that finds none leaves the next batch as small as the first."""
    assert Ramp("paid", 1_000).stepped(1_000).stepped(2_000).resting(3_000).keys == 10
