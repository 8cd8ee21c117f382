"""The sweeper: what is unfinished outlives any time to live, and what is finished doesn't.

Days pass by the world's clock. Each day the sweeper comes, then DynamoDB and S3 remove what has expired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from keyturn.adapters.open_items import Kind
from keyturn.core import commands as ask
from keyturn.core.route import Routes
from keyturn.core.state import Phase
from keyturn.shell.hold_routes import hold_route
from keyturn.shell.operate import hold, resume
from keyturn.shell.platform import Platform
from keyturn.shell.sweep import sweep
from tests.shell.faults import throttled
from tests.shell.test_open_items import ask as request
from tests.shell.test_open_items import event, heal, places
from tests.shell.world import World, routes

DAY_MS = 86_400_000
PAYLOAD_DAYS = 31
"""The shortest that the template allows, as are the world's 30 days for items."""


@dataclass
class Bucket:
    """S3, whose lifecycle counts by the world's clock from when an object was last written or copied."""

    inner: Any
    world: World
    written_at_ms: dict[str, int] = field(default_factory=dict)

    def put_object(self, **call: Any) -> Any:
        """Write an object."""
        self.written_at_ms[call["Key"]] = self.world.now_ms
        return self.inner.put_object(**call)

    def copy_object(self, **call: Any) -> Any:
        """Copy an object, onto itself."""
        assert call["CopySource"] == {"Bucket": call["Bucket"], "Key": call["Key"]}
        answer = self.inner.copy_object(**call)
        self.written_at_ms[call["Key"]] = self.world.now_ms
        return answer

    def get_object(self, **call: Any) -> Any:
        """Read an object."""
        return self.inner.get_object(**call)

    def expire(self) -> None:
        """Remove what is too old."""
        for name, at_ms in list(self.written_at_ms.items()):
            if self.world.now_ms - at_ms > PAYLOAD_DAYS * DAY_MS:
                self.inner.delete_object(Bucket=self.world.settings.payload_bucket, Key=name)
                del self.written_at_ms[name]


class Years(World):
    """A world in which things expire."""

    def __init__(self, the_routes: Routes | None = None) -> None:
        """Make one with a single index bucket: a year has many days."""
        super().__init__(the_routes or few_routes(), index_buckets=1)
        faulty = self._clients["s3"]
        self.bucket = Bucket(faulty._inner, self)
        faulty._inner = self.bucket

    def day(self, *, sweeps: bool = True) -> None:
        """Let a day pass."""
        self.now_ms += DAY_MS
        if sweeps:
            assert sweep(self.platform, lambda: True)["failed"] == 0
        self.expire()

    def expire(self) -> None:
        """Do as DynamoDB's time to live, at once, and as S3's lifecycle."""
        for item in self.items():
            if item.get("expires_at", self.now_ms) < self.now_ms // 1000:
                self.dynamodb.delete_item(
                    TableName=self.settings.state_table, Key={"pk": {"S": item["pk"]}, "sk": {"S": item["sk"]}}
                )
        self.bucket.expire()

    def names(self, key: str, *prefixes: str) -> list[str]:
        """The sort keys of a key's items."""
        return [item["sk"] for item in self.items(f"key#{key}") if item["sk"].startswith(prefixes)]


def few_routes() -> Routes:
    """Two of the world's routes: each has an index family of its own that a sweep reads."""
    return replace(routes(), routes=tuple(one for one in routes().routes if one.name in {"standard", "skip"}))


PARTS = ("event#", "result#", "attempt#")


def parked(world: Years) -> list[str]:
    """Park a key at a large event whose first step is done, with another event behind; return its items."""
    world.put("k", inventory="", payment="fail", text="x" * 200_000)
    world.put("k")
    world.settle()
    assert world.state("k").phase is Phase.PARKED
    return world.names("k", *PARTS)


