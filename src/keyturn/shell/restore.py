"""Puts events back into the log whose time to live has ended there: as they were, for a replay to run them again."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keyturn.adapters.archive import Archived
from keyturn.adapters.duplicates import Identified
from keyturn.adapters.records import read_records
from keyturn.core.event import Admissible
from keyturn.core.replay_job import ReplayJob
from keyturn.core.replay_plan import Heading, finished_through
from keyturn.shell.log_entries import as_archived, as_entry
from keyturn.shell.platform import Platform


def restore(platform: Platform, job: ReplayJob, events: Iterable[Archived]) -> int:
    """Put back what the job selects, was finished once, and is not in the log any more; return how many events.

    Nothing of keys that can't be read: the plan refuses them.
    """
    wanted = [event for event in events if _may_be_gone(platform, event) and _is_selected(platform, job, event)]
    if not wanted:
        return 0
    in_log = platform.log.present((event.key, event.position) for event in wanted)
    states, _ = platform.keys.load_readable({event.key for event in wanted})
    through = {state.key: finished_through(state) for state in states}
    gone = [
        event
        for event in wanted
        if (event.key, event.position) not in in_log and event.key in through and event.position <= through[event.key]
    ]
    platform.log.write(((event.key, as_entry(platform, event)) for event in gone), platform.clock())
    return len(gone)


def from_stream(platform: Platform, records: Sequence[Mapping[str, Any]]) -> list[Archived]:
    """Return the events among records of the stream that are old enough to have left the log.

    What its producer had sent again isn't among them: it never was in the log.
    """
    events = [event for event in _events(platform, records) if _may_be_gone(platform, as_archived(event))]
    identified = [Identified(event.key, event.identity, event.position) for event in events]
    known = platform.duplicates.first_positions(identified)
    first = dict(known)
    for one in identified:
        first.setdefault((one.key, one.identity), one.position)
    new = [one for one in identified if first[one.key, one.identity] == one.position]
    platform.duplicates.remember(new, platform.clock())
    places = {(one.key, one.position) for one in new}
    return [as_archived(event) for event in events if (event.key, event.position) in places]


def _events(platform: Platform, records: Sequence[Mapping[str, Any]]) -> list[Admissible]:
    settings = platform.settings
    found = read_records(
        {"Records": [_encoded(record) for record in records]},
        platform.routes,
        epoch=settings.stream_epoch,
        accepts_aggregated=settings.accepts_aggregated_records,
    )
    return [record for record in found if isinstance(record, Admissible)]


def _encoded(record: Mapping[str, Any]) -> Mapping[str, Any]:
    kinesis = record["kinesis"]
    return {**record, "kinesis": {**kinesis, "data": base64.b64encode(kinesis["data"]).decode()}}


def _may_be_gone(platform: Platform, event: Archived) -> bool:
    return event.arrived_at_ms < platform.clock() - platform.settings.event_retention_s * 1000


def _is_selected(platform: Platform, job: ReplayJob, event: Archived) -> bool:
    route = platform.routes.for_type(event.type)
    heading = Heading(event.position, event.type, event.flow_id, event.arrived_at_ms)
    return job.selection.takes(heading, route.name if route else "")
