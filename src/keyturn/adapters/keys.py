"""The key state item: load, and compare-and-set on its version."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from keyturn.adapters.table import Item, ItemExists, Table, decode_item, encode_item, reading
from keyturn.core.naming import key_hash
from keyturn.core.positions import Position
from keyturn.core.route import Kind
from keyturn.core.state import (
    HandedOn,
    Hold,
    KeyState,
    Parked,
    Phase,
    Replay,
    Run,
    Slice,
    Span,
    WaitsFor,
    bucket_of,
    due,
)
from keyturn.errors import Conflict, Unreadable

STATE: Final = "state"


def partition(key: str) -> str:
    """Return the partition key under which everything of an ordering key stands."""
    return f"key#{key}"


def key_of(pk: str) -> str:
    """Return the ordering key of a partition."""
    return pk.removeprefix("key#")


@dataclass(frozen=True, slots=True)
class KeyStore:
    """Loads and saves key states. An index entry is written with the state, in the same item."""

    table: Table
    index_buckets: int
    index_rounding_ms: int

    def load(self, key: str) -> KeyState:
        """Read a key's state, strongly consistent; a key never seen is idle and empty."""
        return _state_in(key, self.table.get(partition(key), STATE))

    def load_many(self, keys: Iterable[str]) -> dict[str, KeyState]:
        """Read many keys' states, strongly consistent."""
        return {key: _state_in(key, item) for key, item in self._items(keys).items()}

    def load_readable(self, keys: Iterable[str]) -> tuple[list[KeyState], list[Unreadable]]:
        """Read many keys' states as `load_many` does; those that can't be read hold up no other."""
        states, unreadable = [], []
        for key, item in self._items(keys).items():
            try:
                states.append(_state_in(key, item))
            except Unreadable as error:
                unreadable.append(error)
        return states, unreadable

    def _items(self, keys: Iterable[str]) -> dict[str, Item | None]:
        wanted = {(partition(key), STATE): key for key in keys}
        found = self.table.get_many(wanted)
        return {key: found.get(place) for place, key in wanted.items()}

    def save(self, state: KeyState, records: Sequence[Item] = ()) -> KeyState:
        """Write a state over the version it was made from, and return it with its new version.

        `records` are written with it, all or nothing.

        Raises Conflict when the key has moved on meanwhile. An answer that was lost is no conflict: where the SDK sent
        the write again, the state that stands there is compared as a whole.
        """
        saved = replace(state, version=state.version + 1)
        condition, values = (
            ("version = :expected", {"expected": state.version})
            if state.version
            else ("attribute_not_exists(pk)", None)
        )
        try:
            self.table.put_if(self._encode(saved), condition, values, records)
        except ItemExists as occupied:
            standing = _state_in(state.key, occupied.item)
            raise Conflict(f"key {key_hash(state.key)} moved on from version {state.version}", standing) from occupied
        return saved

    def _encode(self, state: KeyState) -> Item:
        entry = due(state, self.index_rounding_ms)
        bucket = bucket_of(state.key, self.index_buckets)
        return encode_state(state) | {
            "due_bucket": f"{entry.family}#{bucket}" if entry else None,
            "due_at": entry.at_ms if entry else None,
        }


def encode_state(state: KeyState) -> dict[str, Any]:
    """Write a state as an item; zero values are left out, which keeps an item within one write unit."""
    return {
        "pk": partition(state.key),
        "sk": STATE,
        "version": state.version,
        "phase": state.phase.value,
        "cursor": state.cursor or None,
        "tail": state.tail or None,
        "admitted": state.admitted,
        "finished": state.finished,
        "fence": state.fence,
        "generation": state.generation or None,
        "turn": state.turn or None,
        "turn_since_ms": state.turn_since_ms if state.turn else None,
        "run": _encode_run(state.run) if state.run else None,
        "waits_for": state.waits_for.value if state.waits_for else None,
        "waiting_since_ms": state.waiting_since_ms or None,
        "not_before_ms": state.not_before_ms or None,
        "pending_since_ms": state.pending_since_ms or None,
        "parked": _encode_parked(state.parked) if state.parked else None,
        "hold": asdict(state.hold) if state.hold else None,
        "held_route": state.held_route or None,
        "replay": _encode_replay(state.replay) if state.replay else None,
        "missing": state.missing or None,
        "release": state.release or None,
        "dropped_through": state.dropped_through or None,
        "dropped_generation": state.dropped_generation or None,
        "last_replay": state.last_replay or None,
        "handed_on": asdict(state.handed_on) if state.handed_on else None,
    }


def state_document(state: KeyState) -> dict[str, Any]:
    """Write a state as JSON that `decode_state` reads."""
    return decode_item(encode_item(encode_state(state)))


