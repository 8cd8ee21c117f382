"""All checks in the order of a record's way, each kept from the others' troubles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from keyturn.errors import KeyturnError
from keyturn_cli.doctor.alarms import check_alarms
from keyturn_cli.doctor.canary import check_canary
from keyturn_cli.doctor.examination import Examination
from keyturn_cli.doctor.finding import Finding, failed, not_checked
from keyturn_cli.doctor.functions import check_functions
from keyturn_cli.doctor.index import check_index
from keyturn_cli.doctor.keeping import check_keeping
from keyturn_cli.doctor.load import check_load
from keyturn_cli.doctor.rights import check_rights
from keyturn_cli.doctor.routes import check_routes
from keyturn_cli.doctor.schedules import check_schedules
from keyturn_cli.doctor.sources import check_sources
from keyturn_cli.errors import CliError

Check = Callable[[Examination], Iterator[Finding]]

CHECKS: Final[Mapping[str, Check]] = {
    "functions": check_functions,
    "routes": check_routes,
    "event sources": check_sources,
    "schedules": check_schedules,
    "canary": check_canary,
    "index": check_index,
    "alarms": check_alarms,
    "load": check_load,
    "rights": check_rights,
    "keeping": check_keeping,
}

_FORBIDDEN: Final = ("AccessDenied", "UnauthorizedOperation", "NotAuthorized", "Forbidden")
_UNKNOWN: Final = frozenset(
    {"UnknownOperationException", "InvalidAction", "NotImplemented", "UnsupportedOperation", "400", "404", "501"}
)
"""How endpoints say that they don't know a call; MiniStack answers some services with a bare status."""
_BUSY: Final = ("Throttling", "TooManyRequests", "RequestLimitExceeded", "SlowDown")


def examine(examined: Examination) -> Iterator[tuple[str, Finding]]:
    """Run all checks; yield each finding with its group's name."""
    for group, check in CHECKS.items():
        for finding in _kept_apart(group, check, examined):
            yield group, finding


def _kept_apart(group: str, check: Check, examined: Examination) -> Iterator[Finding]:
    """What stops one check is a finding, and the next one goes on."""
    try:
        yield from check(examined)
    except ClientError as error:
        yield refused(group, error)
    except (BotoCoreError, KeyturnError, CliError) as error:
        told = " ".join(str(error).split())
        yield failed(group, told, "mend that first: the rest of this group was not checked")


def refused(group: str, error: ClientError) -> Finding:
    """Tell apart what can't be asked here from what is wrong with the stack."""
    said = error.response.get("Error", {})
    code, call = str(said.get("Code", "")), error.operation_name
    if any(word in code for word in _FORBIDDEN):
        return not_checked(group, f"you may not call {call}", f"ask for the right to call {call}, then run it again")
    if code in _UNKNOWN:
        return not_checked(group, f"this endpoint doesn't know {call}")
    if any(word in code for word in _BUSY):
        return not_checked(group, f"AWS is busy: {call} was throttled", "run it again in a minute")
    told = f"{call} was refused: {code}: {said.get('Message', '')}"
    return failed(group, " ".join(told.split()), "mend that first: the rest of this group was not checked")
