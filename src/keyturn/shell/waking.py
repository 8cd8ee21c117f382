"""Has the watchdog look at something later."""

from keyturn.adapters import telemetry
from keyturn.adapters.wake import Subject
from keyturn.errors import StoreError
from keyturn.shell.platform import Platform


def wake_at(platform: Platform, name: str, at_ms: int, subject: Subject = Subject.KEY) -> None:
    """Have the watchdog look at a key (for free slots if its name is empty), a ramp or a breaker.

    Losing this costs time only.
    """
    try:
        platform.wake.wake_at(name, at_ms, platform.clock(), subject)
    except StoreError as error:
        telemetry.logger().warning("wake-up message not sent; the next pass does it", extra={"reason": str(error)})
