"""The event source as a background process: `python -m keyturn_local.poller ROOT FUNCTION_NAME`.

It writes one line to standard output, `ready` or `error: ...`, and ends by itself when its engine is gone.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from botocore.exceptions import BotoCoreError, ClientError

from keyturn_local import state
from keyturn_local.errors import LocalError
from keyturn_local.poller.aws import find_mapping
from keyturn_local.poller.checkpoints import InFile
from keyturn_local.poller.source import EventSource, event_source
from keyturn_local.settings import LocalSettings

log = logging.getLogger("keyturn.poller")

ENGINE_CHECK_S = 2.0
"""How often it is looked whether the engine lives, and whether a deploy changed the mapping."""


def main(arguments: list[str]) -> int:
    """Run until told to stop, or until the engine is gone."""
    root, function_name = arguments
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    settings = LocalSettings.from_environment(os.environ, root=Path(root))
    try:
        source = event_source(settings, function_name, persistent=True)
        source.start()
    except LocalError as error:
        print(f"error: {error}", flush=True)
        return 1
    print("ready", flush=True)
    _run(source, settings, function_name, stopping)
    return 0


def _run(source: EventSource, settings: LocalSettings, function_name: str, stopping: threading.Event) -> None:
    noted = state.read(settings.state_dir)
    while not stopping.wait(ENGINE_CHECK_S):
        if noted is not None and not noted.engine.alive:
            log.info("the engine is gone; ending")
            break
        try:
            source = renewed(source, settings, function_name)
        except (LocalError, ClientError, BotoCoreError) as error:
            log.warning("the mapping can't be read, going on as it was: %s", error)
    source.stop(timeout_s=0.5)


def renewed(source: EventSource, settings: LocalSettings, function_name: str) -> EventSource:
    """The event source, or another one in its place where it was, if a deploy changed the mapping.

    What is at the function then is delivered again, as by a restart. Raises MappingError, ClientError or BotoCoreError;
    the event source goes on then, or the next call starts it.
    """
    mapping = find_mapping(source.clients.invoker, function_name)
    if mapping == source.mapping:
        return source
    log.info("the mapping was changed: %s", mapping)
    source.stop()
    checkpoints = InFile.of(settings.state_dir, mapping.uuid)
    changed = EventSource(mapping=mapping, clients=source.clients, checkpoints=checkpoints)
    changed.start()
    return changed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
