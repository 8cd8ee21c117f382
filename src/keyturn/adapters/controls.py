"""What keeps routes from starting runs: holds that people set, and circuit breakers; the ramps of released routes; and
which releases runs take.

All of it stands in one small partition, which every function reads at most once a second: a hold or a release takes
effect within that second, and costs a run nothing.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from keyturn.adapters.rollouts import ROLLOUT, decode_rollout, encode_rollout
from keyturn.adapters.table import Item, ItemExists, Table, reading
from keyturn.core.breaker import Breaker, BreakerPhase, Failure, Probe
from keyturn.core.rollout import NO_RELEASE, NOTHING_PUBLISHED, Pin, Rollout
from keyturn.core.route import Route
from keyturn.core.route_hold import Ramp, RouteHold

PARTITION: Final = "control"
OPERATIONS: Final = "operations"
"""The partition of what people did to routes and breakers, in the order of time."""

HOLD_EVERYTHING: Final = "hold#everything"
HOLD_ROUTE: Final = "hold#route#"
_RAMP: Final = "ramp#"
_BREAKER: Final = "breaker#"

READ_EVERY_MS: Final = 1_000


class Moved(Exception):
    """Somebody else changed a control first; `standing` is what stands there, None if nothing does."""

    def __init__(self, standing: Any) -> None:
        """Keep what stands there."""
        super().__init__("a control was changed by somebody else")
        self.standing = standing


@dataclass(frozen=True, slots=True)
class Standing:
    """All controls as they were at one moment."""

    holds: tuple[RouteHold, ...] = ()
    ramps: tuple[Ramp, ...] = ()
    breakers: tuple[Breaker, ...] = ()
    rollout: Rollout = NOTHING_PUBLISHED

    @property
    def routes(self) -> frozenset[str]:
        """Every route that is named here: a deploy may have removed it while its keys were held."""
        own = {hold.route for hold in self.holds} | {ramp.route for ramp in self.ramps}
        named = [hold.routes for hold in self.holds] + [breaker.routes for breaker in self.breakers]
        return frozenset(own.union(*named)) - {""}

    def hold_of(self, route: str) -> RouteHold | None:
        """Return a route's own hold (everything's for an empty name), released ones included."""
        return next((hold for hold in self.holds if hold.route == route), None)

    def ramp_of(self, route: str) -> Ramp | None:
        """Return the ramp of a released route."""
        return next((ramp for ramp in self.ramps if ramp.route == route), None)

    def breaker(self, name: str) -> Breaker:
        """Return a breaker; one that never heard of a failure is closed."""
        return next((breaker for breaker in self.breakers if breaker.name == name), Breaker(name))

    def is_held_by_person(self, route: str) -> bool:
        """Whether a person holds a route, by itself or with everything."""
        return any(hold is not None and hold.is_held for hold in (self.hold_of(""), self.hold_of(route)))

    def holds_route(self, route: Route) -> bool:
        """Whether no run of a route may start."""
        is_broken = route.breaker is not None and self.breaker(route.breaker.name).is_holding
        return is_broken or self.is_held_by_person(route.name)


@dataclass(frozen=True, slots=True)
class RouteOperation:
    """What a person asked of a route, of everything (empty), or of the breaker of a route."""

    command: str
    route: str
    by: str
    reason: str
    at_ms: int


@dataclass(slots=True)
class Controls:
    """The controls of one stack."""

    table: Table
    retention_s: int
    """How long it is remembered what people did."""
    _standing: Standing = field(default_factory=Standing)
    _read_at_ms: int = 0
    _reading: AbstractContextManager[Any] = field(init=False)

    def __post_init__(self) -> None:
        """Let one thread read at a time."""
        self._reading = self.table.process.new_lock()

    def holds(self, route: Route | None) -> bool:
        """Whether no run of a route may start now. What has no route isn't held: its key is parked with that reason."""
        return route is not None and self.recent().holds_route(route)

    def holds_anything(self) -> bool:
        """Whether some route is held now."""
        standing = self.recent()
        is_broken = any(breaker.is_holding for breaker in standing.breakers)
        return is_broken or any(hold.is_held for hold in standing.holds)

    def recent(self) -> Standing:
        """Return the controls as they were within the last second."""
        with self._reading:
            # A clock that was ahead may be right by now: what was read then isn't of the future.
            if 0 <= self.table.process.clock() - self._read_at_ms < READ_EVERY_MS:
                return self._standing
            return self._read()

    def read(self) -> Standing:
        """Read all controls, strongly consistent."""
        with self._reading:
            return self._read()

    def pin(self, release: int, machine: str) -> Pin:
        """Tell what a run of a state machine takes of its release."""
        rollout = self.recent().rollout
        is_known = release == NO_RELEASE or release in rollout.machines
        return (rollout if is_known else self.read().rollout).pin(release, machine)

    def _read(self) -> Standing:
        began_ms = self.table.process.clock()
        arguments = {"KeyConditionExpression": "pk = :pk", "ConsistentRead": True}
        self._standing = standing_of(self.table.query(arguments, {"pk": PARTITION}))
        self._read_at_ms = began_ms
        return self._standing

    # Holds

    def hold(self, hold: RouteHold, done: RouteOperation) -> None:
        """Set a hold, and record who did; raises Moved when one stands there."""
        self._put_hold(hold, "attribute_not_exists(pk) OR is_held = :no", {"no": False}, done)

    def release(self, seen: RouteHold, released: RouteHold, done: RouteOperation) -> None:
        """End the hold that was seen, and record who did; raises Moved when another stands there, or none.

        What it was is kept for as long as operations are, so that whoever comes second learns who was first.
        """
        values: Item = {"yes": True, "seen": seen.at_ms}
        self._put_hold(released, "is_held = :yes AND at_ms = :seen", values, done)

    def _put_hold(self, hold: RouteHold, condition: str, values: Item, done: RouteOperation) -> None:
        item = _encode_hold(hold) | ({} if hold.is_held else {"expires_at": self._expires_at(hold.at_ms)})
        try:
            self.table.put_if(item, condition, values, [self._operation_item(done)])
        except ItemExists as occupied:
            raise Moved(_decode_hold(occupied.item) if occupied.item else None) from occupied

    def record(self, done: RouteOperation) -> None:
        """Record what a person did where no hold changed."""
        self.table.put(self._operation_item(done))

    def operations(self, limit: int) -> list[RouteOperation]:
        """Return what people did to routes and breakers, the latest first."""
        arguments = {"KeyConditionExpression": "pk = :pk", "ScanIndexForward": False, "ConsistentRead": True}
        return [_decode_operation(item) for item in self.table.query(arguments, {"pk": OPERATIONS}, limit)]

    def _operation_item(self, done: RouteOperation) -> Item:
        place = {"pk": OPERATIONS, "sk": f"{done.at_ms:015d}#{done.command}#{done.route}"}
        return place | asdict(done) | {"expires_at": self._expires_at(done.at_ms)}

    def _expires_at(self, at_ms: int) -> int:
        return at_ms // 1000 + self.retention_s

    # Ramps

    def put_ramp(self, ramp: Ramp) -> None:
        """Begin a ramp, in the place of one that is under way."""
        self.table.put({"pk": PARTITION, "sk": _RAMP + ramp.route, **asdict(ramp)})

    def step_ramp(self, seen: Ramp, stepped: Ramp) -> bool:
        """Take the batch of a ramp that was seen; only one of those who saw it does."""
        item = {"pk": PARTITION, "sk": _RAMP + stepped.route, **asdict(stepped)}
        try:
            self.table.put_if(item, _SAME_RAMP, _ramp_values(seen))
        except ItemExists:
            return False
        return True

    def end_ramp(self, seen: Ramp) -> None:
        """Take a ramp away, unless somebody began it anew."""
        self.table.delete_if(PARTITION, _RAMP + seen.route, _SAME_RAMP, _ramp_values(seen))

    # Breakers

    def breaker(self, name: str) -> Breaker:
        """Read one breaker, strongly consistent."""
        item = self.table.get(PARTITION, _BREAKER + name)
        return _decode_breaker(item) if item else Breaker(name)

    def save_breaker(self, breaker: Breaker) -> Breaker:
        """Write a breaker over the version it was made from; raises Moved when it has moved on."""
        saved = replace(breaker, version=breaker.version + 1)
        condition, values = (
            ("version = :expected", {"expected": breaker.version})
            if breaker.version
            else ("attribute_not_exists(pk)", None)
        )
        try:
            self.table.put_if(_encode_breaker(saved), condition, values)
        except ItemExists as occupied:
            raise Moved(_decode_breaker(occupied.item) if occupied.item else Breaker(breaker.name)) from occupied
        self._remember(saved)
        return saved

    def forget_breaker(self, seen: Breaker) -> None:
        """Take a breaker away that no route has any more."""
        self.table.delete_if(PARTITION, _BREAKER + seen.name, "version = :seen", {"seen": seen.version})

    # Releases

    def save_rollout(self, rollout: Rollout, together: Sequence[Item]) -> Rollout:
        """Write the releases over the version they were made from, and other items with them, all or nothing.

        Raises Moved when they have moved on. Two may make the very same of them, as when each gives the next number
        out: who wrote it stands in the item, so that only one of them takes it for its own.
        """
        saved = replace(rollout, version=rollout.version + 1)
        condition, values = (
            ("version = :expected", {"expected": rollout.version})
            if rollout.version
            else ("attribute_not_exists(pk)", None)
        )
        item = {"pk": PARTITION, "sk": ROLLOUT, "writer": self.table.process.token(), **encode_rollout(saved)}
        try:
            self.table.put_if(item, condition, values, together)
        except ItemExists as occupied:
            raise Moved(decode_rollout(occupied.item) if occupied.item else NOTHING_PUBLISHED) from occupied
        with self._reading:
            self._standing = replace(self._standing, rollout=saved)
        return saved

    def _remember(self, breaker: Breaker) -> None:
        """Let this process see at once what it wrote itself."""
        with self._reading:
            others = tuple(one for one in self._standing.breakers if one.name != breaker.name)
            self._standing = replace(self._standing, breakers=(*others, breaker))