def test_a_key_that_was_parked_for_a_year_goes_on_where_it_failed() -> None:
    """Its events, the large one's payload, the result of its finished step and its attempts are all there.

    Though the sweeper comes each fifth day only: a daily one does it more easily, and takes longer to test.
    """
    world = Years()
    before = parked(world)
    assert {name.partition("#")[0] for name in before} == {"event", "result", "attempt"}
    for day in range(365):
        world.day(sweeps=day % 5 == 0)
    assert world.names("k", *PARTS) == before
    done = heal(world)
    resume(world.platform, "k", ask.Operator("sam", "mended"), is_fresh=False)
    world.settle()
    assert sorted(done) == [("e-1", "payment"), ("e-2", "inventory"), ("e-2", "payment")]
    assert world.state("k").phase is Phase.IDLE


def test_what_was_done_of_a_run_whose_route_is_gone_outlives_it_too() -> None:
    """Its key has no run any more, and goes on with the next slice once a deploy brings the route back."""
    world = Years()
    before = parked(world)
    gone = few_routes()
    world.redeploy(replace(gone, routes=tuple(one for one in gone.routes if one.name != "standard")))
    resume(world.platform, "k", ask.Operator("sam", "mended"), is_fresh=False)
    world.settle()
    assert (world.state("k").phase, world.state("k").run) == (Phase.PARKED, None)
    for day in range(3 * PAYLOAD_DAYS):
        world.day(sweeps=day % 5 == 0)
    assert world.names("k", *PARTS) == before
    world.redeploy(few_routes())
    done = heal(world)
    resume(world.platform, "k", ask.Operator("sam", "it is back"), is_fresh=False)
    world.settle()
    assert sorted(done) == [("e-1", "payment"), ("e-2", "inventory"), ("e-2", "payment")]


def test_without_the_sweeper_it_would_have_lost_them() -> None:
    """That the test above can fail."""
    world = Years()
    parked(world)
    for _ in range(PAYLOAD_DAYS + 1):
        world.day(sweeps=False)
    assert (world.names("k", *PARTS), world.bucket.written_at_ms) == ([], {})


@pytest.mark.parametrize("hours", [1, 23])
@pytest.mark.parametrize("first", [13, 14])
def test_fifteen_missed_sweeps_in_a_row_lose_nothing(first: int, hours: int) -> None:
    """Even at the shortest life, and whichever fifteen it are."""
    world = Years()
    before = parked(world)
    world.now_ms += hours * 3_600_000
    for day in range(first + 17):
        world.day(sweeps=not first <= day < first + 15)
    assert world.names("k", *PARTS) == before
    assert world.bucket.written_at_ms


