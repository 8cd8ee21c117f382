"""The files of events/, by name."""

import base64
import json
from typing import Any, Final

from aws_kinesis_agg.aggregator import RecordAggregator

from keyturn.adapters.records import read_records
from keyturn.adapters.schemas import load_routes
from keyturn.core.canary import canary_event
from keyturn.core.event import Admissible
from keyturn.core.log_entry import LogEntry, cut_slice, execution_input
from keyturn.core.naming import execution_name
from keyturn.core.state import KeyState, Run
from tools.sample_events import orders

_ACCOUNT: Final = "123456789012"
_REGION: Final = "us-east-1"
_STACK: Final = "keyturn"
_STREAM_ARN: Final = f"arn:aws:kinesis:{_REGION}:{_ACCOUNT}:stream/{_STACK}"
_STATES_ARN: Final = f"arn:aws:states:{_REGION}:{_ACCOUNT}"
_SHARD: Final = "shardId-000000000000"
_FIRST_SEQUENCE: Final = 49659230486193871364478523019271930846716540374593601538
_FIRST_ARRIVAL_S: Final = 1767600000.125
_EXECUTION_ID: Final = "3f2a7d0e-8c41-4b7b-9a55-0d6f3f1f9b21"
"""What States.UUID made in the fan-out's input."""

_STEPS: Final = ("inventory", "payment", "notification")


def written() -> dict[str, str]:
    """Return the text of each file."""
    placed = _run(orders.placed(orders.KEY))
    shipped = _run(orders.shipped(orders.KEY))
    files: dict[str, Any] = {
        "dispatcher/batch.json": batch(),
        "dispatcher/redelivered.json": {"Records": batch()["Records"][2:]},
        "dispatcher/aggregated.json": {"Records": [_record(0, "container", _aggregate())]},
        "sequencer/succeeded.json": {"run": placed["run"], "steps": [_done(step) for step in _STEPS]},
        "sequencer/failed.json": {
            "run": placed["run"],
            "steps": [_done("inventory"), _timed_out(), _done("notification")],
        },
        "operator/resume.json": {
            "command": "resume",
            "by": "arn:aws:iam::123456789012:user/sam",
            "reason": "card service is back",
            "key": orders.KEY,
        },
        "replayer/slice.json": {"id": "20260105-080100-1f2e", "turn": 0},
        "sweeper/schedule.json": _schedule("sweeper"),
        "watchdog/schedule.json": _schedule("watchdog"),
        "watchdog/status-change.json": _status_change(placed),
        "watchdog/wake-up.json": _wake_up(),
        "watchdog/canary-alarm.json": _canary_alarm(),
        **{f"{step}/task.json": _task(step, placed) for step in _STEPS},
        "canary/task.json": _task("canary", _run(canary_event("c0ffee"))),
        "packing/task.json": _task("packing", shipped),
        "picking/task.json": _task("picking-1", shipped) | {"line": 1},
    }
    return {name: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for name, content in files.items()}


def batch() -> dict[str, Any]:
    """Two orders; one event that its producer sent again; two records that are no events."""
    records = [
        (orders.KEY, orders.placed(orders.KEY)),
        (orders.OTHER_KEY, orders.placed(orders.OTHER_KEY)),
        (orders.KEY, orders.paid(orders.KEY)),
        (orders.KEY, orders.placed(orders.KEY)),
        (orders.OTHER_KEY, orders.NOT_JSON),
        (orders.OTHER_KEY, orders.without_quantity(orders.OTHER_KEY)),
        (orders.OTHER_KEY, orders.cancelled(orders.OTHER_KEY)),
    ]
    return {"Records": [_record(place, key, data) for place, (key, data) in enumerate(records)]}


def _record(place: int, key: str, data: bytes) -> dict[str, Any]:
    """Source: Lambda Developer Guide, "Using Lambda with Kinesis", sample event."""
    sequence_number = str(_FIRST_SEQUENCE + place * 1_208_925_819_614_629_174_706_176)
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": key,
            "sequenceNumber": sequence_number,
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": _FIRST_ARRIVAL_S + place,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{_SHARD}:{sequence_number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": f"arn:aws:iam::{_ACCOUNT}:role/{_STACK}-dispatcher",
        "awsRegion": _REGION,
        "eventSourceARN": _STREAM_ARN,
    }


def _aggregate() -> bytes:
    aggregator = RecordAggregator()
    for key in (orders.KEY, orders.OTHER_KEY):
        aggregator.add_user_record(key, orders.placed(key))
    packed: bytes = aggregator.clear_and_get().get_contents()[2]
    return packed


