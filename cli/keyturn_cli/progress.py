"""How far the stack is with the records that were put; and whether it is through with all of them.

Asked about once a second, so it must be cheap: it loads the states of the keys that aren't finished, 100 a call, and
looks nothing up for those that are. A record is finished when its key's cursor is past it. One behind the tail of an
idle key isn't admitted: it is still on its way, or a duplicate, or in quarantine, or set aside; only then the table is
asked which.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from keyturn.core.state import KeyState, Phase
from keyturn_cli.guarantees import Place
from keyturn_cli.putter import Put
from keyturn_cli.store import Store

_LOOKED_UP_MAX = 50
"""Keys whose duplicates one look reads; more only means that the last keys are known to be done a look later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where things stand: records, and keys by what they do."""

    total: int
    done: int = 0
    """Records that are finished, or set aside for good."""
    parked: int = 0
    """Records at which a key is parked, or that wait behind one."""
    running_keys: int = 0
    waiting_keys: int = 0
    parked_keys: int = 0
    open_keys: tuple[str, ...] = ()
    """Keys that will change yet."""

    @property
    def left(self) -> int:
        """Records that aren't through."""
        return self.total - self.done - self.parked

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more by itself."""
        return not self.open_keys


@dataclass(slots=True)
class Watch:
    """Looks at a stack again and again, until it is through with what was put."""

    store: Store
    since_ms: int
    """When the first record was put."""
    _positions: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _settled: dict[str, KeyState] = field(default_factory=dict)
    _aside: set[Place] = field(default_factory=set)
    _versions: dict[str, int] = field(default_factory=dict)
    total: int = 0

    def add(self, puts: Iterable[Put]) -> None:
        """Watch more records; positions rise within a key."""
        for put in puts:
            place = self.store.place(put.record.key, put.sequence_number)
            self._positions[place.key].append(place.position)
            self._settled.pop(place.key, None)
            self.total += 1

    def look(self) -> Standing:
        """Ask the state table."""
        unsettled = [key for key in self._positions if key not in self._settled]
        states = self.store.states(unsettled)
        self._explain(states)
        self._versions = {key: state.version for key, state in states.items()}
        for key, state in states.items():
            if self._may_be_over(state) and all(Place(key, place) in self._aside for place in self._beyond(state)):
                self._settled[key] = state
        return self._standing(self._settled | states)

    def _standing(self, states: Mapping[str, KeyState]) -> Standing:
        phases = Counter(state.phase for state in states.values())
        done = parked = 0
        for key, state in states.items():
            places = [Place(key, position) for position in self._positions[key][self._through(key, state.cursor) :]]
            left = [place for place in places if place not in self._aside]
            done += len(self._positions[key]) - len(left)
            if state.phase is Phase.PARKED:
                parked += sum(place.position <= state.tail for place in left)
        return Standing(
            total=self.total,
            done=done,
            parked=parked,
            running_keys=phases[Phase.RUNNING],
            waiting_keys=phases[Phase.WAITING],
            parked_keys=phases[Phase.PARKED],
            open_keys=tuple(key for key in self._positions if key not in self._settled),
        )

    def _through(self, key: str, position: str) -> int:
        return bisect_right(self._positions[key], position)

    def _beyond(self, state: KeyState) -> list[str]:
        """A key's records behind its tail."""
        return self._positions[state.key][self._through(state.key, state.tail) :]

    @staticmethod
    def _may_be_over(state: KeyState) -> bool:
        if state.phase is Phase.PARKED:
            return not (state.parked is not None and state.parked.diverts and state.has_pending)
        return state.phase is Phase.IDLE

    def _explain(self, states: Mapping[str, KeyState]) -> None:
        """Find out why records behind the tail of these keys weren't admitted."""
        unexplained = {
            key: state
            for key, state in states.items()
            if self._may_be_over(state) and any(Place(key, at) not in self._aside for at in self._beyond(state))
        }
        if not unexplained:
            return
        self._aside |= {found.place for found in self.store.quarantined(self.since_ms)}
        self._aside |= self.store.set_aside()
        # A duplicate has a first event, so its key has a state; one that just changed is likely to change again.
        quiet = [
            key for key, state in unexplained.items() if state.version and self._versions.get(key) == state.version
        ]
        self._aside |= self.store.duplicates(quiet[:_LOOKED_UP_MAX])
