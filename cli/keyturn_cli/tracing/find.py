"""Finds the event that is meant: by its key or by the logs, else in quarantine, else by a scan of the table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from keyturn.core.event import identity_hash
from keyturn.core.naming import key_hash
from keyturn_cli.errors import NotFound
from keyturn_cli.looking.fates import is_finished
from keyturn_cli.moments import clock_text
from keyturn_cli.tracing.items import EVENT, QUARANTINE_READ_A_DAY_MAX, Items
from keyturn_cli.tracing.logs import Logs
from keyturn_cli.tracing.story import Line, Story
from keyturn_cli.tracing.telling import Envelope, Item, Material, tell, tell_of_quarantined

_FLOW_ID: Final = re.compile(r"[0-9a-f]{32}")
_DIGITS_OF_FLOW_ID: Final = 32
_NAMED_MAX: Final = 5
_BEFORE_MS: Final = 60_000
"""Lines of so long before an event's arrival are looked at, since clocks differ."""
_BEHIND_MS: Final = 900_000
"""Lines of so long after the last that the table knows of a finished event."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user said of the event."""

    id: str
    """A flow id, or the CloudEvent's id."""
    key: str = ""
    source: str = ""

    @property
    def flow_ids(self) -> list[str]:
        """Flow ids that it may have."""
        derived = [identity_hash(self.source, self.id)[:_DIGITS_OF_FLOW_ID]] if self.source else []
        return [self.id, *derived] if _FLOW_ID.fullmatch(self.id) else derived

    def __str__(self) -> str:
        where = "".join(
            (f" of source {self.source!r}" if self.source else "", f" in key {self.key!r}" if self.key else "")
        )
        return f"event {self.id!r}{where}"


@dataclass(frozen=True, slots=True)
class Place:
    """An event's log item, and its key."""

    key: str
    event: Item


Scan = Callable[[], Iterator[Item]]
"""Reads every event of the table; asks first."""


