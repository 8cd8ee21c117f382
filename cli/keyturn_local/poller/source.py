"""The event source as a whole: finds shards, runs each in its turn.

source = event_source(settings, function_name)
source.start()          # returns at once; threads are daemons
source.status()         # counts so far
source.stop()           # promptly: what is at the function is delivered again by the next start
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from keyturn_local.errors import MappingError
from keyturn_local.poller import aws
from keyturn_local.poller.checkpoints import Checkpoints, InFile, InMemory
from keyturn_local.poller.destination import Destination
from keyturn_local.poller.lineage import ShardInfo, may_begin
from keyturn_local.poller.mapping import Mapping, Start
from keyturn_local.poller.shard import ShardRunner, Tally

if TYPE_CHECKING:
    from keyturn_local.settings import LocalSettings

log = logging.getLogger("keyturn.poller")

LIST_EVERY_S: Final = 2.0
"""How often shards are listed; also at once when one is finished."""


@dataclass(slots=True, kw_only=True)
class EventSource:
    """Delivers one stream's records to one function, as the mapping says."""

    mapping: Mapping
    clients: aws.Clients
    checkpoints: Checkpoints = field(default_factory=InMemory)
    clock: Callable[[], float] = time.time
    _runners: dict[str, ShardRunner] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)
    _finished: set[str] = field(default_factory=set)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _wake: threading.Event = field(default_factory=threading.Event)
    _role_arn: str = ""
    _start_at_s: float | None = None
    _stream_created_s: float = 0.0

    def start(self) -> None:
        """Begin, in threads of its own. Raises MappingError when stream or function can't be found."""
        try:
            self._role_arn = aws.role_of(self.clients.invoker, self.mapping.function_arn)
            self._stream_created_s = aws.stream_created_s(self.clients.kinesis, self.mapping.stream_arn)
        except (ClientError, BotoCoreError) as error:
            raise MappingError(f"the mapping's stream or function can't be reached: {error}") from error
        # LATEST is the time of the first start: then a child shard, or a restart, can't skip what came in between.
        first_start_s = self.checkpoints.started_at_s(self.clock())
        self._start_at_s = first_start_s if self.mapping.start is Start.LATEST else self.mapping.start_at_s
        self._run_thread("shards", self._watch_shards)

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """Stop reading and handing over. Waits for the shard threads, not for running functions."""
        self._stopping.set()
        self._wake.set()
        deadline_s = time.monotonic() + timeout_s
        self._stop_runners()
        for thread in self._threads:  # the first one watches the shards: after it no thread is added
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def status(self) -> Tally:
        """Counts over all shards."""
        return sum((runner.tally for runner in list(self._runners.values())), start=Tally())

    @property
    def begun(self) -> set[str]:
        """Shards that are read, or were."""
        return set(self._runners)

    @property
    def idle(self) -> bool:
        """Whether everything fetched so far is finished."""
        return all(runner.idle for runner in list(self._runners.values()))

    def _watch_shards(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self._begin_shards(aws.list_shards(self.clients.kinesis, self.mapping.stream_arn))
            except (ClientError, BotoCoreError, OSError) as error:
                log.warning("listing the shards failed, trying again: %s", error)
            self._wake.wait(LIST_EVERY_S)
        self._stop_runners()  # once more, for those that were begun while the stop came

    def _stop_runners(self) -> None:
        for runner in list(self._runners.values()):
            runner.stop()

    def _begin_shards(self, listed: tuple[ShardInfo, ...]) -> None:
        for shard in listed:
            if shard.closed and shard.shard_id in self._runners:
                self._runners[shard.shard_id].closed = True
            if shard.shard_id not in self._runners and self.checkpoints.load(shard.shard_id)[1]:
                self._finished.add(shard.shard_id)
        for shard in may_begin(listed, self._runners.keys(), self._finished):
            runner = self._runner(shard.shard_id)
            self._runners[shard.shard_id] = runner
            log.info("reading %s", shard.shard_id)
            self._run_thread(shard.shard_id, partial(self._run_shard, shard.shard_id, runner))

    def _run_shard(self, shard_id: str, runner: ShardRunner) -> None:
        try:
            runner.run()
        except Exception:
            # A bug of ours. The next listing begins the shard again at its checkpoint, and nothing is passed over.
            log.exception("%s stopped on an unexpected error", shard_id)
            del self._runners[shard_id]
            return
        if runner.finished:
            log.info("finished %s", shard_id)
            self._finished.add(shard_id)
            self._wake.set()

    def _runner(self, shard_id: str) -> ShardRunner:
        clients, mapping = self.clients, self.mapping
        destination = Destination(clients=clients, mapping=mapping, shard_id=shard_id)
        return ShardRunner(
            reader=aws.Reader(clients.kinesis, mapping.stream_arn, shard_id, self._role_arn, self.clock),
            mapping=mapping,
            invoke=partial(aws.invoke, clients.invoker, mapping),
            give_up=lambda batch: destination.give_up(batch, self.clock()),
            is_gone=partial(self._is_gone, shard_id),
            checkpoint=lambda resume, finished: self.checkpoints.save(shard_id, resume, finished=finished),
            clock=self.clock,
            start_at_s=self._start_at_s,
            stream_created_s=self._stream_created_s,
            resumed_at=self.checkpoints.load(shard_id)[0],
        )

    def _is_gone(self, shard_id: str) -> bool:
        listed = aws.list_shards(self.clients.kinesis, self.mapping.stream_arn)
        return shard_id not in {shard.shard_id for shard in listed}

    def _run_thread(self, name: str, task: Callable[[], None]) -> None:
        thread = threading.Thread(target=task, name=f"poller-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()


def event_source(settings: LocalSettings, function_name: str, *, persistent: bool = False) -> EventSource:
    """The event source of a deployed function's Kinesis mapping. Raises MappingError.

    `persistent`: keep checkpoints in .keyturn/, so that a restart goes on where this one stopped.
    """
    clients = aws.clients_for(settings)
    try:
        mapping = aws.find_mapping(clients.invoker, function_name)
    except (ClientError, BotoCoreError) as error:
        raise MappingError(
            f"the mappings of {function_name} can't be read at {settings.endpoint_url}: {error}"
        ) from error
    checkpoints = InFile.of(settings.state_dir, mapping.uuid) if persistent else InMemory()
    return EventSource(mapping=mapping, clients=clients, checkpoints=checkpoints)
