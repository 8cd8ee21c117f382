"""Replays: the job, and what it is to do with each key. Both are kept for 90 days after the plan."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from keyturn.adapters.table import Item, ItemExists, Table, reading
from keyturn.core.naming import key_hash
from keyturn.core.positions import Position
from keyturn.core.replay_job import Act, JobState, ReplayJob, Source
from keyturn.core.replay_plan import END, Fate, Outcome, PlannedKey, Selection, Tally
from keyturn.core.state import START, Span
from keyturn.errors import JobChanged

LISTING: Final = "replay"
_JOB: Final = "job"
_KEY: Final = "key#"
_SPANS: Final = "spans#"
_KEPT_S: Final = 90 * 86_400


@dataclass(frozen=True, slots=True)
class ReplayStore:
    """Reads and writes replays."""

    table: Table

    def create(self, job: ReplayJob) -> ReplayJob:
        """Write a new job. Where only its listing was written before a crash, the listing leads nowhere."""
        self.table.put_many([{"pk": LISTING, "sk": f"job#{job.id}", "expires_at": _expiry(job)}])
        return self.save(job)

    def load(self, job_id: str) -> ReplayJob | None:
        """Read a job, strongly consistent."""
        item = self.table.get(_partition(job_id), _JOB)
        return _decode_job(job_id, item) if item else None

    def save(self, job: ReplayJob) -> ReplayJob:
        """Write a job over the revision it was made from. Raises JobChanged when it has moved on."""
        saved = replace(job, revision=job.revision + 1)
        condition, values = (
            ("revision = :expected", {"expected": job.revision}) if job.revision else ("attribute_not_exists(pk)", None)
        )
        try:
            self.table.put_if(_encode_job(saved), condition, values)
        except ItemExists as occupied:
            raise JobChanged(f"replay {job.id} was changed by somebody else meanwhile: try again") from occupied
        return saved

    def listed(self) -> list[ReplayJob]:
        """Read all jobs, the latest first."""
        arguments = {"KeyConditionExpression": "pk = :pk", "ProjectionExpression": "sk", "ScanIndexForward": False}
        ids = [item["sk"].removeprefix("job#") for item in self.table.query(arguments, {"pk": LISTING})]
        found = self.table.get_many((_partition(one), _JOB) for one in ids)
        return [_decode_job(one, found[_partition(one), _JOB]) for one in ids if (_partition(one), _JOB) in found]

    def write_keys(self, job: ReplayJob, keys: Iterable[PlannedKey]) -> None:
        """Write what is to be done with keys, over what stands there."""
        self.table.put_many([_encode_key(job, key) for key in keys])

    def write_spans(self, job: ReplayJob, key: str, chunks: Sequence[Sequence[Span]]) -> None:
        """Write the spans of a key's second and later rewinds; the first one's stand with the key."""
        self.table.put_many(
            [
                {
                    "pk": _partition(job.id),
                    "sk": _spans_place(key, number),
                    "spans": _encode_spans(spans),
                    "expires_at": _expiry(job),
                }
                for number, spans in enumerate(chunks)
                if number
            ]
        )

    def spans(self, job_id: str, planned: PlannedKey, chunk: int) -> tuple[Span, ...]:
        """Read the spans of one of a key's rewinds."""
        if chunk == 0:
            return planned.spans
        item = self.table.get(_partition(job_id), _spans_place(planned.key, chunk))
        with reading("the spans of a replay's key"):
            return _decode_spans(item["spans"]) if item else ()

    def keys(self, job_id: str, after: str, limit: int | None = None) -> list[tuple[str, PlannedKey]]:
        """Read keys in the plan's order, with the cursor behind each; `after` is such a cursor, or ""."""
        arguments = {"KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high", "ConsistentRead": True}
        values = {"pk": _partition(job_id), "low": f"{_KEY}{after}!" if after else _KEY, "high": f"{_KEY}~"}
        return [
            (item["sk"].removeprefix(_KEY), _decode_key(item)) for item in self.table.query(arguments, values, limit)
        ]

    def named(self, job_id: str, keys: Iterable[str]) -> dict[str, PlannedKey]:
        """Read what the plan has of some keys."""
        places = {(_partition(job_id), _KEY + key_hash(key)): key for key in keys}
        return {places[place]: _decode_key(item) for place, item in self.table.get_many(places).items()}


def _partition(job_id: str) -> str:
    return f"replay#{job_id}"


def _spans_place(key: str, chunk: int) -> str:
    return f"{_SPANS}{key_hash(key)}#{chunk:05d}"


def _expiry(job: ReplayJob) -> int:
    return job.asked.at_ms // 1000 + _KEPT_S