@dataclass(frozen=True, slots=True)
class Finder:
    """Looks for one event."""

    items: Items
    logs: Logs
    now_ms: int
    since_ms: int
    """How far back logs and quarantine are searched."""

    def story(self, wanted: Wanted, scan: Scan | None) -> Story:
        """Find the event and tell its story. Raises NotFound, with what else could be said."""
        places = self._in_key(wanted) if wanted.key else self._in_logs(wanted)
        if not places:
            looked_at = Counter[str]()
            quarantined = self._in_quarantine(wanted, looked_at)
            if quarantined is not None:
                return quarantined
            places = list(self._matching(scan(), wanted, fetches=False)) if scan else []
            if not places:
                raise NotFound(self._unknown(wanted, self._told_of(looked_at), is_scanned=scan is not None))
        return self._story_of(_only(wanted, places))

    def _in_key(self, wanted: Wanted) -> list[Place]:
        if wanted.source:
            position = self.items.position_of(wanted.key, wanted.source, wanted.id)
            event = self.items.event(wanted.key, position) if position else None
            if event is not None:
                return [Place(wanted.key, event)]
        return list(self._matching(self.items.log(wanted.key), wanted))

    def _matching(self, events: Iterable[Item], wanted: Wanted, *, fetches: bool = True) -> Iterator[Place]:
        """Look through events; with `fetches` into those too that lie in the payload bucket, a request for each."""
        for item in events:
            if item["flow_id"] in wanted.flow_ids or self._has_id(item, wanted, fetches=fetches):
                yield Place(item["pk"].removeprefix("key#"), item)

    def _is_wanted(self, item: Item, wanted: Wanted) -> bool:
        """Whether a record in quarantine is meant: by its id, or by the flow id that it has as an event."""
        envelope = self.items.envelope(item)
        return envelope.flow_id in wanted.flow_ids or _is_named(envelope, wanted)

    def _has_id(self, item: Item, wanted: Wanted, *, fetches: bool = True) -> bool:
        return _is_named(self.items.envelope(item, fetches=fetches), wanted)

    def _in_logs(self, wanted: Wanted) -> list[Place]:
        """Find the event by the lines that carry its flow id. Raises NotFound when they don't name the key itself."""
        lines = self.logs.lines(wanted.flow_ids, self.since_ms, self.now_ms) if wanted.flow_ids else []
        named = {
            (line.get("key"), line.get("first") or line.get("position"))
            for line in lines
            if line.get("flow_id") in wanted.flow_ids and line.get("key")
        }
        found = {place: self.items.event(*place) for place in named}
        if named and not any(found.values()):
            raise NotFound(
                f"{wanted}: the logs name its key as {min(named)[0]!r}, under which the table has no such event. "
                "Its route keeps keys out of logs, or it has expired: say --key"
            )
        return [Place(key, event) for (key, _), event in found.items() if event is not None]

    def _in_quarantine(self, wanted: Wanted, looked_at: Counter[str]) -> Story | None:
        """Find a record that never became an event; counts by day what was looked at."""

        def counted() -> Iterator[Item]:
            for item in self.items.quarantined(self.since_ms, self.now_ms):
                looked_at[item["pk"].partition("#")[2]] += 1
                yield item

        matching = [item for item in counted() if wanted.key in {"", item["key"]} and self._is_wanted(item, wanted)]
        if not matching:
            return None
        latest = max(matching, key=lambda item: int(item["quarantined_at_ms"]))
        story = tell_of_quarantined(latest, self.items.envelope(latest), self._lines_of_quarantined(latest))
        others = f"the latest of {len(matching)} records in quarantine with this id"
        return replace(story, notes=(*story.notes, others)) if len(matching) > 1 else story

    def _lines_of_quarantined(self, item: Item) -> list[Line]:
        position = item["sk"].rpartition("#")[2]
        lines = self.logs.lines([position], item["arrived_at_ms"] - _BEFORE_MS, self.now_ms)
        return [line for line in lines if line.get("position") == position]

    def _story_of(self, place: Place) -> Story:
        found = self.items.material(place.key, place.event)
        firsts = self.items.firsts_of(found)
        ended_ms = self.items.earlier_ended_ms(place.key, min(firsts))
        found = replace(found, earlier_ended_ms=ended_ms, now_ms=self.now_ms)
        story = tell(found)
        since_ms = place.event["arrived_at_ms"] - _BEFORE_MS
        words = [place.event["flow_id"], *sorted(firsts - {found.position})]
        lines = about(story, firsts, self.logs.lines(words, since_ms, self._until_ms(found, story)))
        has_run = bool(story.attempts)
        return tell(
            replace(found, lines=lines, notes=[*self.logs.notes, *self._note(lines, since_ms, has_run=has_run)])
        )

    def _until_ms(self, found: Material, story: Story) -> int:
        if not is_finished(found.state, found.position):
            return self.now_ms
        return min(self.now_ms, story.moments[-1].at_ms + _BEHIND_MS)

    def _note(self, lines: list[Line], since_ms: int, *, has_run: bool) -> Iterator[str]:
        keep_since_ms = self.logs.keep_since_ms(self.now_ms)
        if since_ms < keep_since_ms:
            yield "logs don't reach back to its arrival: their retention has passed"
        elif has_run and not lines and self.logs.groups:
            yield "no function has logged a line of it: is LogLevel above INFO? This is what the table holds"
        elif not self.logs.groups and not self.logs.notes:
            yield "the stack has no log groups"

    def _told_of(self, looked_at: Counter[str]) -> str:
        """Say which part of the quarantine was searched."""
        cut = [day for day, count in sorted(looked_at.items()) if count == QUARANTINE_READ_A_DAY_MAX]
        parts = f", and of {', '.join(cut)} {QUARANTINE_READ_A_DAY_MAX:,} records only" if cut else ""
        return f"in quarantine (since {clock_text(self.since_ms)}{parts}; --since looks further back)"

    def _unknown(self, wanted: Wanted, quarantine: str, *, is_scanned: bool) -> str:
        if is_scanned:
            large = "" if wanted.source else ", or so large that it is found by --source only"
            return f"{wanted} is no event of the table, never put or expired{large}, nor {quarantine}"
        if wanted.key:
            asked = "Is the key right, and the id? Or it has expired"
            return f"{wanted} is neither in the key's log nor {quarantine}. {asked}"
        notes = f" ({'; '.join(self.logs.notes)})" if self.logs.notes else ""
        if not wanted.flow_ids:
            no_logs = "no flow id, by which logs could be searched"
            return f"{wanted} is {no_logs}, nor {quarantine}: say --key or --source, or --scan"
        return f"{wanted} is neither in the logs{notes} nor {quarantine}: say --key, or --scan"


def about(story: Story, firsts: Collection[str], lines: Iterable[Line]) -> list[Line]:
    """The lines about one event: its own, and those of runs that it was part of, which begin at one of `firsts`.

    A flow id alone doesn't do: a trace may hold many events, and a run's lines have its first event's.
    """
    subject, fences = story.subject, {attempt.fence for attempt in story.attempts}
    names = {subject.key, key_hash(subject.key)}
    return [
        line
        for line in lines
        if line.get("key") in names
        and (
            subject.position in {line.get("position"), line.get("first")}
            or (line.get("position") in firsts and line.fence in fences)
        )
    ]


def _is_named(envelope: Envelope, wanted: Wanted) -> bool:
    return envelope.id == wanted.id and wanted.source in {"", envelope.source}


def _only(wanted: Wanted, places: list[Place]) -> Place:
    if len(places) == 1:
        return places[0]
    named = ", ".join(
        f"key {place.key!r} position {place.event['sk'].removeprefix(EVENT)}" for place in places[:_NAMED_MAX]
    )
    raise NotFound(
        f"{wanted} isn't one event but {len(places)} ({named}): give the event's id with --key and --source instead"
    )
