"""Key states in the table: compare-and-set, what an item holds, and the index that is written with it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from keyturn.adapters.index import DueIndex
from keyturn.adapters.keys import KeyStore, decode_state, encode_state
from keyturn.adapters.table import Table, decode_item, encode_item
from keyturn.core import commands as ask
from keyturn.core.positions import position
from keyturn.core.route import Kind
from keyturn.core.state import START, Hold, KeyState, Parked, Phase, Queue, Replay, Run, Slice, Span, WaitsFor
from keyturn.errors import Conflict, StoreError, Throttled
from tests.adapters.aws import edited, refused, sent_twice
from tests.core import states as make
from tests.guard.limits import item_bytes

times = st.integers(0, 2**45)
counts = st.integers(0, 2**53)
positions = st.builds(position, st.integers(0, 9_999), st.integers(0, 10**56 - 1).map(str), st.integers(0, 999_999))
texts = st.text(min_size=1, max_size=40)
slices = st.builds(Slice, positions, positions, counts, texts, times)
runs = st.builds(
    Run, slices, counts, texts, st.sampled_from(Kind), times, times, texts, st.none() | texts, counts, times
)
spans = st.builds(Span, positions, positions)
replays = st.builds(
    Replay, texts, times, counts, st.lists(spans, min_size=1, max_size=3).map(tuple), positions, st.booleans()
)
states = st.builds(
    KeyState,
    key=st.text(min_size=1, max_size=256),
    version=counts,
    phase=st.sampled_from(Phase),
    cursor=positions,
    tail=positions,
    admitted=counts,
    finished=counts,
    fence=counts,
    generation=counts,
    turn=counts,
    run=st.none() | runs,
    waits_for=st.none() | st.sampled_from(WaitsFor),
    waiting_since_ms=times,
    not_before_ms=times,
    pending_since_ms=times,
    parked=st.none() | st.builds(Parked, times, texts, st.booleans()),
    hold=st.none() | st.builds(Hold, times, texts, texts),
    held_route=st.just("") | texts,
    replay=st.none() | replays,
    missing=counts,
    release=counts,
    dropped_through=st.just(START) | positions,
    dropped_generation=counts,
    last_replay=st.just("") | texts,
).filter(
    lambda state: (state.run or state.phase is not Phase.RUNNING) and (state.parked or state.phase is not Phase.PARKED)
)


@given(states)
def test_any_state_comes_back_as_it_was_written(state: KeyState) -> None:
    """Whatever its fields hold, through DynamoDB's own types."""
    assert decode_state(state.key, decode_item(encode_item(encode_state(state)))) == state


@given(states)
def test_attributes_of_a_later_format_are_passed_over(state: KeyState) -> None:
    """Functions of two formats run beside each other while a deploy is under way."""
    item = encode_state(state) | {"quota": {"by": "somebody"}, "lane": 7}
    item = {name: {**value, "later": 1} if isinstance(value, dict) else value for name, value in item.items()}
    assert decode_state(state.key, decode_item(encode_item(item))) == state


@given(states)
def test_a_state_from_before_there_were_releases_is_on_none(state: KeyState) -> None:
    """What an older version wrote: the key takes a release at its next claim, as one that never had any."""
    item = {name: value for name, value in encode_state(state).items() if name != "release"}
    assert decode_state(state.key, decode_item(encode_item(item))) == replace(state, release=0)


def test_an_ordinary_key_state_is_one_write_unit() -> None:
    """DynamoDB bills a write by the kilobyte; every event writes its key's state twice or three times."""
    for state in (make.idle(), make.bound(), make.waiting_for_slot(), make.waiting_for_time(), make.parked()):
        ordinary = replace(state, key="customer-0123456789-0123456789", version=10**6, admitted=10**6, finished=10**6)
        item = encode_item(encode_state(ordinary) | {"due_bucket": "running#7", "due_at": 1_700_000_000_000})
        assert item_bytes(item) < 1_024, state.phase


@pytest.fixture
def store(table: Table) -> KeyStore:
    return KeyStore(table, 8, 60_000)


