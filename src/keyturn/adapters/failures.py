"""Turns botocore's errors into ours, so that none of them leaves an adapter."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from keyturn.errors import StoreError, Throttled

_PASSING_ERRORS: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
        "ExecutionLimitExceeded",
        "InternalServerError",
        "InternalFailure",
        "ServiceUnavailable",
        "SlowDown",
        "KMSThrottlingException",
        "KmsThrottlingException",
        "KMS.ThrottlingException",
    }
)

_PASSING_CANCELLATIONS: Final = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
"""Reasons of a cancelled transaction (TransactWriteItems API reference)."""

_SERVER_ERROR_STATUS: Final = 500


def code_of(error: ClientError) -> str:
    """Return the error's code as AWS names it."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_passing(error: ClientError) -> bool:
    """Whether the same call may well succeed later."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    reasons: Any = error.response.get("CancellationReasons") or []
    is_passing_cancellation = any(reason.get("Code") in _PASSING_CANCELLATIONS for reason in reasons)
    return is_passing_cancellation or code_of(error) in _PASSING_ERRORS or status >= _SERVER_ERROR_STATUS


def has_met_a_transaction(error: ClientError) -> bool:
    """Whether a write was refused since a transaction was at one of its items, or it is one and another write was.

    Neither did anything (TransactWriteItems API reference), and the SDK sends neither again.
    """
    reasons: Any = error.response.get("CancellationReasons") or []
    codes = {reason.get("Code") for reason in reasons} - {"None"}
    return code_of(error) == "TransactionConflictException" or codes == {"TransactionConflict"}


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Raise Throttled for what may pass, StoreError for the rest; `operation` names the call for the reader."""
    try:
        yield
    except ClientError as error:
        kind = Throttled if is_passing(error) else StoreError
        raise kind(f"{operation}: {code_of(error)}: {error.response.get('Error', {}).get('Message', '')}") from error
    except BotoCoreError as error:
        raise Throttled(f"{operation}: no answer from AWS ({error})") from error
