"""`keyturn demo`."""

from __future__ import annotations

from keyturn_cli.errors import CliError


def demo() -> None:
    """Run the whole system on this machine, check it and report.

    Example: keyturn demo
    """
    raise CliError("not here yet")
