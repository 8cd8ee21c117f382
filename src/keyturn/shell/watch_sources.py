"""What the watchdog can be asked by: its schedule, an execution's status change, an alarm's, wake-up messages."""

import json
from collections.abc import Mapping
from typing import Any, Final, assert_never

from keyturn.adapters import telemetry
from keyturn.adapters.wake import Subject, subject_of
from keyturn.core.naming import key_problem
from keyturn.errors import StoreError
from keyturn.shell.breakers import probe
from keyturn.shell.canaries import roll_back_alarmed
from keyturn.shell.platform import Platform
from keyturn.shell.recovering import recover
from keyturn.shell.releasing import release_some
from keyturn.shell.time_budget import HasTime
from keyturn.shell.watch import ended_without_finish, fill_slots, wake, watch

_FREE_SLOTS: Final = (Subject.KEY, "")


def watch_for(platform: Platform, event: Mapping[str, Any], has_time: HasTime) -> dict[str, Any]:
    """Do what the event asks for; anything that is neither a message nor a status change asks for a whole pass."""
    event = event if isinstance(event, Mapping) else {}
    if "Records" in event:
        return _wake_each(platform, event["Records"], has_time)
    if event.get("detail-type") == "Step Functions Execution Status Change":
        return _take_up_status(platform, event.get("detail"))
    if event.get("detail-type") == "CloudWatch Alarm State Change":
        return roll_back_alarmed(platform, event)
    return dict(watch(platform, has_time))


def _wake_each(platform: Platform, messages: list[Mapping[str, Any]], has_time: HasTime) -> dict[str, Any]:
    """Look at what each message is about; those that failed are reported, so that SQS delivers them again.

    Free slots are looked for once: thousands of hands that came in vain a second ask for it, before keys whose time has
    come.
    """
    failed = []
    are_slots_filled = False
    for message in messages:
        try:
            asked = subject_of(message.get("body"))
            if asked == _FREE_SLOTS and are_slots_filled:
                continue
            _wake(platform, *asked, has_time)
            are_slots_filled = are_slots_filled or asked == _FREE_SLOTS
        except (StoreError, ValueError) as error:
            telemetry.logger().warning("wake-up left for a redelivery", extra={"error": type(error).__name__})
            failed.append({"itemIdentifier": message["messageId"]})
    return {"batchItemFailures": failed}


def _wake(platform: Platform, subject: Subject, name: str, has_time: HasTime) -> None:
    match subject:
        case Subject.KEY if name:
            wake(platform, name)
        case Subject.KEY:
            fill_slots(platform, has_time)
        case Subject.RAMP:
            release_some(platform, name, has_time)
        case Subject.BREAKER:
            probe(platform, name)
        case Subject.RELEASE:
            recover(platform, int(name), has_time)
        case _:
            assert_never(subject)


def _take_up_status(platform: Platform, detail: object) -> dict[str, Any]:
    """Find the run of an execution by its input.

    AWS leaves the input out above 248 KB or with a customer key (Step Functions Developer Guide, "EventBridge
    events"): then the run's deadline is what finds it.
    """
    told = detail if isinstance(detail, Mapping) else {}
    if not told.get("input"):
        telemetry.logger().info("status change without input; the deadline will find its run")
        return {"status": "left to the deadline"}
    run, name = _run_in(told["input"]), told.get("name")
    if run is None or not isinstance(name, str):
        telemetry.logger().info("status change of an execution that was started by hand")
        return {"status": "not a run"}
    if not _is_ours(platform, told.get("stateMachineArn"), run.get("machine")):
        telemetry.logger().info("status change of another stack's execution")
        return {"status": "another stack's"}
    ended_without_finish(platform, name, str(run["key"]))
    return {"status": told.get("status")}


def _run_in(execution_input: object) -> Mapping[str, Any] | None:
    """Return what an execution's input says of its run; None if it tells of none."""
    if not isinstance(execution_input, str):
        return None
    try:
        run = json.loads(execution_input)["run"]
        key = run["key"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return None if key_problem(key) else run


def _is_ours(platform: Platform, machine_arn: object, machine: object) -> bool:
    """Whether an execution is of this stack's state machine, as far as that is told.

    The rule goes by how a state machine's name begins, and "keyturn-" begins those of a stack "keyturn-production" too.
    There the same key has a run of the same name, if both stacks get the same events.
    """
    if not isinstance(machine_arn, str) or not isinstance(machine, str):
        return True
    return _machine_named_in(machine_arn) == _machine_named_in(f"{platform.settings.state_machine_prefix}{machine}")


def _machine_named_in(arn: str) -> str:
    """Return a state machine's name, without the version that may stand behind it: a release's runs are started so."""
    return arn.partition(":stateMachine:")[2].partition(":")[0]