def test_a_life_that_was_made_shorter_costs_no_payload() -> None:
    """Items from before would outlive their objects, whose lifecycle counts by the new setting at once."""
    world = Years()
    longer = replace(world.platform.log, retention_s=400 * DAY_MS // 1000)
    world.platform = replace(world.platform, log=longer)
    parked(world)
    for _ in range(PAYLOAD_DAYS + 9):
        world.day()
    assert world.bucket.written_at_ms


def test_a_finished_event_is_not_renewed() -> None:
    """It goes when its time has come, and so do its step results; the key state stays."""
    world = Years()
    world.put("k")
    world.settle()
    for _ in range(31):
        world.day()
    assert [item["sk"] for item in world.items("key#k")] == ["state"]


def test_of_a_key_that_is_behind_only_what_is_unfinished_is_renewed() -> None:
    world = Years()
    world.put("k")
    world.put("k", payment="permanent")
    world.settle()
    finished, failed = world.names("k", "event#")
    for _ in range(40):
        world.day()
    assert world.names("k", "event#") == [failed]
    assert not any(finished.removeprefix("event#") in name for name in world.names("k", "result#"))


def test_what_waits_for_a_held_route_or_key_is_renewed() -> None:
    """Months of a hold are no reason to lose anything."""
    world = Years()
    world.put("own")
    world.settle()
    hold(world.platform, "own", ask.Operator("sam", "wait"))
    hold_route(world.platform, "skip", ask.Operator("sam", "wait"))
    for key, kind in (("own", "standard"), ("route", "skip")):
        world.now_ms += 1_500
        world.put(key, kind)
        world.deliver()
    assert world.state("route").held_route == "skip"
    for _ in range(70):
        world.day()
    assert (len(world.names("own", "event#")), len(world.names("route", "event#"))) == (1, 1)


def test_open_items_are_kept_with_all_that_they_name() -> None:
    """A large quarantined record; a dead letter, its event, its finished step."""
    world = Years()
    world.put_raw("q", event(1, text="x" * 300_000))
    world.put("d", "skip", payment="permanent")
    world.settle()
    before = world.names("d", *PARTS)
    assert {name.partition("#")[0] for name in before} == {"event", "result", "attempt"}
    for _ in range(100):
        world.day()
    assert (len(places(world)), len(places(world, Kind.DEAD_LETTER))) == (1, 1)
    assert world.names("d", *PARTS) == before
    assert len(world.bucket.written_at_ms) == 1
    done = heal(world)
    request(world, "deadletter-redrive", places(world, Kind.DEAD_LETTER))
    world.settle()
    assert done == [("e-2", "payment")]


def test_what_was_discarded_goes_when_its_time_has_come() -> None:
    world = Years()
    world.put_raw("q", event(1))
    world.settle()
    (place,) = places(world)
    world.day()
    request(world, "discard", [place])
    for _ in range(29):
        world.day()
    assert world.platform.open_items.table.get(*place) is not None
    for _ in range(2):
        world.day()
    assert world.platform.open_items.table.get(*place) is None


def test_a_replay_that_is_held_keeps_the_finished_events_it_is_about() -> None:
    """And their step results, by which it knows what it need not do again."""
    world = Years()
    world.put("k", "skip", payment="permanent")
    world.put("k", "skip")
    world.settle()
    first = places(world, Kind.DEAD_LETTER)
    hold(world.platform, "k", ask.Operator("sam", "wait"))
    request(world, "deadletter-redrive", first)
    about, other = world.names("k", "event#")
    for _ in range(60):
        world.day()
    assert world.names("k", "event#") == [about]
    assert other not in world.names("k", "event#")
    assert [name for name in world.names("k", "result#") if about.removeprefix("event#") in name]


class TestFailures:
    def due(self) -> Years:
        """A parked key whose items are due."""
        world = Years()
        parked(world)
        world.now_ms += 20 * DAY_MS
        return world

    def test_what_could_not_be_renewed_is_counted_and_tried_again(self) -> None:
        """An item isn't renewed without its payload object: it would hide that from the next sweeps."""
        world = self.due()
        copy = world.bucket.copy_object
        world.bucket.copy_object = _refusing  # type: ignore[method-assign]
        done = sweep(world.platform, lambda: True)
        assert (done["failed"], done["renewed"]) == (1, len(world.names("k", *PARTS)) - 1)
        world.bucket.copy_object = copy  # type: ignore[method-assign]
        assert sweep(world.platform, lambda: True) == {"looked_at": 1, "renewed": 1, "failed": 0}
        assert sweep(world.platform, lambda: True) == {"looked_at": 1, "renewed": 0, "failed": 0}

    def test_a_pass_that_ran_out_of_time_is_not_noted_as_one(self) -> None:
        world = self.due()
        assert sweep(world.platform, lambda: False)["failed"] == 1
        assert world.platform.passes.last("sweeper") is None
        sweep(world.platform, lambda: True)
        assert world.platform.passes.last("sweeper") is not None

    def test_one_failure_holds_nothing_else_up(self) -> None:
        world = self.due()
        for number in range(5):
            world.put(f"k{number}", payment="permanent")
        world.settle()
        world.now_ms += 20 * DAY_MS
        table = world.platform.renewal.table
        calls = iter(range(100))

        def update_item(**call: Any) -> Any:
            if next(calls) == 3:
                raise throttled("UpdateItem")
            return world.dynamodb.update_item(**call)

        platform = _with_updates(world.platform, table, update_item)
        done = sweep(platform, lambda: True)
        assert done["failed"] == 1
        assert sweep(world.platform, lambda: True)["renewed"] == 1


def _refusing(**_: Any) -> Any:
    raise throttled("CopyObject", "SlowDown")


def _with_updates(platform: Platform, table: Any, update_item: Callable[..., Any]) -> Platform:
    class Client:
        def __getattr__(self, name: str) -> Any:
            return update_item if name == "update_item" else getattr(table.client, name)

    return replace(platform, renewal=replace(platform.renewal, table=replace(table, client=Client())))
