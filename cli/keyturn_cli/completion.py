"""What the shell offers for the argument of a command. It says nothing and offers nothing when anything is amiss."""

from __future__ import annotations

from dataclasses import fields
from itertools import islice
from typing import Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from keyturn_local.errors import LocalError

from keyturn.core.state import Queue
from keyturn.errors import KeyturnError
from keyturn_cli.errors import CliError
from keyturn_cli.looking.queues import listed
from keyturn_cli.looking.stack import StackReader
from keyturn_cli.looking.wording import argument
from keyturn_cli.options import target_of
from keyturn_cli.target import AwsOptions

_OFFERED_MAX: Final = 50


def parked_keys(context: typer.Context, incomplete: str) -> list[str]:
    """The keys that are parked longest and begin so, of the stack that the line's own options name.

    Those that a shell would want quoted are left out: it would take them apart.
    """
    try:
        reader = StackReader.of(target_of(_where(context)))
        marks = islice(listed(reader, [Queue.PARKED]), _OFFERED_MAX)
        return [mark.key for mark in marks if mark.key.startswith(incomplete) and argument(mark.key) == mark.key]
    except (CliError, LocalError, KeyturnError, ClientError, BotoCoreError):
        return []


def _where(context: typer.Context) -> AwsOptions:
    return AwsOptions(**{field.name: context.params.get(field.name) for field in fields(AwsOptions)})
