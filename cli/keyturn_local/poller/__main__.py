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

from keyturn_local import state
from keyturn_local.errors import LocalError
from keyturn_local.poller.source import EventSource, event_source
from keyturn_local.settings import LocalSettings

ENGINE_CHECK_S = 2.0


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
    _run(source, settings, stopping)
    return 0


def _run(source: EventSource, settings: LocalSettings, stopping: threading.Event) -> None:
    noted = state.read(settings.state_dir)
    while not stopping.wait(ENGINE_CHECK_S):
        if noted is not None and not noted.engine.alive:
            logging.getLogger("keyturn.poller").info("the engine is gone; ending")
            break
    source.stop(timeout_s=0.5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