_SAME_RAMP: Final = "since_ms = :since AND next_at_ms = :next"


def _ramp_values(ramp: Ramp) -> Item:
    return {"since": ramp.since_ms, "next": ramp.next_at_ms}


def standing_of(items: Iterable[Item]) -> Standing:
    """Read controls from the items of their partition; others are passed over."""
    holds: list[RouteHold] = []
    ramps: list[Ramp] = []
    breakers: list[Breaker] = []
    rollout = NOTHING_PUBLISHED
    for item in items:
        name: str = item["sk"]
        if name == HOLD_EVERYTHING or name.startswith(HOLD_ROUTE):
            holds.append(_decode_hold(item))
        elif name.startswith(_RAMP):
            ramps.append(_decode_ramp(item))
        elif name.startswith(_BREAKER):
            breakers.append(_decode_breaker(item))
        elif name == ROLLOUT:
            rollout = decode_rollout(item)
    return Standing(tuple(holds), tuple(ramps), tuple(breakers), rollout)


def _encode_hold(hold: RouteHold) -> dict[str, Any]:
    name = HOLD_ROUTE + hold.route if hold.route else HOLD_EVERYTHING
    return {"pk": PARTITION, "sk": name, **asdict(hold)}


def _decode_hold(item: Item) -> RouteHold:
    with reading("the hold of a route"):
        return RouteHold(
            item["route"], item["is_held"], item["by"], item["reason"], item["at_ms"], tuple(item.get("routes", ()))
        )