def _run(event: bytes) -> dict[str, Any]:
    """Return the input of the execution that works on an event, as the dispatcher would write it."""
    routes = load_routes()
    batch = {"Records": [_record(0, orders.KEY, event)]}
    (found,) = read_records(batch, routes, epoch=1, accepts_aggregated=False)
    if not isinstance(found, Admissible):
        raise TypeError(f"the sample event is rejected: {found.detail}")
    entry = LogEntry(found.position, found.type, found.flow_id, found.arrived_at_ms, found.raw)
    part, route = cut_slice([entry], routes)
    if route is None:
        raise TypeError(f"no route takes {found.type}")
    started_at_ms = found.arrived_at_ms + 800
    run = Run(
        slice=part,
        attempt=1,
        workflow=route.workflow,
        kind=route.kind,
        started_at_ms=started_at_ms,
        deadline_ms=started_at_ms + route.run_timeout_s * 1000,
        execution_name=execution_name(route.name, 1, orders.KEY, 1),
    )
    content: dict[str, Any] = json.loads(execution_input(KeyState(key=orders.KEY, fence=1), run, [entry], route))
    return content


def _task(step: str, run: dict[str, Any]) -> dict[str, Any]:
    return {"step": step, "execution_id": _EXECUTION_ID, **run}


def _done(step: str) -> dict[str, Any]:
    return {"step": step, "execution_id": _EXECUTION_ID, "outcome": "done", "results": [{"ledger": 1}]}


def _timed_out() -> dict[str, Any]:
    error = {"Error": "States.Timeout", "Cause": "the worker took longer than its task may"}
    return {"step": "payment", "execution_id": _EXECUTION_ID, "error": error}


def _schedule(function: str) -> dict[str, Any]:
    """What EventBridge Scheduler sends when a schedule names no input of its own; `detail` is a text there."""
    return {
        "version": "0",
        "id": "c9a3d1b7-5e0f-4f0a-a0f5-3b6d5a1f7c11",
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": _ACCOUNT,
        "time": "2026-01-05T08:01:00Z",
        "region": _REGION,
        "resources": [f"arn:aws:scheduler:{_REGION}:{_ACCOUNT}:schedule/default/{_STACK}-{function}"],
        "detail": "{}",
    }


def _status_change(run: dict[str, Any]) -> dict[str, Any]:
    """Source: Step Functions Developer Guide, "Automating Step Functions event delivery with EventBridge"."""
    name = execution_name("order-placed", 1, orders.KEY, 1)
    machine = f"{_STACK}-order-standard"
    execution_arn = f"{_STATES_ARN}:execution:{machine}:{name}"
    return {
        "version": "0",
        "id": "315c1398-40ff-a850-213b-158f73e60175",
        "detail-type": "Step Functions Execution Status Change",
        "source": "aws.states",
        "account": _ACCOUNT,
        "time": "2026-01-05T08:01:00Z",
        "region": _REGION,
        "resources": [execution_arn],
        "detail": {
            "executionArn": execution_arn,
            "stateMachineArn": f"{_STATES_ARN}:stateMachine:{machine}",
            "name": name,
            "status": "TIMED_OUT",
            "startDate": 1767600001000,
            "stopDate": 1767600057000,
            "input": json.dumps(run, separators=(",", ":"), ensure_ascii=False),
            "inputDetails": {"included": True},
            "output": None,
            "outputDetails": None,
            "error": None,
            "cause": None,
        },
    }


def _wake_up() -> dict[str, Any]:
    """One message wakes a key, one has free slots filled. Source: Lambda Developer Guide, SQS sample event."""
    bodies = [{"key": orders.KEY, "at_ms": 1767600002000}, {"key": "", "at_ms": 1767600002000}]
    return {"Records": [_message(place, json.dumps(body)) for place, body in enumerate(bodies)]}


def _canary_alarm() -> dict[str, Any]:
    """Source: CloudWatch User Guide, "Alarm events and EventBridge"."""
    name = f"{_STACK}-canary-failed"
    return {
        "version": "0",
        "id": "c4c1c1c9-6542-e61b-6ef0-8c4d36933a92",
        "detail-type": "CloudWatch Alarm State Change",
        "source": "aws.cloudwatch",
        "account": _ACCOUNT,
        "time": "2026-01-05T08:01:00Z",
        "region": _REGION,
        "resources": [f"arn:aws:cloudwatch:{_REGION}:{_ACCOUNT}:alarm:{name}"],
        "detail": {
            "alarmName": name,
            "state": {"value": "ALARM", "reason": "Threshold Crossed", "timestamp": "2026-01-05T08:01:00.000+0000"},
            "previousState": {"value": "OK", "timestamp": "2026-01-05T07:01:00.000+0000"},
        },
    }


def _message(place: int, body: str) -> dict[str, Any]:
    return {
        "messageId": f"059f36b4-87a3-44ab-83d2-66197597546{place}",
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1767600000000",
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": "1767600002001",
        },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{_REGION}:{_ACCOUNT}:{_STACK}-wake",
        "awsRegion": _REGION,
    }
