"""The archive: every admitted event, in a bucket, for replays of what neither the log nor the stream has any more.

One object a batch, and an hour that the batch spans: `DATE/HH/SHARD/FIRST-LAST.jsonl.gz`, by when the stream took the
events. A batch that is delivered again, whole or in part, writes what stands there already, so a reader drops what it
met before.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from itertools import groupby
from typing import Any, Final

from keyturn.adapters.failures import translated
from keyturn.adapters.table import Item, reading
from keyturn.core.positions import Position

_HOUR_MS: Final = 3_600_000
_WITH_A_TIME: Final = "1971"
"""Names sort behind it, but for those of events of which the stream told no time of arrival: they are of 1970."""


@dataclass(frozen=True, slots=True)
class Archived:
    """One event as the archive has it."""

    key: str
    position: Position
    arrived_at_ms: int
    type: str
    flow_id: str
    event: bytes
    """The producer's bytes, large ones too."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Writes and reads the archive; one without a bucket is switched off."""

    client_of: Callable[[str], Any]
    """Asked for S3 when the archive is really used: most stacks have none, and a client takes time to load."""
    bucket: str

    @property
    def is_on(self) -> bool:
        """Whether this stack has an archive."""
        return bool(self.bucket)

    def begins_ms(self) -> int | None:
        """Tell the hour of the oldest events that are there; None when none are. Raises Throttled or StoreError."""
        with translated("looking where the archive begins"):
            answer = self.client_of("s3").list_objects_v2(Bucket=self.bucket, StartAfter=_WITH_A_TIME, MaxKeys=1)
        for entry in answer.get("Contents", []):
            day, hour, _ = entry["Key"].split("/", 2)
            return round(datetime.fromisoformat(f"{day}T{hour}:00:00+00:00").timestamp() * 1000)
        return None

    def write(self, shard: str, events: Iterable[Archived]) -> None:
        """Store events of one shard; does nothing when switched off. Raises Throttled or StoreError."""
        if not self.is_on:
            return
        in_order = sorted(events, key=lambda event: (event.arrived_at_ms // _HOUR_MS, event.position))
        for hour, group in groupby(in_order, lambda event: event.arrived_at_ms // _HOUR_MS):
            together = list(group)
            name = f"{_hour_prefix(hour)}{shard}/{together[0].position}-{together[-1].position}.jsonl.gz"
            with translated(f"archiving {len(together)} events"):
                self.client_of("s3").put_object(Bucket=self.bucket, Key=name, Body=_pack(together))

    def read(self, from_ms: int, until_ms: int, key: str | None = None) -> Iterator[Archived]:
        """Yield what the stream took from `from_ms` until just before `until_ms`, each event once, of all keys or one.

        By hour and shard, and in order within those: so in order within a key, a reshard included, since a child
        shard's name is higher than its parent's. Reads every object of these hours. Raises Throttled or StoreError.
        """
        for hour in range(from_ms // _HOUR_MS, -(-until_ms // _HOUR_MS)):
            met: set[tuple[str, Position]] = set()
            for event in self._read_hour(hour):
                is_wanted = from_ms <= event.arrived_at_ms < until_ms and key in {None, event.key}
                if is_wanted and (event.key, event.position) not in met:
                    met.add((event.key, event.position))
                    yield event

    def objects(self, from_ms: int, until_ms: int, after: str = "") -> Iterator[tuple[str, list[Archived]]]:
        """Yield each object's name with what the stream took from `from_ms` until `until_ms`, for who reads in pieces.

        Names rise in the order in which `read` goes; those up to `after` are left out. An event may be in two of them.
        """
        for hour in range(from_ms // _HOUR_MS, until_ms // _HOUR_MS + 1):
            prefix = _hour_prefix(hour)
            if prefix < after[: len(prefix)]:
                continue
            for name in self._names(prefix, after):
                yield name, [event for event in self._read_object(name) if from_ms <= event.arrived_at_ms <= until_ms]

    def _read_hour(self, hour: int) -> Iterator[Archived]:
        for name in self._names(_hour_prefix(hour)):
            yield from self._read_object(name)

    def _read_object(self, name: str) -> Iterator[Archived]:
        with translated(f"reading archive object {name}"):
            body: bytes = self.client_of("s3").get_object(Bucket=self.bucket, Key=name)["Body"].read()
        return _unpack(name, body)

    def _names(self, prefix: str, after: str = "") -> Iterator[str]:
        page: dict[str, Any] = {"Bucket": self.bucket, "Prefix": prefix, "StartAfter": after}
        while True:
            with translated("listing the archive"):
                answer = self.client_of("s3").list_objects_v2(**page)
            yield from (entry["Key"] for entry in answer.get("Contents", []))
            if not answer["IsTruncated"]:
                return
            page["ContinuationToken"] = answer["NextContinuationToken"]


def _hour_prefix(hour: int) -> str:
    return datetime.fromtimestamp(hour * _HOUR_MS / 1000, UTC).strftime("%Y-%m-%d/%H/")


def _pack(events: Sequence[Archived]) -> bytes:
    lines = (
        json.dumps(
            {
                "key": event.key,
                "position": event.position,
                "arrived_at_ms": event.arrived_at_ms,
                "type": event.type,
                "flow_id": event.flow_id,
                "event": event.event.decode(),
            },
            separators=(",", ":"),
            ensure_ascii=False,
        )
        for event in events
    )
    return gzip.compress("".join(line + "\n" for line in lines).encode(), mtime=0)


def _unpack(name: str, body: bytes) -> Iterator[Archived]:
    """Unpack an object line by line: what it holds may be many times larger than it is. Raises Unreadable."""
    with reading(f"archive object {name}"), gzip.open(BytesIO(body)) as lines:
        try:
            yield from (_decode(json.loads(line)) for line in lines)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError("it is damaged") from error


def _decode(item: Item) -> Archived:
    return Archived(
        key=item["key"],
        position=Position(item["position"]),
        arrived_at_ms=item["arrived_at_ms"],
        type=item["type"],
        flow_id=item["flow_id"],
        event=item["event"].encode(),
    )