def _decode_ramp(item: Item) -> Ramp:
    with reading("the ramp of a released route"):
        return Ramp(item["route"], item["since_ms"], item["keys"], item["next_at_ms"])


def _decode_operation(item: Item) -> RouteOperation:
    with reading("an operation on a route"):
        return RouteOperation(item["command"], item["route"], item["by"], item["reason"], item["at_ms"])


def _encode_breaker(breaker: Breaker) -> dict[str, Any]:
    return {
        "pk": PARTITION,
        "sk": _BREAKER + breaker.name,
        "name": breaker.name,
        "version": breaker.version,
        "phase": breaker.phase.value,
        "failures": [[failure.key_hash, failure.at_ms] for failure in breaker.failures],
        "opened_at_ms": breaker.opened_at_ms,
        "closed_at_ms": breaker.closed_at_ms,
        "wait_ms": breaker.wait_ms,
        "probe_at_ms": breaker.probe_at_ms,
        "probe": asdict(breaker.probe) if breaker.probe else None,
        "routes": list(breaker.routes),
    }


def _decode_breaker(item: Item) -> Breaker:
    probe = item.get("probe")
    with reading("a circuit breaker"):
        return Breaker(
            name=item["name"],
            version=item["version"],
            phase=BreakerPhase(item["phase"]),
            failures=tuple(Failure(key_hash, at_ms) for key_hash, at_ms in item["failures"]),
            opened_at_ms=item["opened_at_ms"],
            closed_at_ms=item["closed_at_ms"],
            wait_ms=item["wait_ms"],
            probe_at_ms=item["probe_at_ms"],
            probe=Probe(probe["key"], probe["until_ms"]) if probe else None,
            routes=tuple(item.get("routes", ())),
        )
