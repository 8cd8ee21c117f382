"""What brings records to the dispatcher and wake-ups to the watchdog: the event source mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from keyturn_local import state as noted

from keyturn_cli.doctor.examination import Examination
from keyturn_cli.doctor.finding import Finding, failed, listed, not_checked, ok
from keyturn_cli.project import local_settings

STREAM_MAPPING: Final = "DispatcherFunctionRecords"
WAKE_MAPPING: Final = "WatchdogFunctionWakeUps"
_READING: Final = frozenset({"Enabled", "Enabling", "Updating"})
_DEPLOY: Final = "deploy the stack again: sam deploy"


def check_sources(examined: Examination) -> Iterator[Finding]:
    """The stream's mapping, and the wake-up queue's."""
    stream = mapping_of(examined, STREAM_MAPPING)
    yield _poller_alive(examined) if examined.target.is_local else _stream_read(stream)
    yield _gives_up_late(examined, stream)
    yield _wake_ups_read(mapping_of(examined, WAKE_MAPPING))


def mapping_of(examined: Examination, logical_id: str) -> Mapping[str, Any]:
    """An event source mapping of the stack, as Lambda describes it."""
    mapping: Mapping[str, Any] = examined.client("lambda").get_event_source_mapping(
        UUID=examined.resource(logical_id).id
    )
    return mapping


def _stream_read(mapping: Mapping[str, Any]) -> Finding:
    name = "stream is read"
    if mapping["State"] not in _READING:
        return failed(
            name,
            f"the mapping from the stream to the dispatcher is {mapping['State']}: nothing new is admitted",
            "aws lambda update-event-source-mapping --enabled --uuid "
            f"{mapping['UUID']}; a deploy with MappingEnabled=false switched it off on purpose",
        )
    result = str(mapping.get("LastProcessingResult", ""))
    if result.startswith("PROBLEM"):
        return failed(name, f"Lambda can't read the stream: {result}", "check the dispatcher's role, and its log")
    return ok(name, f"the mapping is {mapping['State']}{f' ({result})' if result else ''}")


def _poller_alive(examined: Examination) -> Finding:
    """On the local engine the event source takes the mapping's place: `keyturn up` runs it in the background."""
    name = "stream is read"
    running = noted.read(local_settings().state_dir)
    if running is None or running.poller is None or not examined.target.where.endswith(f":{running.port}"):
        return not_checked(
            name, "no event source runs in the background here: who started this engine reads the stream"
        )
    if not running.poller.alive:
        return failed(name, f"the event source (process {running.poller.pid}) died", "keyturn down && keyturn up")
    return ok(name, f"the local event source (process {running.poller.pid}) is alive")


def _gives_up_late(examined: Examination, mapping: Mapping[str, Any]) -> Finding:
    name = "records not given up early"
    timeout_s = examined.functions["DispatcherFunction"]["Timeout"]
    age_s = mapping.get("MaximumRecordAgeInSeconds", -1)
    destination = mapping.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
    wrong = [
        *(["it doesn't report item failures"] if not _reports(mapping) else []),
        *(["it gives up after so many tries"] if mapping.get("MaximumRetryAttempts", -1) != -1 else []),
        *([f"it gives up after {age_s} s, its dispatcher may take {timeout_s} s"] if -1 < age_s <= timeout_s else []),
        *(["what it gives up goes nowhere"] if not destination else []),
    ]
    if wrong:
        return failed(name, f"the stream's mapping isn't as deployed: {listed(wrong)}", _DEPLOY)
    return ok(name, f"after {age_s} s, never by count, and then to {str(destination).rpartition(':')[2]}")


def _reports(mapping: Mapping[str, Any]) -> bool:
    return "ReportBatchItemFailures" in mapping.get("FunctionResponseTypes", [])


def _wake_ups_read(mapping: Mapping[str, Any]) -> Finding:
    name = "wake-ups are read"
    if mapping["State"] not in _READING:
        return failed(
            name,
            f"the mapping from the wake-up queue to the watchdog is {mapping['State']}: retries wait for its schedule",
            f"aws lambda update-event-source-mapping --enabled --uuid {mapping['UUID']}",
        )
    if not _reports(mapping):
        return failed(name, "the wake-up queue's mapping doesn't report item failures", _DEPLOY)
    return ok(name, f"the mapping is {mapping['State']}")
