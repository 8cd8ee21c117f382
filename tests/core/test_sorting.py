"""Which records of a batch are new, sent again, redelivered or late."""

from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.event import Admissible
from keyturn.core.positions import Position, position
from keyturn.core.sorting import Sorted, sort_events, split_old
from keyturn.core.state import KeyState


def at(number: int) -> Position:
    return position(1, str(number))


def event(number: int, identity: str | None = None) -> Admissible:
    return Admissible("shard", "k", at(number), 0, b"{}", "t", "r", identity or f"id-{number}", "flow")


def sort(tail: int, events: list[Admissible], known: dict[str, int] | None = None) -> Sorted:
    first_positions = {("k", identity): at(number) for identity, number in (known or {}).items()}
    return sort_events(KeyState("k", tail=at(tail)), events, first_positions)


def numbers(events: tuple[Admissible, ...]) -> list[int]:
    return [int(found.position.split("-")[1]) for found in events]


def test_what_is_behind_the_tail_is_new() -> None:
    """In stream order."""
    found = sort(4, [event(5), event(6)])
    assert numbers(found.new) == [5, 6]
    assert found.tail == at(6)


def test_a_redelivered_event_is_new_until_it_is_admitted() -> None:
    """Its dispatcher died behind the log: it is known at its own place, which makes it no duplicate."""
    assert numbers(sort(4, [event(5)], known={"id-5": 5}).new) == [5]


def test_an_event_sent_again_is_a_duplicate_of_the_first() -> None:
    """In the same batch, or of one before."""
    found = sort(4, [event(5), event(6, "id-5"), event(7, "id-2")], known={"id-2": 2})
    assert numbers(found.new) == [5]
    assert [(duplicate.event.position, duplicate.first) for duplicate in found.duplicates] == [
        (at(6), at(5)),
        (at(7), at(2)),
    ]


def test_a_duplicate_lets_its_first_be_admitted() -> None:
    """The first may stand in the log, known and not admitted, since its dispatcher died in between."""
    assert sort(4, [event(9, "id-5")], known={"id-5": 5}).tail == at(5)


def test_at_or_before_the_tail_the_log_tells_redelivered_from_late() -> None:
    """What the log has was admitted; what it hasn't was set aside by the event source and came back."""
    found = sort(6, [event(5), event(6)], known={"id-6": 6})
    assert numbers(found.old) == [5, 6]
    redelivered, late = split_old(found.old, {("k", at(6))})
    assert [each.position for each in redelivered] == [at(6)]
    assert [each.position for each in late] == [at(5)]
    assert found.tail is None


def test_what_was_sent_again_runs_in_the_place_of_a_late_one() -> None:
    """The late one goes to quarantine; were the second a duplicate of it, neither would ever run."""
    found = sort(6, [event(5, "same"), event(8, "same")])
    assert numbers(found.old) == [5]
    assert numbers(found.new) == [8]


@given(
    st.integers(0, 12),
    st.lists(st.tuples(st.integers(1, 12), st.sampled_from("abcd")), unique_by=lambda pair: pair[0]).map(sorted),
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 12)),
)
def test_every_event_is_exactly_one_thing(tail: int, pairs: list[tuple[int, str]], known: dict[str, int]) -> None:
    """Nothing is dropped or doubled, new ones rise and have identities of their own, and sorting repeats itself."""
    events = [event(number, identity) for number, identity in pairs]
    found = sort(tail, events, known)
    parts = [*found.new, *found.old, *(duplicate.event for duplicate in found.duplicates)]
    assert sorted(each.position for each in parts) == [each.position for each in events]
    assert all(each.position > at(tail) for each in found.new)
    assert len({each.identity for each in found.new}) == len(found.new)
    assert found == sort(tail, events, known)