def decode_state(key: str, item: Item) -> KeyState:
    """Read a state from its item; attributes of a later format are passed over. Raises Unreadable."""
    with reading(f"the state of key {key_hash(key)}"):
        state = _decode_state(key, item)
    is_whole = (state.phase is not Phase.RUNNING or state.run) and (state.phase is not Phase.PARKED or state.parked)
    if not is_whole:
        raise Unreadable(f"the state of key {key_hash(key)} is {state.phase}, and doesn't say of what")
    return state


def _state_in(key: str, item: Item | None) -> KeyState:
    """Read a key's state where there may be none yet: it is idle and empty then."""
    return decode_state(key, item) if item else KeyState(key)


def _decode_state(key: str, item: Item) -> KeyState:
    return KeyState(
        key=key,
        version=item["version"],
        phase=Phase(item["phase"]),
        cursor=Position(item.get("cursor", "")),
        tail=Position(item.get("tail", "")),
        admitted=item["admitted"],
        finished=item["finished"],
        fence=item["fence"],
        generation=item.get("generation", 0),
        turn=item.get("turn", 0),
        turn_since_ms=item.get("turn_since_ms", 0),
        run=_decode_run(item["run"]) if "run" in item else None,
        waits_for=WaitsFor(item["waits_for"]) if "waits_for" in item else None,
        waiting_since_ms=item.get("waiting_since_ms", 0),
        not_before_ms=item.get("not_before_ms", 0),
        pending_since_ms=item.get("pending_since_ms", 0),
        parked=_decode_parked(item["parked"]) if "parked" in item else None,
        hold=_decode_hold(item["hold"]) if "hold" in item else None,
        held_route=item.get("held_route", ""),
        replay=_decode_replay(item["replay"]) if "replay" in item else None,
        missing=item.get("missing", 0),
        release=item.get("release", 0),
        dropped_through=Position(item.get("dropped_through", "")),
        dropped_generation=item.get("dropped_generation", 0),
        last_replay=item.get("last_replay", ""),
        handed_on=_decode_handed_on(item["handed_on"]) if "handed_on" in item else None,
    )


def _encode_run(run: Run) -> dict[str, Any]:
    return {
        "first": run.slice.first,
        "last": run.slice.last,
        "count": run.slice.count,
        "route": run.slice.route,
        "arrived_at_ms": run.slice.arrived_at_ms,
        "flow_id": run.slice.flow_id,
        "attempt": run.attempt,
        "workflow": run.workflow,
        "kind": run.kind.value,
        "started_at_ms": run.started_at_ms,
        "deadline_ms": run.deadline_ms,
        "execution_name": run.execution_name,
        "execution_id": run.execution_id,
        "generation": run.generation or None,
        "heartbeat_at_ms": run.heartbeat_at_ms or None,
        "worker_timeout_s": run.worker_timeout_s or None,
        "excused_at_ms": run.excused_at_ms or None,
    }


def _decode_run(item: Item) -> Run:
    return Run(
        slice=Slice(
            first=Position(item["first"]),
            last=Position(item["last"]),
            count=item["count"],
            route=item["route"],
            arrived_at_ms=item["arrived_at_ms"],
            flow_id=item["flow_id"],
        ),
        attempt=item["attempt"],
        workflow=item["workflow"],
        kind=Kind(item["kind"]),
        started_at_ms=item["started_at_ms"],
        deadline_ms=item["deadline_ms"],
        execution_name=item["execution_name"],
        execution_id=item.get("execution_id"),
        generation=item.get("generation", 0),
        heartbeat_at_ms=item.get("heartbeat_at_ms", 0),
        worker_timeout_s=item.get("worker_timeout_s", 0),
        excused_at_ms=item.get("excused_at_ms", 0),
    )


def _encode_parked(parked: Parked) -> dict[str, Any]:
    return {"at_ms": parked.at_ms, "reason": parked.reason, "diverts": parked.diverts or None}


def _decode_parked(item: Item) -> Parked:
    return Parked(item["at_ms"], item["reason"], item.get("diverts", False))


def _decode_hold(item: Item) -> Hold:
    return Hold(item["at_ms"], item["by"], item["reason"])


def _decode_handed_on(item: Item) -> HandedOn:
    return HandedOn(item["key"], item["fence"])


def _encode_replay(replay: Replay) -> dict[str, Any]:
    return {
        "id": replay.id,
        "at_ms": replay.at_ms,
        "generation": replay.generation or None,
        "spans": [[span.first, span.last] for span in replay.spans],
        "resume_at": replay.resume_at or None,
        "is_noted": replay.is_noted or None,
    }


def _decode_replay(item: Item) -> Replay:
    return Replay(
        id=item["id"],
        at_ms=item["at_ms"],
        generation=item.get("generation", 0),
        spans=tuple(Span(Position(first), Position(last)) for first, last in item["spans"]),
        resume_at=Position(item.get("resume_at", "")),
        is_noted=item.get("is_noted", False),
    )
