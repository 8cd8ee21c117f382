"""The other stores: log, identities, outcomes, quarantine, payloads, slots, executions, wake-ups."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import boto3
import pytest

from keyturn.adapters.capacity import Capacity, Load, somebody_waits_ms
from keyturn.adapters.duplicates import DuplicateIndex, Identified
from keyturn.adapters.executions import Executions
from keyturn.adapters.index import DueIndex
from keyturn.adapters.keys import KeyStore
from keyturn.adapters.log import EventLog
from keyturn.adapters.outcomes import OutcomeStore
from keyturn.adapters.payloads import PayloadStore
from keyturn.adapters.quarantine import Quarantine
from keyturn.adapters.table import Table
from keyturn.adapters.wake import WakeQueue
from keyturn.core.actions import RecordAttempt
from keyturn.core.event import Reason, Rejection
from keyturn.core.log_entry import LogEntry, PayloadReference
from keyturn.core.route import Kind
from keyturn.core.state import START, Queue, Run
from keyturn.errors import CannotStart, Conflict, PayloadError, StoreError, Throttled
from tests.adapters.aws import Edited, edited, refused, sent_twice, silent
from tests.core import states as make
from tests.core.states import at

NOW_MS = 1_700_000_000_000


def entry(number: int, content: bytes | PayloadReference = b"{}") -> LogEntry:
    return LogEntry(at(number), "t", "f", NOW_MS, content)


class TestLog:
    def test_reads_slices_by_position(self, table: Table) -> None:
        log = EventLog(table, 100)
        log.write((("k", entry(number)) for number in range(1, 31)), NOW_MS)
        log.write([("k2", entry(99))], NOW_MS)
        assert [one.position for one in log.read_behind("k", START, at(30), 3)] == [at(1), at(2), at(3)]
        assert [one.position for one in log.read_behind("k", at(2), at(4), 10)] == [at(3), at(4)]
        assert [one.position for one in log.read("k", at(29), at(30))] == [at(29), at(30)]

    def test_behind_the_cursor_means_not_the_cursor_itself(self, table: Table) -> None:
        log = EventLog(table, 100)
        log.write([("k", entry(1))], NOW_MS)
        assert not log.read_behind("k", at(1), at(5), 10)

    def test_a_second_write_is_harmless(self, table: Table) -> None:
        log = EventLog(table, 100)
        for _ in range(2):
            log.write([("k", entry(1, b"\xc3\xa9"))], NOW_MS)
        assert log.read("k", at(1), at(1)) == [entry(1, b"\xc3\xa9")]
        assert log.present([("k", at(1)), ("k", at(2)), ("other", at(1))]) == {("k", at(1))}

    def test_a_reference_comes_back(self, table: Table) -> None:
        log = EventLog(table, 100)
        log.write([("k", entry(1, PayloadReference("a/b", 5, "0f")))], NOW_MS)
        assert log.read("k", at(1), at(1))[0].content == PayloadReference("a/b", 5, "0f")

    def test_expiry_is_stamped(self, table: Table) -> None:
        EventLog(table, 100).write([("k", entry(1))], NOW_MS)
        found = table.get("key#k", f"event#{at(1)}")
        assert found is not None
        assert found["expires_at"] == NOW_MS // 1_000 + 100

    def test_the_time_of_admission_stands_in_the_log(self, table: Table) -> None:
        """What was written without it by an earlier version still reads."""
        log = EventLog(table, 100)
        log.write([("k", entry(1))], NOW_MS + 7)
        found = dict(table.get("key#k", f"event#{at(1)}") or {})
        assert found.pop("admitted_at_ms") == NOW_MS + 7
        table.put_many([found])
        assert log.read("k", at(1), at(1)) == [entry(1)]


class TestDuplicates:
    def test_an_identity_is_known_by_key_and_hash(self, table: Table) -> None:
        index = DuplicateIndex(table, 100)
        index.remember([Identified("k", "h", at(1))], NOW_MS)
        asked = [Identified("k", "h", at(2)), Identified("k", "other", at(3)), Identified("k2", "h", at(4))]
        assert index.first_positions(asked) == {("k", "h"): at(1)}

    def test_a_duplicate_is_counted_once(self, table: Table) -> None:
        index = DuplicateIndex(table, 100)
        assert index.record(Identified("k", "h", at(2)), at(1), NOW_MS)
        assert not index.record(Identified("k", "h", at(2)), at(1), NOW_MS + 5)


class TestOutcomes:
    def test_an_attempt_is_recorded_with_the_state_that_ends_it_or_not_at_all(self, table: Table) -> None:
        """A compare-and-set that lost leaves no record behind."""
        keys, outcomes = KeyStore(table, 8, 60_000), OutcomeStore(table, 100, 8)
        state = replace(make.bound(), version=0)
        assert state.run is not None
        record = outcomes.attempt("k", RecordAttempt(state.run, 1, "failed", "first", NOW_MS))
        saved = keys.save(state, [record])
        later = outcomes.attempt("k", RecordAttempt(state.run, 2, "failed", "second", NOW_MS + 9))
        with pytest.raises(Conflict) as conflict:
            keys.save(state, [later])
        assert conflict.value.standing == saved
        found = table.get("key#k", f"attempt#{at(1)}#{1:012d}")
        assert found is not None
        assert (found["reason"], found["execution_id"]) == ("first", "x")
        assert table.get("key#k", f"attempt#{at(1)}#{2:012d}") is None

    def test_a_transaction_whose_answer_was_lost_is_no_conflict(self, table: Table) -> None:
        keys = KeyStore(edited(table, transact_write_items=sent_twice), 8, 60_000)
        state = replace(make.bound(), version=0)
        assert state.run is not None
        record = OutcomeStore(table, 100, 8).attempt("k", RecordAttempt(state.run, 1, "failed", "first", NOW_MS))
        assert keys.save(state, [record]).version == 1

    def test_a_dead_letter_has_one_place_whenever_it_is_written(self, table: Table) -> None:
        outcomes = OutcomeStore(table, 100, 8)
        for days in (0, 3):
            outcomes.record_dead_letter("k", entry(1), "r", "because", NOW_MS + days * 86_400_000, since_ms=0)
        found = list(table.query({"KeyConditionExpression": "pk = :pk"}, {"pk": "deadletter#2023-11-14"}))
        assert [(one["key"], one["position"], one["reason"]) for one in found] == [("k", at(1), "because")]


class TestPayloads:
    @pytest.fixture
    def store(self, aws: None) -> PayloadStore:  # noqa: ARG002 - moto must be on
        boto3.client("s3").create_bucket(Bucket="payloads")
        return PayloadStore(lambda service: boto3.client("s3") if service == "s3" else None, "payloads")

    def test_what_is_put_comes_back(self, store: PayloadStore) -> None:
        content = b"\x00\xff" * 500_000
        reference = store.put("k", at(1), content)
        assert reference == store.put("k", at(1), content)
        assert store.get(reference) == content

    def test_the_name_begins_with_a_hash_of_the_key(self, store: PayloadStore) -> None:
        prefixes = {store.put(f"k{number}", at(1), b"x").object[:4] for number in range(20)}
        assert len(prefixes) > 15

    def test_content_that_changed_is_refused(self, store: PayloadStore) -> None:
        reference = store.put("k", at(1), b"true")
        boto3.client("s3").put_object(Bucket="payloads", Key=reference.object, Body=b"false")
        with pytest.raises(PayloadError, match="SHA-256 differs"):
            store.get(reference)

    def test_an_object_that_is_gone_is_told(self, store: PayloadStore) -> None:
        with pytest.raises(StoreError, match="fetching payload a/b: NoSuchKey"):
            store.get(PayloadReference("a/b", 1, "0"))

    def test_one_that_is_gone_is_not_taken_for_a_missing_right(self, store: PayloadStore) -> None:
        """Who may not list the bucket gets the same answer for both."""
        gone = {"get_object": refused("AccessDenied", 403), "copy_object": refused("AccessDenied", 403)}
        blind = PayloadStore(lambda service: Edited(store.client_of(service), **gone), "payloads")
        with pytest.raises(StoreError, match=r"fetching payload a/b: AccessDenied: .*of an object that is gone, too"):
            blind.get(PayloadReference("a/b", 1, "0"))
        with pytest.raises(StoreError, match=r"renewing payload a/b: AccessDenied: .*of an object that is gone, too"):
            blind.renew("a/b", NOW_MS)

    def test_a_large_rejected_record_is_kept_in_the_bucket(self, store: PayloadStore, table: Table) -> None:
        quarantine = Quarantine(table, store, 100, 8)
        raw = b"\xff" * 300_000
        rejection = Rejection("shard", at(1), "k", Reason.NOT_UTF8, "byte 0", raw, NOW_MS)
        assert quarantine.put(rejection, NOW_MS)
        assert not quarantine.put(rejection, NOW_MS + 1)
        found = table.get("quarantine#2023-11-14", f"shard#{at(1)}")
        assert found is not None
        assert store.get(PayloadReference.from_item(found["payload"])) == raw

    @pytest.mark.parametrize("raw", [b"", b"\x00", b"x" * 200_000])
    def test_a_small_one_is_kept_in_the_table(self, store: PayloadStore, table: Table, raw: bytes) -> None:
        Quarantine(table, store, 100, 8).put(Rejection("shard", at(1), "k", Reason.EMPTY, "", raw, NOW_MS), NOW_MS)
        found = table.get("quarantine#2023-11-14", f"shard#{at(1)}")
        assert found is not None
        assert found["raw"] == raw


class TestCapacity:
    def fill(self, table: Table, running: int = 0, waiting: int = 0) -> None:
        keys = KeyStore(table, 2, 1_000)
        for number in range(running):
            keys.save(replace(make.bound(), key=f"r{number}", version=0))
        for number in range(waiting):
            keys.save(replace(make.waiting_for_slot(), key=f"w{number}", version=0))

    def capacity(self, table: Table, most: int = 3) -> Capacity:
        return Capacity(table, DueIndex(table, 2), most)

    def test_slots_are_taken_until_none_is_left(self, table: Table) -> None:
        capacity = self.capacity(table)
        assert [capacity.take(2, NOW_MS), capacity.take(2, NOW_MS), capacity.take(2, NOW_MS)] == [2, 1, 0]
        assert capacity.load(NOW_MS) == Load(running=3, waiting=3)

    def test_wanting_nothing_asks_nothing(self, table: Table) -> None:
        silent_table = edited(table, get_item=silent, update_item=silent)
        assert self.capacity(silent_table).take(0, NOW_MS) == 0

    def test_the_index_is_counted_at_most_once_a_second(self, table: Table) -> None:
        """A count bills every entry."""
        watched = edited(table)
        capacity = self.capacity(watched)
        for after_ms in range(0, 1_000, 100):
            capacity.load(NOW_MS + after_ms)
        assert watched.client.calls.count("query") == 4, "two queues of two buckets"
        capacity.load(NOW_MS + 1_000)
        assert watched.client.calls.count("query") == 8

    def test_a_long_queue_is_counted_no_further_than_slots_can_be_dealt_out(self, table: Table) -> None:
        """A hundred thousand keys that wait are 6 MB of entries each second, read by a run that ends."""
        self.fill(table, running=2, waiting=40)
        read: list[int] = []

        def noting(real: Callable[..., Any], **arguments: Any) -> Any:
            answer = real(**arguments)
            read.append(answer["ScannedCount"])
            return answer

        assert self.capacity(edited(table, query=noting)).load(NOW_MS) == Load(running=2, waiting=4)
        assert sum(read) == 2 + 4

    @pytest.mark.parametrize("waiting", range(6))
    def test_a_queue_that_slots_could_empty_is_counted_to_its_end(self, table: Table, waiting: int) -> None:
        """Over all buckets, whichever comes first."""
        self.fill(table, waiting=waiting)
        assert self.capacity(table, most=5).load(NOW_MS) == Load(running=0, waiting=waiting)

    def test_of_many_that_would_count_one_does(self, table: Table) -> None:
        """All of them read the old figure before any counts."""
        self.capacity(table).load(NOW_MS)
        old = table.get("capacity", "runs")
        watched = edited(table)
        for _ in range(5):
            stale = edited(watched, get_item=lambda real, **arguments: stale_answer(real, arguments))
            self.capacity(stale).load(NOW_MS + 2_000)
        assert old is not None
        assert watched.client.calls.count("query") == 4

    def test_a_wrong_figure_lasts_until_the_next_count(self, table: Table) -> None:
        """Whoever took slots and died leaks nothing."""
        capacity = self.capacity(table)
        assert capacity.take(3, NOW_MS) == 3
        assert capacity.take(1, NOW_MS + 499) == 0
        assert capacity.take(1, NOW_MS + 1_000) == 1

    def test_slots_of_runs_that_ended_since_the_last_count_are_found(self, table: Table) -> None:
        """While nobody waits, a run that ends leaves the stored figures alone: a new key would wait two seconds."""
        self.fill(table, running=3)
        assert self.capacity(table).load(NOW_MS) == Load(running=3, waiting=0)
        for number in range(2):
            ended = KeyStore(table, 2, 1_000).load(f"r{number}")
            KeyStore(table, 2, 1_000).save(replace(make.idle(), key=ended.key, version=ended.version))
        assert self.capacity(table).take(5, NOW_MS + 300) == 2

    def test_slots_are_not_looked_for_while_keys_wait(self, table: Table) -> None:
        """A run that ends hands its slot on to one of them; many dispatchers at work would count all the time."""
        self.fill(table, running=3, waiting=1)
        self.capacity(table).load(NOW_MS)
        watched = edited(table)
        assert self.capacity(watched).take(1, NOW_MS + 900) == 0
        assert "query" not in watched.client.calls

    def test_slots_just_taken_are_not_given_twice(self, table: Table) -> None:
        """Their runs come into the index a little later: a count before misses them."""
        assert self.capacity(table).take(3, NOW_MS) == 3
        assert self.capacity(table).take(3, NOW_MS + 499) == 0

    @pytest.mark.parametrize("ahead_ms", [1_000, 3_600_000])
    def test_a_count_by_a_clock_that_was_ahead_lasts_no_longer(self, table: Table, ahead_ms: int) -> None:
        """It would stand until every clock has come to that time."""
        capacity = self.capacity(table)
        assert capacity.take(3, NOW_MS + ahead_ms) == 3
        assert capacity.take(3, NOW_MS) == 3

    def test_clocks_that_differ_by_little_share_a_count(self, table: Table) -> None:
        capacity = self.capacity(table)
        assert capacity.take(3, NOW_MS + 50) == 3
        assert capacity.take(1, NOW_MS) == 0

    def counted(self, table: Table, running: int = 0, waiting: int = 0) -> Capacity:
        """Return the slots as counted just before a run ends."""
        self.fill(table, running, waiting)
        capacity = self.capacity(table)
        capacity.load(NOW_MS)
        return capacity

    def test_a_slot_that_was_given_up_goes_to_one_that_waits(self, table: Table) -> None:
        assert self.counted(table, running=3, waiting=2).hand_on(NOW_MS) == 1

    def test_who_counts_at_its_end_hands_on_its_own_slot_and_no_other(self, table: Table) -> None:
        """It isn't among those counted. Taken for a lost one, it would be given twice: one too many, each second."""
        self.fill(table, running=2, waiting=2)
        capacity = self.capacity(table)
        assert capacity.hand_on(NOW_MS) == 1
        assert capacity.load(NOW_MS) == Load(running=3, waiting=2)

    def test_who_counts_at_its_end_hands_on_the_last_slot(self, table: Table) -> None:
        """It may be among those counted, since the index lags behind: then its slot is no more than there are."""
        self.fill(table, running=3, waiting=2)
        capacity = self.capacity(table)
        assert capacity.hand_on(NOW_MS) == 1
        assert capacity.load(NOW_MS) == Load(running=3, waiting=2)

    def test_who_counts_at_its_end_gives_its_slot_up_where_too_many_are_taken(self, table: Table) -> None:
        self.fill(table, running=4, waiting=2)
        capacity = self.capacity(table)
        assert capacity.hand_on(NOW_MS) == 0
        assert capacity.load(NOW_MS) == Load(running=4, waiting=2)

    def test_a_lost_slot_is_handed_on_besides(self, table: Table) -> None:
        capacity = self.counted(table, running=2, waiting=2)
        assert capacity.hand_on(NOW_MS) == 2
        assert capacity.load(NOW_MS) == Load(running=3, waiting=2)

    def test_who_counts_at_its_end_hands_a_lost_slot_on_besides(self, table: Table) -> None:
        self.fill(table, running=1, waiting=2)
        capacity = self.capacity(table)
        assert capacity.hand_on(NOW_MS) == 2
        assert capacity.load(NOW_MS) == Load(running=3, waiting=2)

    def test_a_slot_that_nobody_took_is_free_at_once(self, table: Table) -> None:
        """Keys waited by the count, and were served since: a new key would wait two seconds for all of these."""
        capacity = self.counted(table, running=3, waiting=2)
        assert capacity.hand_on(NOW_MS) == 1
        capacity.give_back_unwanted(1)
        assert capacity.load(NOW_MS) == Load(running=2, waiting=0)
        assert capacity.take(1, NOW_MS + 1) == 1

    def test_a_slot_that_was_counted_as_free_is_not_given_back_again(self, table: Table) -> None:
        """The figure would be too low by one for each run that ended during a count: so many too many would start."""
        capacity = self.counted(table, running=1, waiting=1)
        assert capacity.hand_on(NOW_MS) == 1
        for key in ("r0", "w0"):
            ended = KeyStore(table, 2, 1_000).load(key)
            KeyStore(table, 2, 1_000).save(replace(make.idle(), key=ended.key, version=ended.version))
        assert self.capacity(table).load(NOW_MS + 1_000) == Load(running=0, waiting=0)
        capacity.give_back_unwanted(1)
        assert capacity.take(5, NOW_MS + 1_001) == 3

    def test_slots_are_offered_to_as_many_as_wait_and_taken_by_as_many_as_are_found(self, table: Table) -> None:
        """A count is up to a second old: slots taken for keys that don't wait any more would lie idle for the rest."""
        capacity = self.counted(table, running=1, waiting=2)
        assert capacity.offer(NOW_MS) == 2
        assert capacity.take_offered(1, 2, NOW_MS) == 1
        assert capacity.load(NOW_MS) == Load(running=2, waiting=0)

    def test_slots_offered_stay_free_where_nobody_is_found(self, table: Table) -> None:
        capacity = self.counted(table, running=1, waiting=2)
        assert capacity.take_offered(0, capacity.offer(NOW_MS), NOW_MS) == 0
        assert capacity.load(NOW_MS) == Load(running=1, waiting=0)

    def test_of_slots_offered_what_others_left_is_taken(self, table: Table) -> None:
        """All or nothing left hundreds of slots idle for one that was taken while keys were looked for."""
        capacity = self.counted(table, running=1, waiting=3)
        offered = capacity.offer(NOW_MS)
        assert capacity.take(1, NOW_MS) == 1
        assert capacity.take_offered(2, offered, NOW_MS) == 1
        assert capacity.load(NOW_MS) == Load(running=3, waiting=3)

    def test_keys_that_were_found_and_got_no_slot_still_wait(self, table: Table) -> None:
        """Fewer were found than were offered one. Were nobody said to wait, runs that end would drop their slots."""
        capacity = self.counted(table, waiting=3)
        assert capacity.offer(NOW_MS) == 3
        assert capacity.take(2, NOW_MS) == 2
        assert capacity.take_offered(2, 3, NOW_MS) == 1
        assert capacity.load(NOW_MS) == Load(running=3, waiting=3)

    def test_who_read_an_old_figure_takes_what_others_left(self, table: Table) -> None:
        assert self.capacity(table).take(2, NOW_MS) == 2
        late = edited(table, get_item=lambda real, **arguments: stale_answer(real, arguments))
        assert self.capacity(late).take(3, NOW_MS) == 1
        assert self.capacity(table).load(NOW_MS) == Load(running=3, waiting=2)

    def test_nothing_is_looked_for_behind_slots_that_are_all_free(self, table: Table) -> None:
        """Who wants more than there are would count, over what another has just taken."""
        self.capacity(table).load(NOW_MS)
        watched = edited(table)
        assert self.capacity(watched).take(5, NOW_MS + 900) == 3
        assert "query" not in watched.client.calls

    def test_nobody_waits_nothing_is_handed_on(self, table: Table) -> None:
        self.fill(table, running=1)
        assert self.capacity(table).hand_on(NOW_MS) is None

    def test_as_many_slots_go_as_are_too_many(self, table: Table) -> None:
        """After the setting was lowered, say."""
        capacity = self.counted(table, running=5, waiting=2)
        assert [capacity.hand_on(NOW_MS) for _ in range(4)] == [0, 0, 1, 1]

    def test_a_key_keeps_its_slot_for_its_quantum_or_while_nobody_waits(self, table: Table) -> None:
        self.fill(table, running=3, waiting=1)
        capacity = self.capacity(table)
        assert capacity.may_keep(NOW_MS, has_had_its_turn=False)
        assert not capacity.may_keep(NOW_MS, has_had_its_turn=True)
        assert self.capacity(table, 3).index.count(Queue.WAITING) == 1

    @pytest.mark.parametrize(("running", "believed_ms"), [(3, 500), (5_000, 500), (8_000, 800), (90_000, 1_000)])
    def test_that_nobody_waits_is_believed_for_longer_the_more_runs_end(
        self, table: Table, running: int, believed_ms: int
    ) -> None:
        """All of their processes ask for one item, which takes 3,000 reads a second.

        But not for so long that a slot is dropped when who looks for such slots, two seconds later, has a count from
        before.
        """
        self.fill(table)
        self.capacity(table).load(NOW_MS)
        table.update(("capacity", "runs"), "SET running = :running", None, {"running": running}, returns_item=False)
        watched = edited(table)
        capacity = self.capacity(watched, 100_000)
        for after_ms in (0, 1, believed_ms - 1):
            assert capacity.hand_on(NOW_MS + after_ms) is None
        assert watched.client.calls.count("get_item") == 1
        capacity.hand_on(NOW_MS + believed_ms)
        assert watched.client.calls.count("get_item") == 2

    @pytest.mark.parametrize(("running", "believed_ms"), [(3, 250), (1_000, 250), (3_000, 750)])
    def test_that_keys_wait_is_believed_for_longer_the_more_runs_end(
        self, table: Table, running: int, believed_ms: int
    ) -> None:
        """Thousands of processes ask for one item."""
        self.fill(table, waiting=1)
        self.capacity(table).load(NOW_MS)
        table.update(("capacity", "runs"), "SET running = :running", None, {"running": running}, returns_item=False)
        watched = edited(table)
        capacity = self.capacity(watched, running)
        for after_ms in (0, believed_ms - 1, believed_ms):
            assert capacity.hand_on(NOW_MS + after_ms) == 1
        assert watched.client.calls.count("get_item") == 2
        assert somebody_waits_ms(90_000) == 1_000, "as old as the count itself"

    def test_a_figure_that_was_changed_is_not_believed(self, table: Table) -> None:
        """Else each run that ends in this process would hand a lost slot on again, or try to."""
        self.fill(table, waiting=2)
        self.capacity(table).load(NOW_MS)
        table.update(("capacity", "runs"), "SET running = :running", None, {"running": 999}, returns_item=False)
        capacity = self.capacity(table, 1_000)
        assert [capacity.hand_on(NOW_MS) for _ in range(3)] == [2, 1, 1]
        table.update(("capacity", "runs"), "SET running = :running", None, {"running": 1_002}, returns_item=False)
        assert [capacity.hand_on(NOW_MS + 250) for _ in range(3)] == [0, 0, 1]

    def test_a_throttle_is_told_as_one(self, table: Table) -> None:
        with pytest.raises(Throttled):
            self.capacity(edited(table, update_item=refused("ThrottlingException"))).take(1, NOW_MS)


