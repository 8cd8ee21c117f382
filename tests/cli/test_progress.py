"""Progress is told from key states, and the end from nothing being left that could change."""

from __future__ import annotations

import pytest
from keyturn_cli.progress import Standing, Watch
from keyturn_cli.putter import Put
from keyturn_cli.records import Record

from keyturn.core.state import KeyState, Phase
from tests.cli.fakes import StateTable, state


def _watch(table: StateTable, *puts: tuple[str, int]) -> Watch:
    watch = Watch(table, since_ms=0)  # type: ignore[arg-type]  # as much of a store as it reads
    watch.add(Put(Record(key, b""), str(sequence), "shard", 0) for key, sequence in puts)
    return watch


def _look(table: StateTable, *puts: tuple[str, int]) -> Standing:
    return _watch(table, *puts).look()


def test_records_on_their_way_are_not_over() -> None:
    """A key that the dispatcher hasn't seen yet is idle, and still not over."""
    standing = _look(StateTable(), ("a", 1))
    assert (standing.done, standing.left, standing.is_over) == (0, 1, False)


def test_a_key_is_over_when_its_cursor_is_past_everything() -> None:
    """Then it isn't loaded again."""
    table = StateTable({"a": state("a", cursor=2, tail=2), "b": state("b", phase=Phase.RUNNING, cursor=3, tail=4)})
    watch = _watch(table, ("a", 1), ("a", 2), ("b", 3), ("b", 4))
    standing = watch.look()
    assert (standing.done, standing.running_keys, standing.open_keys) == (3, 1, ("b",))
    table.loaded.clear()
    assert watch.look() == standing
    assert table.loaded == ["b"]


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.WAITING])
def test_a_busy_key_is_not_over(phase: Phase) -> None:
    """Even if everything that was put is behind its cursor: somebody else's event may be at work."""
    assert not _look(StateTable({"a": state("a", phase=phase, cursor=1, tail=2)}), ("a", 1)).is_over


def test_a_parked_key_is_over_once_everything_waits_behind_it() -> None:
    """Its records count as parked, not as done."""
    parked = state("a", phase=Phase.PARKED, cursor=1, tail=3)
    standing = _look(StateTable({"a": parked}), ("a", 1), ("a", 2), ("a", 3))
    assert (standing.done, standing.parked, standing.parked_keys, standing.is_over) == (1, 2, 1, True)
    assert not _look(StateTable({"a": parked}), ("a", 4)).is_over


def test_a_key_that_still_gives_up_what_queues_behind_is_not_over() -> None:
    """Policy fail-behind: parked, and its later events become dead letters one by one."""
    diverting = state("a", phase=Phase.PARKED, cursor=1, tail=3, diverts=True)
    assert not _look(StateTable({"a": diverting}), ("a", 3)).is_over


@pytest.mark.parametrize("where", ["duplicate", "rejected", "given_up"])
def test_a_record_that_was_never_admitted_is_over_when_somebody_has_it(where: str) -> None:
    """Duplicates, quarantine and the failure bucket all count; duplicates are looked up when a key is quiet."""
    table = StateTable({"a": state("a", cursor=1, tail=1)})
    watch = _watch(table, ("a", 1), ("a", 2))
    assert not watch.look().is_over
    assert not watch.look().is_over
    getattr(table, where).add(table.place("a", "2"))
    standing = watch.look()
    assert (standing.done, standing.is_over) == (2, True)


def test_more_records_open_a_key_again() -> None:
    """A key that was over is looked at again when something is put to it."""
    table = StateTable({"a": state("a", cursor=1, tail=1)})
    watch = _watch(table, ("a", 1))
    assert watch.look().is_over
    watch.add([Put(Record("a", b""), "2", "shard", 0)])
    assert not watch.look().is_over


def test_a_key_never_seen_is_idle() -> None:
    """What the store answers for it."""
    assert StateTable().states(["x"]) == {"x": KeyState("x")}
