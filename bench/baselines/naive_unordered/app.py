"""Dispatcher of the naive unordered app: an Express execution for each record, whatever else its key is doing.

It waits for the executions, some at once: fire and forget would start a whole backlog's at the same moment, which the
account's Lambda concurrency, or a small machine, answers with throttling.
"""

import base64
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config

AT_ONCE = int(os.environ["RUNS_AT_ONCE"])
# StartSyncExecution goes to sync-states... on AWS; an endpoint of one's own has no such name
config = Config(max_pool_connections=AT_ONCE, inject_host_prefix="AWS_ENDPOINT_URL" not in os.environ)
states = boto3.client("stepfunctions", config=config)
WORKFLOW = os.environ["WORKFLOW_ARN"]


def handler(batch: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Run each record; answer with those that failed. What a redelivery repeats has its effect once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        failed = [number for number in pool.map(_run, batch["Records"]) if number]
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}


def _run(record: dict[str, Any]) -> str | None:
    kinesis = record["kinesis"]
    run = {
        "key": kinesis["partitionKey"],
        "position": kinesis["sequenceNumber"],
        "event": json.loads(base64.b64decode(kinesis["data"])),
    }
    ended = states.start_sync_execution(stateMachineArn=WORKFLOW, input=json.dumps(run))
    return None if ended["status"] == "SUCCEEDED" else str(kinesis["sequenceNumber"])
