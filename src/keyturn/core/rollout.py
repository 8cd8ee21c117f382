"""Releases: which versions of workflows and workers a key's runs take, and how a new release comes to its keys.

A release is what one deploy published: a version of each workflow's state machine and of each worker. A key takes a
release when it has been idle, and stays on it until it is idle again. The *stable* release is everybody's; a *canary*
is for the keys whose hash falls into its share, so that no key goes back and forth. A release that was *rolled back* is
left at once by whatever isn't running: its keys' next attempts and runs take the stable one.

All of this stands in one item, changed by compare-and-set on `version`; so every change is a pure function.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from keyturn.core.state import KeyState, key_digest
from keyturn.errors import CannotOperate

NO_RELEASE: Final = 0
"""Stands for whatever was deployed last, where no release was ever published."""

WHOLE: Final = 10_000
"""A share of all keys; shares are in hundredths of a percent."""

_RELEASES_KEPT: Final = 20
"""Releases that a key can be put on, or on which one may still be: older ones are forgotten, and left as if they were
rolled back, since nobody knows their versions any more."""
_ROLLED_BACK_KEPT: Final = 200


@dataclass(frozen=True, slots=True)
class CanaryRules:
    """When a canary is rolled back by itself, and when it is promoted by itself."""

    ended_min: int = 10
    """So many attempts must have ended, ..."""
    failed_percent: int = 20
    """... and such a part of them have failed, for it to be rolled back."""
    promote_after_runs: int = 0
    """It is promoted after so many runs that succeeded; 0: not by that."""
    promote_after_ms: int = 0
    """It is promoted after that long, if `ended_min` attempts have ended by then; 0: not by that."""


@dataclass(frozen=True, slots=True)
class Canary:
    """A release that some keys try before all others."""

    number: int
    share: int
    """How many of all keys, in hundredths of a percent: 1 to `WHOLE`."""
    since_ms: int
    rules: CanaryRules = CanaryRules()

    def takes(self, key: str) -> bool:
        """Whether a key is among its share. With a larger share it still is."""
        return int.from_bytes(key_digest(key)[8:16]) % WHOLE < self.share


@dataclass(frozen=True, slots=True)
class Recovery:
    """A release that was rolled back, whose parked keys are being resumed."""

    number: int
    since_ms: int
    """Since when keys were put on it, or through when all were looked at: none that it parked before is left."""
    at_ms: int
    """When it was rolled back."""
    next_at_ms: int = 0
    """From when the next keys may be resumed."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What a run takes of its release."""

    machine: int | None
    """Version of its state machine; None for the newest."""
    qualifier: str
    """Put behind the ARN of each of its workers: their alias in the release; empty for the newest."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """The releases of a stack as they stand."""

    version: int = 0
    last: int = NO_RELEASE
    """The highest number that was given to a release."""
    machines: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """Release -> state machine (`WORKFLOW-KIND`) -> its version there."""
    stables: tuple[int, ...] = ()
    """Releases that were everybody's, the present one last; those behind which one was rolled back are left out."""
    stable_since_ms: int = 0
    """Since when keys are put on the stable release."""
    canary: Canary | None = None
    rolled_back: tuple[int, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    worker_timeouts_s: Mapping[int, int] = field(default_factory=dict)
    """Release -> how long any of its workers may take, by the routes that it was published with."""

    @property
    def stable(self) -> int:
        """The release of all keys that aren't the canary's."""
        return self.stables[-1] if self.stables else NO_RELEASE

    def chosen_for(self, key: str) -> int:
        """Return the release that a key takes that is on none."""
        return self.canary.number if self.canary is not None and self.canary.takes(key) else self.stable

    def next_of(self, state: KeyState) -> int:
        """Return the release of a key's next run or attempt: its own, unless it has none or must leave it."""
        if state.release == NO_RELEASE:
            return self.chosen_for(state.key)
        must_leave = self.has_rolled_back(state.release) or self._has_forgotten(state.release)
        return self.stable if must_leave else state.release

    def has_rolled_back(self, number: int) -> bool:
        """Whether a release was rolled back."""
        return number in self.rolled_back

    def _has_forgotten(self, number: int) -> bool:
        """Whether so many releases came after one that its versions aren't known any more; not yet known is another."""
        return number not in self.machines and sum(later > number for later in self.machines) >= _RELEASES_KEPT

    def worker_timeout_s(self, number: int) -> int:
        """Return how long a worker of a release may take at most, in seconds; 0 where that isn't known."""
        return self.worker_timeouts_s.get(number, 0)

    def is_canary(self, number: int) -> bool:
        """Whether a release is tried by some keys now."""
        return self.canary is not None and self.canary.number == number

    def pin(self, number: int, machine: str) -> Pin:
        """Tell what a run of a state machine takes of a release: nothing, if the release doesn't have that machine."""
        if number == NO_RELEASE:
            return Pin(None, "")
        versions = self.machines.get(number)
        if versions is None:
            return Pin(None, f":{alias_of(number)}")
        return Pin(versions[machine], f":{alias_of(number)}") if machine in versions else Pin(None, "")


NOTHING_PUBLISHED: Final = Rollout()


def alias_of(number: int) -> str:
    """Name the alias that every worker has for a release; once made, it always points to the same version."""
    return f"release-{number}"


@dataclass(frozen=True, slots=True)
class Health:
    """How the attempts ended that were made on a canary."""

    succeeded: int = 0
    failed: int = 0

    @property
    def ended(self) -> int:
        """All of them."""
        return self.succeeded + self.failed


class Verdict(StrEnum):
    """What is to become of a canary."""

    WAIT = "wait"
    ROLL_BACK = "roll_back"
    PROMOTE = "promote"


def judge(canary: Canary, health: Health, now_ms: int) -> Verdict:
    """Decide what becomes of a canary by how its attempts ended."""
    rules = canary.rules
    has_seen_enough = health.ended >= rules.ended_min
    if has_seen_enough and health.failed * 100 >= rules.failed_percent * health.ended:
        return Verdict.ROLL_BACK
    if rules.promote_after_runs and health.succeeded >= rules.promote_after_runs and has_seen_enough:
        return Verdict.PROMOTE
    if rules.promote_after_ms and now_ms - canary.since_ms >= rules.promote_after_ms and has_seen_enough:
        return Verdict.PROMOTE
    return Verdict.WAIT


def begun(rollout: Rollout) -> Rollout:
    """Give the next number out, so that two who publish at once don't make aliases of one name."""
    return replace(rollout, last=rollout.last + 1)


def published(
    rollout: Rollout, number: int, machines: Mapping[str, int], now_ms: int, *, worker_timeout_s: int = 0
) -> Rollout:
    """Make a release known. The first one is stable at once: it is what runs already."""
    if not NO_RELEASE < number <= rollout.last:
        raise CannotOperate(f"release {number} was never begun: publish it by `keyturn release publish`")
    if number in rollout.machines or rollout.has_rolled_back(number):
        raise CannotOperate(f"release {number} is published already")
    known = {**rollout.machines, number: dict(machines)}
    timeouts_s = {**rollout.worker_timeouts_s, number: worker_timeout_s}
    needed = {rollout.canary.number} if rollout.canary is not None else set()
    kept = {*sorted(known)[-_RELEASES_KEPT:], *rollout.stables[-1:], *needed}
    grown = replace(
        rollout,
        machines={one: known[one] for one in sorted(kept) if one in known},
        worker_timeouts_s={one: timeouts_s[one] for one in sorted(kept) if one in timeouts_s},
        stables=tuple(one for one in rollout.stables if one in kept),
    )
    return grown if grown.stables else replace(grown, stables=(number,), stable_since_ms=now_ms)


def tried(rollout: Rollout, canary: Canary) -> Rollout:
    """Let a canary's share of the keys take its release, or change the share and rules of the one that is under way."""
    number = canary.number
    _refuse_unusable(rollout, number)
    if number == rollout.stable:
        raise CannotOperate(f"release {number} is everybody's already")
    if rollout.canary is not None and not rollout.is_canary(number):
        raise CannotOperate(f"release {rollout.canary.number} is being tried: promote it or roll it back first")
    since_ms = rollout.canary.since_ms if rollout.canary is not None else canary.since_ms
    return replace(rollout, canary=replace(canary, since_ms=since_ms))


def promoted(rollout: Rollout, number: int | None, now_ms: int) -> Rollout:
    """Make a release everybody's: the canary, or the one that is named."""
    if number is None and rollout.canary is None:
        raise CannotOperate("no release is being tried: name the one to promote")
    chosen = number if number is not None or rollout.canary is None else rollout.canary.number
    assert chosen is not None, "it is named, or there is a canary"  # noqa: S101
    _refuse_unusable(rollout, chosen)
    if chosen == rollout.stable:
        raise CannotOperate(f"release {chosen} is everybody's already")
    if rollout.canary is not None and not rollout.is_canary(chosen):
        raise CannotOperate(f"release {rollout.canary.number} is being tried: promote it or roll it back first")
    earlier = tuple(one for one in rollout.stables if one != chosen)
    since_ms = rollout.canary.since_ms if rollout.canary is not None else now_ms
    return replace(rollout, stables=(*earlier, chosen), stable_since_ms=since_ms, canary=None)


def rolled_back(rollout: Rollout, number: int | None, now_ms: int) -> Rollout:
    """Take a release back: the canary, else the stable one, to what was stable before it; or the one that is named."""
    canary = rollout.canary
    chosen = number if number is not None else (canary.number if canary is not None else rollout.stable)
    _refuse_unusable(rollout, chosen)
    if canary is not None and canary.number == chosen:
        return _taken_back(replace(rollout, canary=None), Recovery(chosen, canary.since_ms, now_ms))
    if chosen != rollout.stable:
        return _taken_back(rollout, Recovery(chosen, 0, now_ms))
    if len(rollout.stables) == 1:
        raise CannotOperate(f"there is no release before {chosen} to go back to")
    if canary is not None:
        raise CannotOperate(f"release {canary.number} is being tried: promote it or roll it back first")
    before = replace(rollout, stables=rollout.stables[:-1], stable_since_ms=now_ms)
    return _taken_back(before, Recovery(chosen, rollout.stable_since_ms, now_ms))


def _taken_back(rollout: Rollout, recovery: Recovery) -> Rollout:
    return replace(
        rollout,
        stables=tuple(one for one in rollout.stables if one != recovery.number),
        rolled_back=(*rollout.rolled_back, recovery.number)[-_ROLLED_BACK_KEPT:],
        recoveries=(*rollout.recoveries, recovery),
    )


def _refuse_unusable(rollout: Rollout, number: int) -> None:
    if rollout.has_rolled_back(number):
        raise CannotOperate(f"release {number} was rolled back: publish what is deployed now as a new one")
    if number not in rollout.machines:
        known = ", ".join(map(str, sorted(rollout.machines))) or "none yet"
        raise CannotOperate(f"there is no release {number}: published are {known}")


def stepped(rollout: Rollout, seen: Recovery, since_ms: int, next_at_ms: int) -> Rollout:
    """Take the next keys of a recovery, for whoever writes this first."""
    later = replace(seen, since_ms=since_ms, next_at_ms=next_at_ms)
    return replace(rollout, recoveries=tuple(later if one == seen else one for one in rollout.recoveries))


def recovered(rollout: Rollout, seen: Recovery) -> Rollout:
    """End a recovery: nobody can park a key on its release any more."""
    return replace(rollout, recoveries=tuple(one for one in rollout.recoveries if one != seen))