def test_a_key_never_seen_is_idle_and_empty(store: KeyStore) -> None:
    assert store.load("k") == KeyState("k")
    assert store.load_many(["a", "b"]) == {"a": KeyState("a"), "b": KeyState("b")}


def test_a_save_over_the_version_it_was_made_from_stands(store: KeyStore) -> None:
    first = store.save(replace(make.running(), version=0))
    assert first.version == 1
    assert store.load("k") == first
    assert store.load_many(["k", "other"])["k"] == first


def test_a_save_over_an_older_version_is_a_conflict_that_hands_out_what_stands(store: KeyStore) -> None:
    """Which spares the loser a read."""
    old = replace(make.running(), version=0)
    stands = store.save(store.save(old))
    for stale in (old, replace(old, version=1, fence=9)):
        with pytest.raises(Conflict, match="moved on") as conflict:
            store.save(stale)
        assert conflict.value.standing == stands


def test_a_save_whose_answer_was_lost_is_no_conflict(table: Table) -> None:
    twice = KeyStore(edited(table, put_item=sent_twice), 8, 60_000)
    saved = twice.save(replace(make.running(), version=0))
    assert twice.save(saved).version == 2


def test_a_state_of_nothing_conflicts_when_the_item_is_gone(store: KeyStore) -> None:
    """A table that was emptied under a running function: it must not resurrect its state."""
    with pytest.raises(Conflict) as conflict:
        store.save(replace(make.running(), version=5))
    assert conflict.value.standing == KeyState("k")


RECORD = {"pk": "key#k", "sk": "attempt#1", "outcome": "failed"}


class TestSavingWithRecords:
    def test_state_and_records_are_written_together(self, table: Table, store: KeyStore) -> None:
        saved = store.save(replace(make.running(), version=0), [RECORD])
        assert store.load("k") == saved
        assert table.get("key#k", "attempt#1") == RECORD

    def test_a_state_that_lost_against_another_leaves_no_record(self, table: Table, store: KeyStore) -> None:
        """A record says what is true: not what was about to be."""
        stands = store.save(store.save(replace(make.running(), version=0)))
        with pytest.raises(Conflict, match="moved on") as conflict:
            store.save(replace(make.running(), version=1, fence=9), [RECORD])
        assert conflict.value.standing == stands
        assert table.get("key#k", "attempt#1") is None

    def test_one_whose_answer_was_lost_is_no_conflict(self, table: Table) -> None:
        twice = KeyStore(edited(table, transact_write_items=sent_twice), 8, 60_000)
        assert twice.save(replace(make.running(), version=0), [RECORD]).version == 1

    @pytest.mark.parametrize(
        "reasons",
        [
            ["TransactionConflict", "None"],
            ["None", "TransactionConflict"],
            ["ThrottlingError", "None"],
            ["None", "ProvisionedThroughputExceeded"],
        ],
        ids=" ".join,
    )
    def test_what_passes_is_throttled_and_nothing_is_written(self, table: Table, reasons: list[str]) -> None:
        """Another transaction at the same item, or too many writes: the caller tries again later."""
        busy = KeyStore(edited(table, transact_write_items=canceled(*reasons)), 8, 60_000)
        with pytest.raises(Throttled):
            busy.save(replace(make.running(), version=0), [RECORD])
        assert table.get("key#k", "attempt#1") is None

    @pytest.mark.parametrize("code", ["TransactionInProgressException", "TransactionConflictException"])
    def test_a_transaction_under_way_is_throttled(self, table: Table, code: str) -> None:
        """Our own, whose first answer was lost, or another one."""
        busy = KeyStore(edited(table, transact_write_items=refused(code), put_item=refused(code)), 8, 60_000)
        for records in ([RECORD], []):
            with pytest.raises(Throttled):
                busy.save(replace(make.running(), version=0), records)

    def test_what_does_not_pass_is_told_as_it_is(self, table: Table) -> None:
        bad = KeyStore(edited(table, transact_write_items=canceled("None", "ValidationError")), 8, 60_000)
        with pytest.raises(StoreError) as raised:
            bad.save(replace(make.running(), version=0), [RECORD])
        assert not isinstance(raised.value, Throttled | Conflict)


