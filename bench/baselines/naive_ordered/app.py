"""Dispatcher of the naive ordered app: an execution for each record, and a lock item for each key.

The keys of a batch go on side by side. Within a key, a record takes the lock, or waits until the execution before it
has given it back. What isn't started when the time runs out comes back with the next batch: the mapping keeps order.
"""

import base64
import json
import os
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

import boto3
from botocore.config import Config

AT_ONCE = int(os.environ["RUNS_AT_ONCE"])
LOOK_EVERY_S = 0.05
LEASE_S = 60
RESERVE_MS = 5_000
config = Config(max_pool_connections=AT_ONCE)
states = boto3.client("stepfunctions", config=config)
locks = boto3.client("dynamodb", config=config)
WORKFLOW = os.environ["WORKFLOW_ARN"]
TABLE = os.environ["LOCK_TABLE"]


class Lock(Enum):
    """What a record finds at its key's lock."""

    OURS = "ours"
    ANOTHERS = "another's"
    PASSED = "passed"
    """The record was done before."""


def handler(batch: dict[str, Any], context: Any) -> dict[str, Any]:
    """Run each key's records one after another; answer with the first of each key that could not be started."""
    keys: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in batch["Records"]:
        keys[record["kinesis"]["partitionKey"]].append(record)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        left = [number for number in pool.map(lambda records: _run(records, context), keys.values()) if number]
    return {"batchItemFailures": [{"itemIdentifier": number} for number in left]}


def _run(records: list[dict[str, Any]], context: Any) -> str | None:
    for record in records:
        kinesis = record["kinesis"]
        while (lock := _take(kinesis["partitionKey"], kinesis["sequenceNumber"])) is Lock.ANOTHERS:
            if context.get_remaining_time_in_millis() < RESERVE_MS:
                return str(kinesis["sequenceNumber"])
            time.sleep(LOOK_EVERY_S)
        if lock is Lock.OURS:
            _start(record)
    return None


def _take(key: str, position: str) -> Lock:
    """Take the key's lock if it is free, or its holder died, or a redelivered record holds it itself."""
    now_s = int(time.time())
    try:
        locks.update_item(
            TableName=TABLE,
            Key={"pk": {"S": key}},
            UpdateExpression="SET holder = :position, expires_at = :end",
            ConditionExpression="(attribute_not_exists(done) OR done < :position)"
            " AND (attribute_not_exists(holder) OR holder = :position OR expires_at < :now)",
            ExpressionAttributeValues={
                ":position": {"S": position},
                ":now": {"N": str(now_s)},
                ":end": {"N": str(now_s + LEASE_S)},
            },
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except locks.exceptions.ConditionalCheckFailedException as error:
        held: dict[str, Any] = error.response.get("Item", {})  # type: ignore[assignment]  # the stubs say object
        done = held.get("done", {}).get("S", "")
        return Lock.PASSED if done >= position else Lock.ANOTHERS
    return Lock.OURS


def _start(record: dict[str, Any]) -> None:
    kinesis = record["kinesis"]
    run = {
        "key": kinesis["partitionKey"],
        "position": kinesis["sequenceNumber"],
        "event": json.loads(base64.b64decode(kinesis["data"])),
    }
    name = record["eventID"].replace(":", "-")[-80:]
    try:
        states.start_execution(stateMachineArn=WORKFLOW, name=name, input=json.dumps(run))
    except states.exceptions.ExecutionAlreadyExists:
        return
