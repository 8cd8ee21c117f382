"""The archive: what was written comes back, each event once, in order within a key."""

import gzip
from dataclasses import replace
from typing import Any

import boto3
import pytest

from keyturn.adapters.archive import Archive, Archived
from keyturn.core.positions import position
from keyturn.errors import StoreError

HOUR_MS = 3_600_000
NOON_MS = 1_767_614_400_000  # 2026-01-05T12:00Z
SHARD = "shardId-000000000001"


def archived(number: int, key: str = "k", at_ms: int = NOON_MS, event: bytes = b"{}") -> Archived:
    return Archived(key, position(1, str(number)), at_ms, "t", "f" * 32, event)


@pytest.fixture
def s3(aws: None) -> Any:  # noqa: ARG001 - moto must be on
    client = boto3.client("s3")
    client.create_bucket(Bucket="archive")
    return client


@pytest.fixture
def archive(s3: Any) -> Archive:
    return Archive(lambda _service: s3, "archive")


def names(s3: Any) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket="archive").get("Contents", [])]


def read(archive: Archive, key: str | None = None) -> list[Archived]:
    return list(archive.read(NOON_MS, NOON_MS + 2 * HOUR_MS, key))


def test_events_come_back_as_their_producer_wrote_them(archive: Archive) -> None:
    """Spaces, escapes and all; large ones too."""
    events = [
        archived(1, event='{"a": "\\u00e9\U0001f600",\n "b": 1e15}'.encode()),
        archived(2, event=b'"x"' * 400_000),
    ]
    archive.write(SHARD, events)
    assert read(archive) == events


def test_an_object_is_named_by_hour_shard_and_span(archive: Archive, s3: Any) -> None:
    archive.write(SHARD, [archived(2), archived(7)])
    assert names(s3) == [f"2026-01-05/12/{SHARD}/{position(1, '2')}-{position(1, '7')}.jsonl.gz"]


def test_the_same_batch_is_the_same_object(archive: Archive, s3: Any) -> None:
    """Byte for byte, so that a redelivery leaves nothing behind."""
    bodies = []
    for _ in range(2):
        archive.write(SHARD, [archived(1), archived(2)])
        (name,) = names(s3)
        bodies.append(s3.get_object(Bucket="archive", Key=name)["Body"].read())
    assert bodies[0] == bodies[1]
    assert gzip.decompress(bodies[0]).count(b"\n") == 2


def test_what_came_again_in_another_batch_is_read_once(archive: Archive) -> None:
    """A batch that was cut in two, or delivered from its middle on."""
    events = [archived(number, key=f"k{number % 3}") for number in range(1, 9)]
    for batch in (events, events[:4], events[4:], events[2:6]):
        archive.write(SHARD, batch)
    found = read(archive)
    assert sorted(event.position for event in found) == [event.position for event in events]
    for key in ("k0", "k1", "k2"):
        mine = [event.position for event in found if event.key == key]
        assert mine == sorted(mine)


def test_a_batch_over_the_hour_is_found_from_either_side(archive: Archive, s3: Any) -> None:
    """A quiet stream's batch can span hours: nobody has to guess how far back an event may lie."""
    early, late = archived(1, at_ms=NOON_MS + HOUR_MS - 1), archived(2, at_ms=NOON_MS + HOUR_MS)
    archive.write(SHARD, [early, late])
    assert len(names(s3)) == 2
    assert list(archive.read(NOON_MS + HOUR_MS, NOON_MS + 2 * HOUR_MS)) == [late]
    assert list(archive.read(NOON_MS, NOON_MS + HOUR_MS)) == [early]


def test_reading_keeps_to_the_key_and_to_the_time(archive: Archive) -> None:
    """From the first millisecond on, the last one excluded."""
    events = [archived(number, key=f"k{number % 2}", at_ms=NOON_MS + number) for number in range(6)]
    archive.write(SHARD, events)
    assert list(archive.read(NOON_MS + 1, NOON_MS + 4, "k1")) == [events[1], events[3]]
    assert list(archive.read(NOON_MS - HOUR_MS, NOON_MS)) == []


def test_more_objects_than_one_listing_holds_are_all_read(archive: Archive) -> None:
    for number in range(1, 1_003):
        archive.write(SHARD, [archived(number)])
    assert len(read(archive)) == 1_002


def test_switched_off_it_writes_nothing(archive: Archive, s3: Any) -> None:
    off = replace(archive, bucket="")
    off.write(SHARD, [archived(1)])
    assert (off.is_on, names(s3)) == (False, [])


def test_a_bucket_that_refuses_is_an_error_of_ours(archive: Archive) -> None:
    with pytest.raises(StoreError, match="archiving 1 events"):
        replace(archive, bucket="none-such").write(SHARD, [archived(1)])


def test_it_tells_the_hour_of_its_oldest_events(archive: Archive) -> None:
    """Events without a time of arrival stand in 1970, and say nothing of when it began."""
    assert archive.begins_ms() is None
    archive.write(SHARD, [archived(1, at_ms=0)])
    assert archive.begins_ms() is None
    archive.write(SHARD, [archived(number, at_ms=NOON_MS + number * HOUR_MS + 1) for number in (2, 3)])
    assert archive.begins_ms() == NOON_MS + 2 * HOUR_MS