def _encode_job(job: ReplayJob) -> dict[str, Any]:
    return {
        "pk": _partition(job.id),
        "sk": _JOB,
        "state": job.state.value,
        "source": job.source.value,
        "selection": {name: value for name, value in asdict(job.selection).items() if value},
        "is_new_generation": job.is_new_generation,
        "rate": job.rate,
        "asked": asdict(job.asked),
        "applied": asdict(job.applied) if job.applied else None,
        "cancelled": asdict(job.cancelled) if job.cancelled else None,
        "is_searching": job.is_searching or None,
        "cursor": job.cursor or None,
        "searched": job.searched,
        "found": job.found,
        "tally": job.tally.as_item(),
        "counts": dict(job.counts),
        "passing": dict(job.passing),
        "quiet_passes": job.quiet_passes or None,
        "executions": job.executions,
        "busy_until_ms": job.busy_until_ms or None,
        "revision": job.revision,
        "updated_at_ms": job.updated_at_ms,
        "expires_at": _expiry(job),
    }


def _decode_job(job_id: str, item: Item) -> ReplayJob:
    with reading(f"replay {job_id}"):
        return _readable_job(job_id, item)


def _readable_job(job_id: str, item: Item) -> ReplayJob:
    return ReplayJob(
        id=job_id,
        state=JobState(item["state"]),
        source=Source(item["source"]),
        selection=_decode_selection(item["selection"]),
        asked=_decode_act(item["asked"]),
        is_new_generation=item["is_new_generation"],
        rate=item["rate"],
        applied=_decode_act(item["applied"]) if "applied" in item else None,
        cancelled=_decode_act(item["cancelled"]) if "cancelled" in item else None,
        is_searching=item.get("is_searching", False),
        cursor=item.get("cursor", ""),
        searched=item["searched"],
        found=item["found"],
        tally=Tally.from_item(item["tally"]),
        counts=_decode_counts(item["counts"]),
        passing=_decode_counts(item["passing"]),
        quiet_passes=item.get("quiet_passes", 0),
        executions=item["executions"],
        busy_until_ms=item.get("busy_until_ms", 0),
        revision=item["revision"],
        updated_at_ms=item["updated_at_ms"],
    )


def _decode_act(item: Item) -> Act:
    return Act(item["by"], item["reason"], item["at_ms"])


def _decode_selection(item: Item) -> Selection:
    """Read a selection. One more condition would select less, so that of a later format can't be passed over."""
    return Selection(**{**item, "outcome": Outcome(item["outcome"])})


def _decode_counts(item: Item) -> Mapping[Fate, int]:
    return {Fate(name): count for name, count in item.items()}


def _encode_key(job: ReplayJob, planned: PlannedKey) -> dict[str, Any]:
    return {
        "pk": _partition(job.id),
        "sk": _KEY + key_hash(planned.key),
        "key": planned.key,
        "fate": planned.fate.value,
        "low": planned.low or None,
        "high": planned.high if planned.high != END else None,
        "spans": _encode_spans(planned.spans) or None,
        "chunks": planned.chunks,
        "chunk": planned.chunk or None,
        "version": planned.version or None,
        "cursor": planned.cursor or None,
        "generation": planned.generation or None,
        "hold_at_ms": planned.hold_at_ms or None,
        "types": list(planned.types) or None,
        "routes": planned.routes or None,
        "tally": planned.tally.as_item(),
        "why": planned.why or None,
        "expires_at": _expiry(job),
    }


def _decode_key(item: Item) -> PlannedKey:
    with reading("a key of a replay's plan"):
        return _readable_key(item)


def _readable_key(item: Item) -> PlannedKey:
    return PlannedKey(
        key=item["key"],
        fate=Fate(item["fate"]),
        low=Position(item.get("low", START)),
        high=Position(item.get("high", END)),
        spans=_decode_spans(item.get("spans", [])),
        chunks=item["chunks"],
        chunk=item.get("chunk", 0),
        version=item.get("version", 0),
        cursor=Position(item.get("cursor", START)),
        generation=item.get("generation", 0),
        hold_at_ms=item.get("hold_at_ms", 0),
        types=tuple(item.get("types", ())),
        routes=item.get("routes", ""),
        tally=Tally.from_item(item["tally"]),
        why=item.get("why", ""),
    )


def _encode_spans(spans: Iterable[Span]) -> list[list[str]]:
    return [[span.first, span.last] for span in spans]


def _decode_spans(spans: Iterable[Sequence[str]]) -> tuple[Span, ...]:
    return tuple(Span(Position(first), Position(last)) for first, last in spans)
