"""Everything that Keyturn raises on purpose.

KeyturnError
├── SettingsError          the environment of a function is incomplete or out of range
├── StoreError             the state table refused or failed a call
│   ├── Conflict           somebody else changed the key first; load it again
│   ├── JobChanged         somebody else changed the replay first; load it again
│   ├── Throttled          the service asks to slow down, or is failing; nothing was lost, try later
│   ├── Unreadable         an item isn't as this version of Keyturn writes it
│   └── LogIncomplete      events that were admitted aren't in the log
├── CannotOperate          what an operator asks doesn't fit the state that things are in; nothing was changed
├── CannotStart            a run can never start as it is (its input or its state machine is wrong)
├── PayloadError           a claim-checked payload is missing or not what was stored
├── StepFailed             a worker's function raised: Step Functions may try the task again
└── Permanent              a worker's author raises it: no retry can help
StepRefused (BaseException) this attempt was superseded; stops a worker, and is no failure of the run
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyturn.core.state import KeyState


class KeyturnError(Exception):
    """Base of every error that Keyturn raises on purpose; its message says what to do."""


class SettingsError(KeyturnError):
    """A setting is missing or out of range; the message lists all of them at once."""


class StoreError(KeyturnError):
    """A call to AWS failed for good; the cause is chained."""


class Conflict(StoreError):
    """The key's version moved on between load and write: decide again from `standing`, the state that stands there."""

    def __init__(self, message: str, standing: "KeyState") -> None:
        """Keep the state that DynamoDB returned with the refusal, which spares a read."""
        super().__init__(message)
        self.standing = standing


class JobChanged(StoreError):
    """The replay's revision moved on between load and write: load it again, and look whether it still wants that."""


class Throttled(StoreError):
    """AWS throttled or failed the call after our retries; the caller leaves the work for a redelivery."""


class Unreadable(StoreError):
    """An item can't be read: a version of Keyturn wrote it that this one doesn't know, or nobody of ours did."""


class LogIncomplete(StoreError):
    """The log lacks events that were admitted: its key is parked until somebody has looked."""


class CannotOperate(KeyturnError):
    """What an operator asks doesn't fit the state that things are in; the message says which, and what fits."""


class CannotStart(StoreError):
    """Step Functions refuses this run for good (no such state machine, bad input): trying again is useless."""


class PayloadError(StoreError):
    """A payload in the bucket is missing, or its digest is not the one in the log."""


class StepFailed(KeyturnError):
    """A worker's function failed and may be tried again. AWS hands the state machine's Retry this class's name."""


class Permanent(KeyturnError):
    """Raise it in a worker when no retry can help: the route's policy on exhaustion decides at once."""


class StepRefused(BaseException):
    """A worker's attempt was superseded while it worked: what it does from now on may not count.

    No `except Exception` of a worker catches it. Where one catches BaseException, it must raise this again.
    """
