"""`keyturn down`: end what `keyturn up` started."""

from __future__ import annotations

from keyturn_local.engine import stop_running

from keyturn_cli.project import local_settings
from keyturn_cli.screen import Screen


def down() -> None:
    """Stop the local engine and everything that runs with it; its data is gone then.

    Example: keyturn down
    """
    screen = Screen()
    stopped = stop_running(local_settings())
    screen.line("Stopped." if stopped else "Nothing was running.")