def stale_answer(_real: Callable[..., Any], _arguments: dict[str, Any]) -> dict[str, Any]:
    """Answer with the figures as they stood at the first count."""
    return {"Item": {name: {"N": value} for name, value in
                     {"counted_at_ms": str(NOW_MS), "running": "0", "waiting": "0"}.items()}}  # fmt: skip


PREFIX = "arn:aws:states:us-east-1:123456789012:stateMachine:keyturn-"


def a_run(kind: Kind = Kind.STANDARD) -> Run:
    run = make.bound().run
    assert run is not None
    return replace(run, kind=kind, workflow="order")


class TestExecutions:
    @pytest.fixture
    def states(self, aws: None) -> Any:  # noqa: ARG002 - moto must be on
        client = boto3.client("stepfunctions")
        definition = json.dumps({"StartAt": "W", "States": {"W": {"Type": "Pass", "End": True}}})
        client.create_state_machine(
            name="keyturn-order-standard", definition=definition, roleArn="arn:aws:iam::123456789012:role/r"
        )
        return client

    def test_a_run_starts_under_its_name(self, states: Any) -> None:
        Executions(states, PREFIX).start(a_run(), "{}")
        (found,) = states.list_executions(stateMachineArn=PREFIX + "order-standard")["executions"]
        assert found["name"] == a_run().execution_name

    def test_a_taken_name_is_success(self) -> None:
        Executions(Edited(_Nothing(), start_execution=refused("ExecutionAlreadyExists")), PREFIX).start(a_run(), "{}")

    @pytest.mark.parametrize("code", ["StateMachineDoesNotExist", "StateMachineDeleting", "InvalidArn", "InvalidName"])
    def test_what_can_never_start_is_told_apart(self, code: str) -> None:
        """With what AWS says of it, cut short."""
        telling = refused(code, message="no such thing: " + "x" * 1_000)
        with pytest.raises(CannotStart, match=f"{code}: no such thing") as error:
            Executions(Edited(_Nothing(), start_execution=telling), PREFIX).start(a_run(), "{}")
        assert len(str(error.value)) < 300

    @pytest.mark.parametrize("code", ["InvalidExecutionInput", "ValidationException"])
    def test_an_input_that_is_refused_is_not_quoted(self, code: str) -> None:
        """AWS's message may quote it from its beginning; what is raised goes to the log and into the key state."""
        quoting = refused(code, message='Value \'{"run":{"key":"secret"\' at \'input\' failed to satisfy constraint')
        with pytest.raises(CannotStart, match=code) as error:
            Executions(Edited(_Nothing(), start_execution=quoting), PREFIX).start(a_run(), "{}")
        assert "secret" not in str(error.value)

    def test_a_state_machine_that_is_not_there_is_told(self, states: Any) -> None:
        with pytest.raises(CannotStart, match="StateMachineDoesNotExist"):
            Executions(states, PREFIX).start(a_run(Kind.EXPRESS), "{}")

    @pytest.mark.parametrize("code", ["ThrottlingException", "ExecutionLimitExceeded", "KmsThrottlingException"])
    def test_a_throttle_may_pass(self, code: str) -> None:
        with pytest.raises(Throttled):
            Executions(Edited(_Nothing(), start_execution=refused(code)), PREFIX).start(a_run(), "{}")

    def test_no_answer_may_pass(self) -> None:
        with pytest.raises(Throttled, match="no answer"):
            Executions(Edited(_Nothing(), start_execution=silent), PREFIX).start(a_run(), "{}")

    def test_express_is_never_asked(self) -> None:
        """AWS refuses it: the deadline is the only truth."""
        client = Edited(_Nothing(), stop_execution=silent)
        assert Executions(client, PREFIX).stop(a_run(Kind.EXPRESS), "past its deadline")
        assert client.calls == []

    def test_the_execution_around_a_nested_one_is_asked(self) -> None:
        """It is a Standard one: that it never was is the proof that its run never began."""
        client = Edited(_Nothing(), stop_execution=refused("ExecutionDoesNotExist"))
        assert not Executions(client, PREFIX).stop(a_run(Kind.NESTED), "past its deadline")

    def test_one_that_has_ended_was_there(self) -> None:
        client = Edited(_Nothing(), stop_execution=refused("ValidationException"))
        assert Executions(client, PREFIX).stop(a_run(), "past its deadline")

    def test_one_that_never_was_is_told(self) -> None:
        client = Edited(_Nothing(), stop_execution=refused("ExecutionDoesNotExist"))
        assert not Executions(client, PREFIX).stop(a_run(), "past its deadline")

    def test_the_arn_of_an_execution_is_the_state_machines_with_its_name(self) -> None:
        asked: list[str] = []
        client = Edited(_Nothing(), stop_execution=lambda _real, **call: asked.append(call["executionArn"]))
        Executions(client, PREFIX).stop(a_run(), "because")
        execution = PREFIX.replace(":stateMachine:", ":execution:")
        assert asked == [f"{execution}order-standard:{a_run().execution_name}"]


class _Nothing:
    """A client without an AWS behind it: its methods are answered for."""

    def __getattr__(self, name: str) -> Any:
        return name


class TestWakeQueue:
    @pytest.mark.parametrize(
        ("in_ms", "delay_s"), [(0, 0), (-5_000, 0), (1, 1), (1_000, 1), (1_001, 2), (900_000, 900), (10**9, 900)]
    )
    def test_a_message_waits_whole_seconds_never_too_few_and_15_minutes_at_most(self, in_ms: int, delay_s: int) -> None:
        sent: list[dict[str, Any]] = []
        client = Edited(_Nothing(), send_message=lambda _real, **call: sent.append(call))
        WakeQueue(client, "q").wake_at("k", NOW_MS + in_ms, NOW_MS)
        (call,) = sent
        assert (call["DelaySeconds"], json.loads(call["MessageBody"])["key"]) == (delay_s, "k")
