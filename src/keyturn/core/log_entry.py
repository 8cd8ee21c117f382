"""An event as its key's log holds it, and what runs make of the log: slices and execution inputs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from keyturn.core.positions import Position
from keyturn.core.route import Kind, Route, Routes
from keyturn.core.state import KeyState, Run, Slice
from keyturn.limits import RUN_INLINE_BYTES_MAX

_HANDED_OVER_BESIDES_BYTES: Final = 19_000
"""At most, of what a sequencer's answer has besides events: the run's header, in which a key of 256 characters takes
3 KB, and the key's state, in which that, another key and the 32 spans of a replay take 12 KB."""


@dataclass(frozen=True, slots=True)
class PayloadReference:
    """Where a claim-checked event lies, its size in bytes, and the SHA-256 that its content must have."""

    object: str
    bytes: int
    sha256: str

    def as_item(self) -> dict[str, Any]:
        """Write the reference as attributes of an item, or as part of an execution's input."""
        return asdict(self)

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Self:
        """Read the reference back; attributes of a later format are passed over."""
        return cls(object=item["object"], bytes=int(item["bytes"]), sha256=item["sha256"])


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event of a key's log: its bytes, or where they lie in the payload bucket."""

    position: Position
    type: str
    flow_id: str
    arrived_at_ms: int
    content: bytes | PayloadReference

    @property
    def inline_bytes(self) -> int:
        """What the event adds to an execution's input."""
        return len(self.content) if isinstance(self.content, bytes) else 0

    @property
    def quoted_bytes(self) -> int:
        """What it adds to an input that is passed on as text: each quote and backslash in it takes one more."""
        return len(_compact(self.content.decode()).encode()) if isinstance(self.content, bytes) else 0


def cut_slice(entries: Sequence[LogEntry], routes: Routes) -> tuple[Slice, Route | None]:
    """Cut the next run's slice off the front of `entries`: neighbours in the log, at least one.

    A slice holds events of one route, as many as the route's batch allows by count and bytes. The route is None when
    no route fits the first event's type any more.
    """
    head = entries[0]
    route = routes.for_type(head.type)
    taken = [head] if route is None else list(_fitting(entries, route, routes))
    return Slice(
        first=head.position,
        last=taken[-1].position,
        count=len(taken),
        route=route.name if route else "",
        arrived_at_ms=head.arrived_at_ms,
        flow_id=head.flow_id,
    ), route


def _fitting(entries: Sequence[LogEntry], route: Route, routes: Routes) -> Iterator[LogEntry]:
    bytes_left = min(route.batch.bytes, RUN_INLINE_BYTES_MAX)
    for place, entry in enumerate(entries[: route.batch.events]):
        # The execution around a nested run passes its whole input on as one text, and has the same limit for that.
        bytes_left -= entry.quoted_bytes if route.kind is Kind.NESTED else entry.inline_bytes
        is_next = place == 0 or (bytes_left >= 0 and routes.for_type(entry.type) == route)
        if not is_next:
            return
        yield entry


def execution_input(
    state: KeyState,
    run: Run,
    entries: Sequence[LogEntry],
    route: Route,
    qualifier: str = "",
    nested_version: int | None = None,
) -> str:
    """Write the input of a run's execution: the same text each time, since a start is only repeatable with it.

    Events go in as their producers wrote them, byte for byte: written anew, `1e15` would take 18 characters, and an
    event that was small enough for the log might be too large for an execution.

    `qualifier` is what the workers' ARNs end in, by the run's release; `nested_version` is that of the Express machine
    that a nested run is done by.
    """
    header = {
        "key": state.key,
        "fence": state.fence,
        "attempt": run.attempt,
        "generation": run.generation,
        "generation_latest": state.generation if state.is_replaying or run.generation else 0,
        "route": run.slice.route,
        "workflow": run.workflow,
        "machine": run.machine,
        "first": run.slice.first,
        "last": run.slice.last,
        "count": run.slice.count,
        "deadline_ms": run.deadline_ms,
        "run_timeout_ms": run.timeout_ms,
        "flow_id": run.slice.flow_id,
        "arrived_at_ms": run.slice.arrived_at_ms,
        "personal": route.personal_key,
        "release": state.release,
        "qualifier": qualifier,
        "forward": state.goes_forward(run),
    }
    if run.execution_id is not None:
        header["bound"] = True
    if state.is_cut_anew(run.slice):
        header["cut_anew"] = True
    if run.kind is Kind.NESTED:
        header["express"] = "" if nested_version is None else f":{nested_version}"
    events = ",".join(_as_input(entry) for entry in entries)
    return f'{{"run":{_compact(header)},"events":[{events}]}}'


def handed_over_bytes_max(entries: Sequence[LogEntry]) -> int:
    """Return how large a run of `entries` is at most for an execution that goes on with it.

    The sequencer's answer is written anew on its way, so what counts is its longest form: spaces, escapes for all that
    isn't ASCII, numbers written out. An event's is known; the rest is not before the run is claimed.
    """
    written = (json.dumps(json.loads(_as_input(entry))) for entry in entries)
    return _HANDED_OVER_BESIDES_BYTES + sum(len(text) + len(", ") for text in written)


def _as_input(entry: LogEntry) -> str:
    place = {"position": entry.position, "flow_id": entry.flow_id, "arrived_at_ms": entry.arrived_at_ms}
    if isinstance(entry.content, bytes):
        return f'{_compact(place)[:-1]},"event":{entry.content.decode()}}}'
    return _compact(place | {"payload": entry.content.as_item()})


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