def canceled(*reasons: str) -> Callable[..., Any]:
    """Answer that a transaction was canceled, with a reason for each item."""

    def answer(_real: Any, **_arguments: Any) -> Any:
        response: Any = {
            "Error": {"Code": "TransactionCanceledException", "Message": "Transaction cancelled"},
            "CancellationReasons": [{"Code": reason} for reason in reasons],
        }
        raise ClientError(response, "TransactWriteItems")

    return answer


class TestIndex:
    def save(self, store: KeyStore, key: str, state: KeyState) -> KeyState:
        return store.save(replace(state, key=key, version=0))

    def test_each_key_stands_in_its_queue_and_leaves_it(self, store: KeyStore) -> None:
        index = DueIndex(store.table, 8)
        self.save(store, "waiting", make.waiting_for_slot())
        self.save(store, "retry", make.waiting_for_time())
        self.save(store, "parked", make.parked())
        self.save(store, "held", make.after(make.waiting_for_slot(), ask.Hold(ask.Operator("me", "to look"))))
        running = self.save(store, "running", make.bound())
        self.save(store, "idle", make.idle())
        found = {queue: [entry.key for entry in index.heads(queue)] for queue in Queue}
        assert found == {queue: [queue.value] for queue in Queue}
        store.save(replace(running, phase=Phase.IDLE, run=None))
        assert index.count(Queue.RUNNING) == 0

    def test_keys_spread_over_the_buckets_and_all_are_found(self, store: KeyStore) -> None:
        index = DueIndex(store.table, 8)
        for number in range(40):
            self.save(store, f"k{number}", make.waiting_for_slot())
        assert index.count(Queue.WAITING) == 40
        assert {entry.key for entry in index.some_waiting(40)} == {f"k{number}" for number in range(40)}
        assert len({entry.key for entry in index.heads(Queue.WAITING)}) > 4

    def test_overdue_is_most_overdue_first_and_nothing_that_is_not_due(self, store: KeyStore) -> None:
        index = DueIndex(store.table, 8)
        for number in range(6):
            state = replace(make.waiting_for_time(), not_before_ms=1_000 + number)
            self.save(store, f"k{number}", state)
        found = index.overdue(Queue.RETRY, 1_003, 10)
        assert [entry.at_ms for entry in found] == [1_000, 1_001, 1_002, 1_003]

    def test_a_deadline_is_rounded_up_never_down(self, store: KeyStore) -> None:
        index = DueIndex(store.table, 8)
        state = self.save(store, "k", make.bound())
        (entry,) = index.heads(Queue.RUNNING)
        assert state.run is not None
        assert state.run.deadline_ms <= entry.at_ms < state.run.deadline_ms + 60_000
        assert entry.at_ms % 60_000 == 0

    def test_a_busy_keys_next_run_does_not_move_its_entry(self, store: KeyStore) -> None:
        """DynamoDB writes an index entry only when it changes."""
        state = make.bound(2)
        after = make.after(state, make.finish(next=make.following(2)))
        first, second = (store._encode(one) for one in (state, after))
        assert (first["due_bucket"], first["due_at"]) == (second["due_bucket"], second["due_at"])


def test_of_two_workers_that_bind_the_same_execution_the_second_learns_that_it_is_bound(table: Table) -> None:
    """Parallel branches begin at once. They write the same item, and only one wrote it: nothing was sent twice."""
    store = KeyStore(table, 8, 60_000)
    claimed = store.save(replace(make.running(), version=0))
    assert claimed.run is not None
    bound = replace(claimed, run=replace(claimed.run, execution_id="x"))
    saved = store.save(bound)
    with pytest.raises(Conflict) as raised:
        store.save(bound)
    assert raised.value.standing == saved
    with pytest.raises(Conflict):
        store.save(replace(claimed, run=replace(claimed.run, execution_id="twin")))
    assert boto3.client("dynamodb").describe_table(TableName=table.name)["Table"]["ItemCount"] == 1
