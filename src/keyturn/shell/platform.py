"""Everything that the shell works with, wired together once a process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from keyturn.adapters.archive import Archive
from keyturn.adapters.capacity import Capacity
from keyturn.adapters.clients import client
from keyturn.adapters.controls import Controls
from keyturn.adapters.duplicates import DuplicateIndex
from keyturn.adapters.executions import Executions
from keyturn.adapters.index import DueIndex
from keyturn.adapters.keys import KeyStore
from keyturn.adapters.log import EventLog
from keyturn.adapters.open_items import OpenItems
from keyturn.adapters.outcomes import OutcomeStore
from keyturn.adapters.passes import Passes
from keyturn.adapters.past_steps import PastSteps
from keyturn.adapters.payloads import PayloadStore
from keyturn.adapters.process import THIS, Process
from keyturn.adapters.quarantine import Quarantine
from keyturn.adapters.renewal import Renewal
from keyturn.adapters.replays import ReplayStore
from keyturn.adapters.rollouts import ReleaseStore
from keyturn.adapters.schemas import load_routes
from keyturn.adapters.stream import Stream
from keyturn.adapters.stream_reader import StreamReader
from keyturn.adapters.table import Table
from keyturn.adapters.wake import WakeQueue
from keyturn.adapters.workflows import Workflows
from keyturn.core.route import Routes
from keyturn.core.state import Clock
from keyturn.settings import Settings


@dataclass(frozen=True, slots=True)
class Platform:
    """The stores, services and settings of one stack, and the process that works with them."""

    settings: Settings
    routes: Routes
    keys: KeyStore
    log: EventLog
    duplicates: DuplicateIndex
    quarantine: Quarantine
    outcomes: OutcomeStore
    payloads: PayloadStore
    archive: Archive
    open_items: OpenItems
    renewal: Renewal
    stream: Stream
    index: DueIndex
    capacity: Capacity
    controls: Controls
    releases: ReleaseStore
    passes: Passes
    executions: Executions
    wake: WakeQueue
    past_steps: PastSteps
    replays: ReplayStore
    stream_reader: StreamReader
    workflows: Workflows
    process: Process

    @property
    def clock(self) -> Clock:
        """Tells the time."""
        return self.process.clock

    @classmethod
    def build(
        cls, settings: Settings, routes: Routes, client_of: Callable[[str], Any] = client, process: Process = THIS
    ) -> Self:
        """Wire the adapters together; `client_of` gives the client of an AWS service by its name."""
        table = Table(client_of("dynamodb"), settings.state_table, process)
        payloads = PayloadStore(client_of, settings.payload_bucket)
        index = DueIndex(table, settings.index_buckets)
        return cls(
            settings=settings,
            routes=routes,
            keys=KeyStore(table, settings.index_buckets, settings.index_rounding_ms),
            log=EventLog(table, settings.event_retention_s),
            duplicates=DuplicateIndex(table, settings.duplicate_window_s),
            quarantine=Quarantine(table, payloads, settings.event_retention_s, settings.index_buckets),
            outcomes=OutcomeStore(table, settings.event_retention_s, settings.index_buckets),
            payloads=payloads,
            archive=Archive(client_of, settings.archive_bucket),
            open_items=OpenItems(table, index, settings.event_retention_s),
            renewal=Renewal(table, payloads, settings.event_retention_s),
            stream=Stream(client_of, settings.stream_name),
            index=index,
            capacity=Capacity(table, index, settings.max_in_flight_runs),
            controls=Controls(table, settings.event_retention_s),
            releases=ReleaseStore(table),
            passes=Passes(table),
            executions=Executions(client_of("stepfunctions"), settings.state_machine_prefix),
            wake=WakeQueue(client_of("sqs"), settings.wake_queue_url),
            past_steps=PastSteps(table),
            replays=ReplayStore(table),
            stream_reader=StreamReader(client_of, settings.stream_name, process),
            workflows=Workflows(client_of("stepfunctions"), settings.state_machine_prefix),
            process=process,
        )


def deployed() -> Platform:
    """Build the platform of the deployed function that this process is; raises what its settings or routes lack."""
    return Platform.build(Settings.from_environment(), load_routes())
