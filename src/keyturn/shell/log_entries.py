"""An event on its way into the log: large ones go to the payload bucket, the log keeps where they lie."""

from keyturn.adapters.archive import Archived
from keyturn.core.event import Admissible
from keyturn.core.log_entry import LogEntry, PayloadReference
from keyturn.limits import EVENT_INLINE_BYTES_MAX
from keyturn.shell.platform import Platform


def as_archived(event: Admissible) -> Archived:
    """Keep of an event what the archive keeps."""
    return Archived(event.key, event.position, event.arrived_at_ms, event.type, event.flow_id, event.raw)


def as_entry(platform: Platform, event: Archived) -> LogEntry:
    """Make the log's entry of an event: the same one each time."""
    content: bytes | PayloadReference = event.event
    if len(event.event) > EVENT_INLINE_BYTES_MAX:
        content = platform.payloads.put(event.key, event.position, event.event)
    return LogEntry(event.position, event.type, event.flow_id, event.arrived_at_ms, content)
